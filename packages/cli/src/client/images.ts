import { CommandError } from '../errors/command-error.ts';
import type { Image } from './api.ts';
import type { ServiceClient } from './client.ts';
import { apiPath } from './paths.ts';

export function imagePath(id: string): string {
  return apiPath('images', id);
}

/** The image with this id, or the only one of this name. Throws NOT_FOUND, or CONFLICT for several. */
export async function findImage(client: ServiceClient, idOrName: string): Promise<Image> {
  if (/^img-[0-9a-f]{32}$/.test(idOrName)) {
    const image = await imageWithId(client, idOrName);
    if (image !== undefined) return image;
  }
  const named: Image[] = [];
  for await (const image of client.items<Image>('/images', { name: idOrName })) {
    if (image.name === idOrName) named.push(image);
  }
  const [only, ...others] = named;
  if (only === undefined) {
    throw new CommandError('NOT_FOUND', `there is no image with the id or name ${JSON.stringify(idOrName)}`, {
      hint: 'see gantry image list',
    });
  }
  if (others.length === 0) return only;
  throw new CommandError('CONFLICT', `${named.length} images are named ${JSON.stringify(idOrName)}`, {
    hint: `use the id of one: ${named.map(({ id }) => id).join(', ')}`,
  });
}

async function imageWithId(client: ServiceClient, id: string): Promise<Image | undefined> {
  try {
    return await client.json<Image>('GET', imagePath(id));
  } catch (error) {
    if (error instanceof CommandError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
