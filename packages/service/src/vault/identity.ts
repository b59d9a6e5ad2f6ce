import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileSink, StoreError, storeError } from '@gantry/disk';
import type { Queries } from '../db/transactions.ts';
import { SEGMENT_NAME } from './segments.ts';

/**
 * Ties the folder to its database: each holds the same id. A folder that met a foreign or an empty database
 * would look like garbage from end to end. Throws STORE_REFUSED when the two do not belong together.
 */
export async function requireIdentity(
  folder: string,
  segmentFolder: string,
  queries: Queries,
): Promise<void> {
  const file = join(folder, 'identity');
  const inFolder = await readIdentity(file);
  const inDatabase = (await queries.selectFrom('vault_identity').select('id').executeTakeFirst())?.id;
  if (inFolder !== undefined && inFolder === inDatabase) return;

  const folderIsEmpty = !(await readdir(segmentFolder)).some((name) => SEGMENT_NAME.test(name));
  const segment = await queries.selectFrom('vault_segments').select('number').limit(1).executeTakeFirst();
  if (inFolder === undefined && folderIsEmpty && segment === undefined) {
    const id = inDatabase ?? randomUUID();
    await writeIdentity(file, id);
    if (inDatabase === undefined) await queries.insertInto('vault_identity').values({ id }).execute();
    return;
  }
  if (inDatabase === undefined && folderIsEmpty && segment === undefined && inFolder !== undefined) {
    await queries.insertInto('vault_identity').values({ id: inFolder }).execute();
    return;
  }
  throw new StoreError('STORE_REFUSED', `the vault folder ${folder} does not belong to this database`, {
    where: folder,
    hint: 'start with the database and the data folder that were used together, or restore both from one backup',
  });
}

async function readIdentity(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw storeError(error, file);
  }
}

async function writeIdentity(file: string, id: string): Promise<void> {
  const sink = await fileSink(file);
  try {
    const bytes = new TextEncoder().encode(`${id}\n`);
    await sink.write(0, bytes);
    await sink.finish(bytes.length);
  } catch (error) {
    await sink.abort();
    throw error;
  }
}
