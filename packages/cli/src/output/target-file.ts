import { lstat, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { StoreError } from '@gantry/disk';
import { usageError } from '../errors/command-error.ts';

/**
 * Where a file of this name is really written: links are followed, as the file behind them is replaced.
 * Throws STORE_REFUSED when that would destroy a device, or one of the files that are read.
 */
export async function targetPath(target: string, sources: readonly string[]): Promise<string> {
  const existing = await stat(target).catch(() => undefined);
  if (existing === undefined) return newTargetPath(target);
  if (existing.isDirectory()) throw usageError(`${target} is a directory`, 'name the file to write');
  if (!existing.isFile()) {
    throw new StoreError('STORE_REFUSED', `${target} is a device or a pipe; only files are replaced`, {
      where: target,
      hint: 'write to standard output and lead that there: gantry … - --to raw | dd of=DEVICE bs=4M',
    });
  }
  for (const source of sources) {
    const found = await stat(source).catch(() => undefined);
    if (found?.dev === existing.dev && found.ino === existing.ino) {
      throw new StoreError('STORE_REFUSED', `${target} is what is read: it would be destroyed`, {
        where: target,
        hint: 'write to another file, and move that over the old one when you have checked it',
      });
    }
  }
  return realpath(target);
}

async function newTargetPath(target: string): Promise<string> {
  if ((await lstat(target).catch(() => undefined)) !== undefined) {
    throw new StoreError('STORE_REFUSED', `${target} is a link to nothing`, {
      where: target,
      hint: 'remove the link, or name the file that it should lead to',
    });
  }
  const folder = dirname(target);
  if (basename(target) === '' || target.endsWith('/')) throw usageError(`${target} names no file`);
  if ((await stat(folder).catch(() => undefined))?.isDirectory())
    return join(await realpath(folder), basename(target));
  throw new StoreError('STORE_NOT_FOUND', `there is no folder ${folder} to write ${basename(target)} in`, {
    where: folder,
    hint: 'make the folder first',
  });
}
