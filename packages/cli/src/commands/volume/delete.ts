import { connect } from '../../client/client.ts';
import { volumePath } from '../../client/volumes.ts';
import type { Context } from '../../context.ts';

export async function run(context: Context, [id]: readonly [string]): Promise<undefined> {
  const client = await connect(context);
  await client.json('DELETE', volumePath(id));
  await context.output.record({ deleted: id }, [`deleted volume ${id}`]);
}
