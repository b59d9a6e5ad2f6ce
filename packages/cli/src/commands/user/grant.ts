import type { Grant } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findCompartment } from '../../client/compartments.ts';
import { apiPath } from '../../client/paths.ts';
import { findUser } from '../../client/users.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(
  context: Context,
  [called, verb, resource]: readonly [string, string, string],
  { compartment }: { readonly compartment: string },
): Promise<undefined> {
  const client = await connect(context);
  const { id, name } = await findUser(client, called);
  const { id: compartmentId, path } = await findCompartment(client, compartment);
  const json = { verb, resource, compartmentId };
  const grant = await client.json<Grant>('POST', apiPath('users', id, 'grants'), { json });
  await context.output.record({ ...grant }, [
    `${printable(name)} may ${grant.verb} ${grant.resource} in ${printable(path)}`,
  ]);
}
