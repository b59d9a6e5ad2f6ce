import { invariant } from '../errors.ts';
import type { ByteSink } from './byte-sink.ts';
import type { ByteSource } from './byte-source.ts';

/** A buffer as a source. The buffer is not copied. */
export function memorySource(bytes: Uint8Array, name = 'memory'): ByteSource {
  return {
    name,
    lengthBytes: bytes.length,
    async read(offsetBytes, into, signal) {
      signal?.throwIfAborted();
      invariant(offsetBytes + into.length <= bytes.length, 'read beyond a memory source');
      into.set(bytes.subarray(offsetBytes, offsetBytes + into.length));
    },
    async close() {},
  };
}

/** A growing buffer as a sink; `bytes()` gives what was finished. */
export function memorySink(name = 'memory'): ByteSink & { bytes(): Uint8Array } {
  let buffer = new Uint8Array(64 * 1024);
  let finished: Uint8Array | undefined;
  const reserve = (lengthBytes: number) => {
    if (lengthBytes <= buffer.length) return;
    const grown = new Uint8Array(Math.max(lengthBytes, buffer.length * 2));
    grown.set(buffer);
    buffer = grown;
  };
  return {
    name,
    async write(offsetBytes, bytes, signal) {
      signal?.throwIfAborted();
      reserve(offsetBytes + bytes.length);
      buffer.set(bytes, offsetBytes);
    },
    async finish(lengthBytes) {
      reserve(lengthBytes);
      finished = buffer.slice(0, lengthBytes);
    },
    async abort() {},
    bytes() {
      invariant(finished !== undefined, 'the memory sink was not finished');
      return finished;
    },
  };
}
