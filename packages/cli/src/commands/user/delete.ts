import { connect } from '../../client/client.ts';
import { apiPath } from '../../client/paths.ts';
import { findUser } from '../../client/users.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(context: Context, [called]: readonly [string]): Promise<undefined> {
  const client = await connect(context);
  const { id, name } = await findUser(client, called);
  await client.json('DELETE', apiPath('users', id));
  await context.output.record({ deleted: name }, [`deleted user ${printable(name)}`]);
}
