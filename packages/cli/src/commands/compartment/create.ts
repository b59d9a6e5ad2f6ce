import type { Compartment } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findCompartment } from '../../client/compartments.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(
  context: Context,
  [path]: readonly [string],
  { description }: { readonly description?: string },
): Promise<undefined> {
  const client = await connect(context);
  const at = path.lastIndexOf('/');
  const parent = at <= 0 ? undefined : await findCompartment(client, path.slice(0, at));
  const json = { name: path.slice(at + 1), parentId: parent?.id, description };
  const made = await client.json<Compartment>('POST', '/compartments', { json });
  await context.output.record({ ...made }, [`made compartment ${printable(path)}`, `OCID: ${made.ocid}`]);
}
