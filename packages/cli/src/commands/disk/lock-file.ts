import { basename, dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { StoreError } from '@gantry/disk';

/** https://www.sqlite.org/rescode.html */
const SQLITE_BUSY = 5;

/**
 * Keeps a file for this process alone, until disposed of, by an exclusive transaction on an empty database beside it:
 * the kernel ends that with the process, so a kill leaves nothing to clean up. Throws STORE_REFUSED while another
 * process has the file.
 */
export function lockFile(path: string): Disposable {
  const lock = new DatabaseSync(join(dirname(path), `.${basename(path)}.lock`));
  try {
    lock.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    lock.close();
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error;
    throw new StoreError('STORE_REFUSED', `${path} is used by another process`, {
      where: path,
      hint: 'stop that one, or name another file',
      cause: error,
    });
  }
  return { [Symbol.dispose]: () => lock.close() };
}
