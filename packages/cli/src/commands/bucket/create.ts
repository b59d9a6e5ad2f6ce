import type { Bucket } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findCompartment } from '../../client/compartments.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(
  context: Context,
  [name]: readonly [string],
  { compartment }: { readonly compartment?: string },
): Promise<undefined> {
  const client = await connect(context);
  const compartmentId =
    compartment === undefined ? undefined : (await findCompartment(client, compartment)).id;
  const bucket = await client.json<Bucket>('POST', '/buckets', { json: { name, compartmentId } });
  await context.output.record({ ...bucket }, [`made bucket ${printable(bucket.name)}`]);
}
