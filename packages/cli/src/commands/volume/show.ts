import type { Volume } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { volumePath } from '../../client/volumes.ts';
import type { Context } from '../../context.ts';
import { printVolume } from './print.ts';

export async function run(context: Context, [id]: readonly [string]): Promise<undefined> {
  const client = await connect(context);
  await printVolume(context, await client.json<Volume>('GET', volumePath(id)));
}
