import { connect } from '../../client/client.ts';
import { apiPath } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(context: Context, [bucket, id]: readonly [string, string]): Promise<undefined> {
  const client = await connect(context);
  await client.json('DELETE', `${apiPath('buckets', bucket)}${apiPath('pre-authenticated-requests', id)}`);
  await context.output.record({ deleted: id }, [`deleted ${printable(id)}`]);
}
