import type { Bucket } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(context: Context, [name]: readonly [string]): Promise<undefined> {
  const client = await connect(context);
  const bucket = await client.json<Bucket>('POST', '/buckets', { json: { name } });
  await context.output.record({ ...bucket }, [`made bucket ${printable(bucket.name)}`]);
}
