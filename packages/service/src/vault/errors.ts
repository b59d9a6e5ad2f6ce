import { StoreError, storeError } from '@gantry/disk';

/** What the vault holds is not what was written. `where` names the segment's file or the manifest. */
export function corrupt(message: string, where: string): StoreError {
  return new StoreError('STORE_CORRUPT', message, {
    where,
    hint: 'run gantry vault check --data to learn what else is damaged, then restore the segment from a backup; or delete the images that use the block, run gantry vault gc, and import them again',
  });
}

/** A failure while the vault's folder or its database was written, with a full disk told as STORE_FULL. */
export function writeError(error: unknown, where: string): unknown {
  const failure = error as { errcode?: unknown; code?: unknown } | null | undefined;
  // SQLITE_FULL, and PostgreSQL's class 53, disk_full.
  if (failure?.errcode === 13 || failure?.code === '53100') {
    return new StoreError('STORE_FULL', 'no space left for the database', {
      where,
      cause: error,
      hint: 'free some space, then try again',
    });
  }
  return storeError(error, where);
}

/** Stored bytes are wrong, or the disk that they are on cannot give them. */
export function isDamage(error: unknown): error is StoreError {
  return error instanceof StoreError && (error.code === 'STORE_CORRUPT' || error.code === 'STORE_IO');
}
