import { MIB } from '../bytes/numbers.ts';
import type { ByteSource } from './byte-source.ts';

const CHUNK_BYTES: number = MIB / 4;

/**
 * The bytes of a source from a place to its end, in order, the next ones asked for while these are used. What a
 * source that arrives gives here it does not keep.
 */
export async function* byteChunks(
  source: ByteSource,
  fromBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (source.rest !== undefined) {
    yield* source.rest(fromBytes, signal);
    return;
  }
  const read = async (offsetBytes: number) => {
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, source.lengthBytes - offsetBytes));
    await source.read(offsetBytes, bytes, signal);
    return bytes;
  };
  let next = fromBytes < source.lengthBytes ? read(fromBytes) : undefined;
  let at = fromBytes;
  while (next !== undefined) {
    const bytes = await next;
    at += bytes.length;
    next = at < source.lengthBytes ? read(at) : undefined;
    // A failure is seen when its turn comes; until then it is no unhandled rejection.
    next?.catch(() => {});
    yield bytes;
  }
}
