import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
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

/**
 * Opens or makes the data folder for this process alone. Throws STORE_REFUSED while another process that lives
 * has it.
 */
export async function openDataFolder(path: string): Promise<DataFolder> {
  const folder = resolve(path);
  const lock = join(folder, 'lock');
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error) => {
    throw storeError(error, folder);
  });
  await takeLock(folder, lock);
  return {
    path: folder,
    databaseFile: join(folder, 'catalogue.sqlite'),
    objects: join(folder, 'objects'),
    vault: join(folder, 'vault'),
    profile: join(folder, 'client.toml'),
    release: () => rm(lock, { force: true }),
  };
}

/**
 * The lock is a file with the holder's process id and start time: it is free when no such process lives, so a
 * kill leaves nothing to clean up by hand.
 */
async function takeLock(folder: string, lock: string): Promise<void> {
  const mine = `${process.pid} ${await startOf(process.pid)}\n`;
  const partial = `${lock}.${randomBytes(4).toString('hex')}`;
  try {
    await writeDurably(partial, mine);
    for (;;) {
      const holder = await readFile(lock, 'utf8').catch(() => undefined);
      if (holder !== undefined && (await isAlive(holder))) {
        throw new StoreError('STORE_REFUSED', `${folder} is used by process ${holder.split(' ')[0]}`, {
          where: folder,
          hint: 'stop that service, or choose another data folder',
        });
      }
      await rename(partial, lock);
      // Two that found the lock free at once: the one whose words stand there now has it.
      if ((await readFile(lock, 'utf8')) === mine) return;
    }
  } catch (error) {
    await rm(partial, { force: true });
    throw storeError(error, folder);
  }
}

async function isAlive(holder: string): Promise<boolean> {
  const [pid, start] = holder.trim().split(' ');
  return start !== undefined && start !== '' && (await startOf(Number(pid))) === start;
}

/** When a process began, in clock ticks since the machine did (proc(5), stat, field 22); empty when it is gone. */
async function startOf(pid: number): Promise<string> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
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
