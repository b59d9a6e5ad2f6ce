import { connect } from '../../client/client.ts';
import { apiPath } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(context: Context, [name]: readonly [string]): Promise<undefined> {
  const client = await connect(context);
  await client.json('DELETE', apiPath('buckets', name));
  await context.output.record({ deleted: name }, [`deleted bucket ${printable(name)}`]);
}
