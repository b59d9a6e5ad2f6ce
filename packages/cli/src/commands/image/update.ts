import type { Image } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findImage, imagePath } from '../../client/images.ts';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { printImage } from './print.ts';

interface UpdateOptions {
  readonly name?: string;
  readonly os?: string;
  readonly osVersion?: string;
}

export async function run(
  context: Context,
  [idOrName]: readonly [string],
  { name, os, osVersion }: UpdateOptions,
): Promise<undefined> {
  if (name === undefined && os === undefined && osVersion === undefined)
    throw usageError('there is nothing to change', 'give --name, --os or --os-version');
  const client = await connect(context);
  const { id } = await findImage(client, idOrName);
  const json = { name, operatingSystem: os, operatingSystemVersion: osVersion };
  await printImage(context, await client.json<Image>('PATCH', imagePath(id), { json }));
}
