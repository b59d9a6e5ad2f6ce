import { connect } from '../../client/client.ts';
import { findImage } from '../../client/images.ts';
import type { Context } from '../../context.ts';
import { printImage } from './print.ts';

export async function run(context: Context, [idOrName]: readonly [string]): Promise<undefined> {
  await printImage(context, await findImage(await connect(context), idOrName));
}
