import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { basename, resolve } from 'node:path';
import type { ServiceClient } from '../../client/client.ts';
import { serviceLength } from '../../client/download.ts';
import { LocalFile } from '../../client/local-file.ts';
import { objectPath, type Place } from '../../client/paths.ts';
import { uploadFile } from '../../client/upload.ts';
import type { Context } from '../../context.ts';
import { CommandError } from '../../errors/command-error.ts';

/** Where files wait for their import. */
const UPLOADS_BUCKET = 'gantry-uploads';

/** Uploads a file into the bucket of uploads, or finds it there from an earlier try. */
export async function stageFile(context: Context, client: ServiceClient, path: string): Promise<Place> {
  const file = await LocalFile.open(path, context.signal);
  try {
    // Not one file's parts under another's name: the key stands for this machine, this file and its state.
    const identity = createHash('sha256').update(`${hostname()}\n${resolve(path)}\n${file.identity}`);
    const place = { bucket: UPLOADS_BUCKET, key: `${identity.digest('hex').slice(0, 32)}/${basename(path)}` };
    await ensureBucket(client, UPLOADS_BUCKET);
    if ((await lengthAt(client, place)) === file.lengthBytes)
      context.progress.note(`${path} was uploaded before`);
    else await uploadFile(context, client, file, place, { isNamedByIdentity: true });
    return place;
  } finally {
    await file.close();
  }
}

async function ensureBucket(client: ServiceClient, name: string): Promise<void> {
  try {
    await client.json('POST', '/buckets', { json: { name } });
  } catch (error) {
    if (!(error instanceof CommandError) || error.code !== 'CONFLICT') throw error;
  }
}

async function lengthAt(client: ServiceClient, place: Place): Promise<number | undefined> {
  try {
    return await serviceLength(client, objectPath(place));
  } catch (error) {
    if (error instanceof CommandError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}
