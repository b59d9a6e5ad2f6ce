import { open } from 'node:fs/promises';
import { StoreError } from '../errors.ts';
import { storeError } from './node-file.ts';
import type { WritableFile } from './writable-file.ts';

/** Opens a file that exists for reading and writing. Throws StoreError. */
export async function writableFile(path: string): Promise<WritableFile> {
  const told = <Result>(work: Promise<Result>): Promise<Result> =>
    work.catch((error) => {
      throw storeError(error, path);
    });
  const handle = await told(open(path, 'r+'));
  if (!(await handle.stat()).isFile()) {
    await handle.close();
    throw new StoreError('STORE_IO', `${path} is not a file`, { where: path });
  }
  return {
    name: path,
    lengthBytes: async () => (await told(handle.stat())).size,
    async read(offsetBytes, into) {
      for (let done = 0; done < into.length; ) {
        const { bytesRead } = await told(handle.read(into, done, into.length - done, offsetBytes + done));
        if (bytesRead === 0) {
          throw new StoreError('STORE_CHANGED', `${path} is shorter than its tables say`, { where: path });
        }
        done += bytesRead;
      }
    },
    async write(offsetBytes, bytes) {
      for (let done = 0; done < bytes.length; ) {
        done += (await told(handle.write(bytes, done, bytes.length - done, offsetBytes + done))).bytesWritten;
      }
    },
    sync: () => told(handle.datasync()),
    close: () => handle.close(),
  };
}
