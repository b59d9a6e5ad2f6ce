import { open, rm, stat } from 'node:fs/promises';
import { denyReferences, openDisk, patchFile, storeError } from '@gantry/disk';
import {
  type ByteChange,
  CHANGES_TEXT_BYTES_MAX,
  changesText,
  parseChanges,
  pendingChanges,
  reversedChanges,
} from '@gantry/machine';
import { CommandError } from '../../errors/command-error.ts';
import { writeNewFile } from '../../output/new-file.ts';
import type { OpenImage } from './image-files.ts';

/**
 * The file of an image whose bytes are those of the disk, where the changes can be made in it. Throws
 * IMAGE_UNSUPPORTED for any other, IMAGE_MALFORMED where other bytes stand in it, StoreError where it cannot be
 * written.
 */
export async function rawFileOf(
  file: string,
  { source, disk }: OpenImage,
  localFiles: readonly string[],
  changes: readonly ByteChange[],
): Promise<string> {
  const isRaw = disk.format === 'raw' && disk.virtualSizeBytes === source.lengthBytes;
  const isFile = localFiles.includes(file) && (await stat(file)).isFile();
  if (!isRaw || !isFile) {
    throw new CommandError('IMAGE_UNSUPPORTED', `${file} is not changed in place: that is for raw files`, {
      where: file,
      hint: 'name a target: the changed image is written there',
    });
  }
  const bytes = await openDisk(source, { format: 'raw', references: denyReferences });
  await pendingChanges(bytes, changes, { partly: true });
  // Changes nothing; what cannot be written to is told now.
  await patchFile(file, [], disk.virtualSizeBytes);
  return file;
}

/**
 * Makes changes one after the other, each durable before the next begins: what is there is sound after each of them.
 * Throws StoreError.
 */
export async function changeInPlace(
  path: string,
  lengthBytes: number,
  changes: readonly ByteChange[],
): Promise<void> {
  for (const { offsetBytes, after } of changes)
    await patchFile(path, [{ offsetBytes, bytes: after }], lengthBytes);
}

/**
 * Writes what takes changes back to a new file, durably, before the work; where that fails the file is taken away
 * again. Throws STORE_EXISTS rather than lose the changes of another time, and what the work throws.
 */
export async function withUndoFile<Result>(
  path: string | undefined,
  virtualSizeBytes: number,
  changes: readonly ByteChange[],
  work: () => Promise<Result>,
): Promise<Result> {
  if (path === undefined) return work();
  const hint = 'it may be what takes earlier changes back (--apply-undo): keep it, and name another file';
  await writeNewFile(path, changesText(virtualSizeBytes, reversedChanges(changes)), hint);
  try {
    return await work();
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

/** Reads such a file. */
export async function readUndo(path: string): Promise<readonly ByteChange[]> {
  try {
    const handle = await open(path);
    try {
      const { size } = await handle.stat();
      if (size > CHANGES_TEXT_BYTES_MAX) {
        throw new CommandError('IMAGE_MALFORMED', `${path} is no list of changes: it has ${size} bytes`, {
          where: path,
          hint: 'name the file that was written when the disk was changed',
        });
      }
      return parseChanges(await handle.readFile('utf8'));
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw storeError(error, path);
  }
}
