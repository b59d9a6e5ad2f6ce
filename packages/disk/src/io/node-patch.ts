import { type FileHandle, open } from 'node:fs/promises';
import { storeError } from './node-file.ts';

/** Bytes to put into a file. */
interface Patch {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/**
 * Writes patches into a file that exists and gives it this length, durably. What is new at the end comes first,
 * then what changes, and only then is anything cut: a file in which this was interrupted still has all that it
 * had but for patches that were written, and the same repair can be planned again. Throws StoreError.
 */
export async function patchFile(path: string, patches: readonly Patch[], lengthBytes: number): Promise<void> {
  try {
    const handle = await open(path, 'r+');
    try {
      const { size } = await handle.stat();
      const reachesBeyond = ({ offsetBytes, bytes }: Patch) => offsetBytes + bytes.length > size;
      await writeAll(handle, patches.filter(reachesBeyond));
      if (lengthBytes > size) await handle.truncate(lengthBytes);
      await handle.sync();
      await writeAll(
        handle,
        patches.filter((patch) => !reachesBeyond(patch)),
      );
      await handle.sync();
      if (lengthBytes < size) {
        await handle.truncate(lengthBytes);
        await handle.sync();
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw storeError(error, path);
  }
}

async function writeAll(handle: FileHandle, patches: readonly Patch[]): Promise<void> {
  for (const { offsetBytes, bytes } of patches) {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offsetBytes + done);
      done += bytesWritten;
    }
  }
}
