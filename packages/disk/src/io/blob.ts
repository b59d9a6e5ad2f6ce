import { invariant, StoreError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';

/**
 * A Blob as a source, such as a file that the user of a page chose. Nothing is read before it is asked for.
 * Throws STORE_IO for a file that can no longer be read, such as one that was changed meanwhile.
 */
export function blobSource(blob: Blob, name: string = nameOf(blob)): ByteSource {
  return {
    name,
    lengthBytes: blob.size,
    async read(offsetBytes, into, signal) {
      signal?.throwIfAborted();
      invariant(offsetBytes + into.length <= blob.size, 'read beyond a blob');
      const part = blob.slice(offsetBytes, offsetBytes + into.length);
      const bytes = await part.arrayBuffer().catch((cause: unknown) => {
        throw new StoreError('STORE_IO', `${name} cannot be read`, {
          where: name,
          cause,
          hint: 'choose the file again',
        });
      });
      into.set(new Uint8Array(bytes));
    },
    async close() {},
  };
}

function nameOf(blob: Blob): string {
  return 'name' in blob && typeof blob.name === 'string' ? blob.name : 'blob';
}
