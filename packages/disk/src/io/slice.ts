import { invariant } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';

/** A range of a source as a source of its own. Closing it leaves the underlying source open. */
export function sliceSource(
  source: ByteSource,
  offsetBytes: number,
  lengthBytes: number,
  name: string = source.name,
): ByteSource {
  invariant(offsetBytes + lengthBytes <= source.lengthBytes, 'a slice lies inside its source');
  return {
    name,
    lengthBytes,
    ...(source.sequential === true && { sequential: true }),
    within: { source, offsetBytes },
    async read(at, into, signal) {
      invariant(at + into.length <= lengthBytes, 'read beyond a slice');
      await source.read(offsetBytes + at, into, signal);
    },
    async close() {},
  };
}
