import { open, stat } from 'node:fs/promises';
import { ImageError, StoreError, storeError } from '@gantry/disk';
import type { MachineConsole } from './driver.ts';

/**
 * From where on a log is kept that has grown to a size: of one that is trimmed at least the newest `keptBytes`, and
 * less than twice as much. It depends on the size alone, so that whoever reads and whoever trims agree without a word.
 */
export function keptFrom(sizeBytes: number, keptBytes: number): number {
  return Math.max(0, Math.floor(sizeBytes / keptBytes) - 1) * keptBytes;
}

/**
 * What a serial port said, in a file that a hypervisor writes at its end. Throws STORE_IO.
 * @param keptBytes what is kept of a file that is trimmed; absent for one that is kept whole
 */
export async function consoleOf(path: string, keptBytes?: number): Promise<MachineConsole> {
  const startOf = (sizeBytes: number) => (keptBytes === undefined ? 0 : keptFrom(sizeBytes, keptBytes));
  const sizeBytes = await sizeOf(path);
  const startBytes = startOf(sizeBytes);
  return {
    startBytes,
    lengthBytes: sizeBytes - startBytes,
    async read(offsetBytes, lengthBytes) {
      if (offsetBytes < 0 || lengthBytes < 0)
        throw new ImageError('IMAGE_OPTION', 'a range of a console is not below zero', {
          structure: 'console',
        });
      const bytes = await readPart(path, startBytes + offsetBytes, lengthBytes);
      // Looked at afterwards: what is given up may have been while it was read.
      if (startOf(await sizeOf(path)) <= startBytes + offsetBytes) return bytes;
      throw new StoreError('STORE_CHANGED', 'the guest wrote so much that this part was given up', {
        where: path,
        hint: 'read the console anew',
      });
    },
  };
}

/** The bytes of a range, fewer at the end of the file. */
export async function readPart(path: string, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
  const handle = await open(path).catch((error) => {
    throw storeError(error, path);
  });
  try {
    const { size } = await handle.stat();
    const bytes = new Uint8Array(Math.max(0, Math.min(lengthBytes, size - offsetBytes)));
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, offsetBytes);
    return bytes.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** 0 when there is none yet. */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    const failure = storeError(error, path);
    if (failure instanceof StoreError && failure.code === 'STORE_NOT_FOUND') return 0;
    throw failure;
  }
}
