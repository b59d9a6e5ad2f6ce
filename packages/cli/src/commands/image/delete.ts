import { connect } from '../../client/client.ts';
import { findImage, imagePath } from '../../client/images.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';

export async function run(context: Context, [idOrName]: readonly [string]): Promise<undefined> {
  const client = await connect(context);
  const { id, name } = await findImage(client, idOrName);
  await client.json('DELETE', imagePath(id));
  await context.output.record({ deleted: id, name }, [`deleted image ${id} (${printable(name)})`]);
}
