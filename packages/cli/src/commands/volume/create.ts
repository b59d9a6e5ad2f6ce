import type { Volume } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findImage } from '../../client/images.ts';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { printVolume } from './print.ts';

interface CreateOptions {
  readonly name?: string;
  readonly size?: number;
  readonly image?: string;
  readonly compartment?: string;
}

export async function run(
  context: Context,
  _: readonly [],
  { name, size, image, compartment }: CreateOptions,
): Promise<undefined> {
  if (size === undefined && image === undefined)
    throw usageError('a volume has a size or an image', 'give --size, --image or both');
  const client = await connect(context);
  const imageId = image === undefined ? undefined : (await findImage(client, image)).id;
  const request = { name, sizeBytes: size, imageId, compartmentId: compartment };
  await printVolume(context, await client.startOnce<Volume>('/volumes', request));
}
