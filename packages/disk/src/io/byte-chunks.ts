import { MIB } from '../bytes/numbers.ts';
import { mapOrdered } from '../convert/bounded.ts';
import type { ByteSource } from './byte-source.ts';

const CHUNK_BYTES: number = MIB;
/** Asked for ahead: a source over a network takes its time for each. */
const CHUNKS_AT_ONCE = 3;

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
  function* starts(): Iterable<number> {
    for (let at = fromBytes; at < source.lengthBytes; at += CHUNK_BYTES) yield at;
  }
  yield* mapOrdered(starts(), CHUNKS_AT_ONCE, read);
}
