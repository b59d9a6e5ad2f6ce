import { randomUUID } from 'node:crypto';
import { link, open, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { StoreError, storeError, syncFolder } from '@gantry/disk';

/** File systems that have no second names say one of these. */
const noLinks: readonly (string | undefined)[] = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

/**
 * Writes a new file, durably; it has its name only when all of it is there. Throws STORE_EXISTS, with this hint,
 * rather than replace one, and leaves nothing behind when it throws.
 */
export async function writeNewFile(path: string, text: string, existsHint: string): Promise<void> {
  const partial = join(dirname(path), `.${basename(path)}.${randomUUID()}.partial`);
  try {
    await writeDurably(partial, text);
    try {
      await link(partial, path);
    } catch (error) {
      if (!noLinks.includes(codeOf(error))) throw error;
      await writeDurably(path, text);
    } finally {
      await rm(partial, { force: true });
    }
    await syncFolder(dirname(path));
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw storeError(error, path);
    throw new StoreError('STORE_EXISTS', `${path} is there already`, { where: path, hint: existsHint });
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  const handle = await open(path, 'wx');
  try {
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
