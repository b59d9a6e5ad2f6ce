import { connect } from '../../client/client.ts';
import { findCompartment } from '../../client/compartments.ts';
import { apiPath } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(context: Context, [called]: readonly [string]): Promise<undefined> {
  const client = await connect(context);
  const { id, path } = await findCompartment(client, called);
  await client.json('DELETE', apiPath('compartments', id));
  await context.output.record({ deleted: path }, [`deleted compartment ${printable(path)}`]);
}
