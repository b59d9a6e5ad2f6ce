import type { ApiKey, Grant } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { listCompartments } from '../../client/compartments.ts';
import { apiPath } from '../../client/paths.ts';
import { findUser } from '../../client/users.ts';
import type { Context } from '../../context.ts';

export async function run(context: Context, [called]: readonly [string]): Promise<undefined> {
  const client = await connect(context);
  const user = await findUser(client, called);
  const keys = await Array.fromAsync(client.items<ApiKey>(apiPath('users', user.id, 'api-keys')));
  const grants = await Array.fromAsync(client.items<Grant>(apiPath('users', user.id, 'grants')));
  const paths = new Map(
    grants.length === 0 ? [] : (await listCompartments(client)).map(({ id, path }) => [id, path]),
  );
  await context.output.record({
    ...user,
    grants: grants.map(({ verb, resource, compartmentId }) => ({
      verb,
      resource,
      compartment: paths.get(compartmentId) ?? compartmentId,
    })),
    apiKeys: keys.map(({ fingerprint }) => fingerprint),
  });
}
