import { type FileHandle, open } from 'node:fs/promises';
import { storeError } from './node-file.ts';

/** Bytes to put into a file. */
interface Patch {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/** Where formats keep what says which of their structures count. */
const FRONT_BYTES: number = 1024 * 1024;

/**
 * Writes patches into a file that exists and gives it this length, durably. What is new at the end comes first,
 * then what changes, its front at the very last, and only then is anything cut: a file in which this was interrupted
 * still has all that it had but for patches that were written, and the same repair can be planned again. Throws
 * StoreError.
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
      const inside = patches.filter((patch) => !reachesBeyond(patch));
      const isFront = ({ offsetBytes }: Patch) => offsetBytes < FRONT_BYTES;
      await writeAll(
        handle,
        inside.filter((patch) => !isFront(patch)),
      );
      await handle.sync();
      // A header is the last of all to change: those before name the log or the tables that stand behind them.
      await writeAll(handle, inside.filter(isFront).toReversed());
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
