import { randomBytes } from 'node:crypto';
import type { Image, Job } from '../../client/api.ts';
import { ServiceClient } from '../../client/client.ts';
import { imagePath } from '../../client/images.ts';
import { waitForJob } from '../../client/jobs.ts';
import { apiPath, objectPath, type Place, placeText } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { CommandError } from '../../errors/command-error.ts';
import { shellWord } from '../../output/printable.ts';

/** An image that is shown as an object, and the address by which anybody reads it. */
export interface SharedView {
  readonly place: Place;
  readonly parId: string;
  /** Told once. */
  readonly url: string;
}

interface MadePar {
  readonly id: string;
  readonly url: string;
}

function parsPath(bucket: string): string {
  return apiPath('buckets', bucket, 'pre-authenticated-requests');
}

/**
 * Shows an image as an object of a bucket, which moves nothing, and makes an address to read it that is good for so
 * long. When that fails, the object is removed.
 */
export async function shareView(
  context: Context,
  client: ServiceClient,
  image: Image,
  wish: { readonly bucket: string; readonly format: string; readonly expiresAtMs: number },
): Promise<SharedView> {
  const { bucket, format, expiresAtMs } = wish;
  const name = image.name.replace(/[^\w.@+-]+/g, '-').slice(0, 80);
  const place = { bucket, key: `${name}-${randomBytes(4).toString('hex')}.${format}` };
  await ensureBucket(client, bucket);
  const request = { format, ...place };
  const { job } = await client.startOnce<{ job: Job }>(`${imagePath(image.id)}/exports`, request);
  try {
    await waitForJob(context, client, job.id, {});
    const json = {
      name: place.key,
      accessType: 'ObjectRead',
      key: place.key,
      expiresAtMs,
    };
    const { id, url } = await client.json<MadePar>('POST', parsPath(bucket), { json });
    return { place, parId: id, url };
  } catch (error) {
    await removeView(context, client, { place });
    throw error;
  }
}

/**
 * Takes back what was shared; true when all of it is gone. After an interrupt too, on a connection of its own. What
 * stays is told.
 */
export async function removeView(
  context: Context,
  client: ServiceClient,
  { place, parId }: { readonly place: Place; readonly parId?: string },
): Promise<boolean> {
  const cleaner = new ServiceClient(client.profile, AbortSignal.timeout(REMOVAL_MS));
  let isGone = true;
  const paths = [objectPath(place)];
  if (parId !== undefined) paths.unshift(`${parsPath(place.bucket)}${apiPath(parId)}`);
  for (const path of paths) {
    try {
      await cleaner.json('DELETE', path, { repeatable: true });
    } catch (error) {
      if (error instanceof CommandError && error.code === 'NOT_FOUND') continue;
      isGone = false;
      context.progress.note(`could not remove ${path}: ${(error as Error).message}`);
    }
  }
  if (!isGone) context.progress.note(removalHint(place));
  return isGone;
}

const REMOVAL_MS = 30_000;

export function removalHint(place: Place): string {
  return `remove it with: gantry object delete ${shellWord(placeText(place))}`;
}

async function ensureBucket(client: ServiceClient, name: string): Promise<void> {
  try {
    await client.json('POST', '/buckets', { json: { name } });
  } catch (error) {
    if (!(error instanceof CommandError) || error.code !== 'CONFLICT') throw error;
  }
}
