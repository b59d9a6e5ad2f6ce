import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { StoreError, storeError, syncFolder } from '@gantry/disk';

/** Where the parts of the service keep their things. */
export interface DataFolder {
  readonly path: string;
  readonly databaseFile: string;
  readonly objects: string;
  readonly vault: string;
  readonly profile: string;
  /** Lets another process have the folder. */
  release(): Promise<void>;
}

/** https://www.sqlite.org/rescode.html */
const SQLITE_BUSY = 5;

/**
 * Opens or makes the data folder for this process alone. Throws STORE_REFUSED while another process has it.
 */
export async function openDataFolder(path: string): Promise<DataFolder> {
  const folder = resolve(path);
  await makeFolders(folder).catch((error) => {
    throw storeError(error, folder);
  });
  const lock = takeLock(folder);
  return {
    path: folder,
    databaseFile: join(folder, 'catalogue.sqlite'),
    objects: join(folder, 'objects'),
    vault: join(folder, 'vault'),
    profile: join(folder, 'client.toml'),
    release: async () => lock.close(),
  };
}

/** As `mkdir` with `recursive`, which in Node never ends where nothing can be made, as in /proc. */
async function makeFolders(path: string): Promise<void> {
  const problem = await makeFolder(path);
  if (problem === undefined) return;
  if (problem.code !== 'ENOENT' || dirname(path) === path) throw problem;
  await makeFolders(dirname(path));
  const again = await makeFolder(path);
  if (again !== undefined) throw again;
}

/** Gives what keeps it from being there as a folder. */
async function makeFolder(path: string): Promise<NodeJS.ErrnoException | undefined> {
  try {
    await mkdir(path, { mode: 0o700 });
    return undefined;
  } catch (error) {
    const isThere = await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    );
    return isThere ? undefined : (error as NodeJS.ErrnoException);
  }
}

/**
 * An exclusive transaction on an empty database: two that start at once do not both get it, and the kernel ends
 * it with the process, so a kill leaves nothing to clean up by hand.
 */
function takeLock(folder: string): DatabaseSync {
  const lock = new DatabaseSync(join(folder, 'service.lock'));
  try {
    lock.exec('BEGIN EXCLUSIVE');
    return lock;
  } catch (error) {
    lock.close();
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error;
    throw new StoreError('STORE_REFUSED', `${folder} is used by another process`, {
      where: folder,
      hint: 'stop that service, or choose another data folder',
      cause: error,
    });
  }
}

/** Writes a small file that only its owner reads, whole and durable before it has its name. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const partial = `${path}.partial`;
  await rm(partial, { force: true });
  const file = await open(partial, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(partial, path);
  await syncFolder(dirname(path));
}
