import { ImageError } from '../errors.ts';
import { byteChunks } from '../io/byte-chunks.ts';
import type { ByteSource } from '../io/byte-source.ts';
import { unpackStream } from '../io/node-unpack.ts';
import { sliceSource } from '../io/slice.ts';
import type { UnpackEntry } from './unpacked-source.ts';
import { FRAME_HEADER_BYTES_MAX, walkZstd, type ZstdStep } from './zstd-walk.ts';

const READ_BYTES = 64 * 1024;

/**
 * The frames of a zstd file and what they unpack to, found by walking their block headers; undefined when a frame
 * does not say its size, as those made from a pipe do not. Reading can begin at each of them. Throws ImageError.
 */
export async function zstdFrames(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<{ lengthBytes: number; list: UnpackEntry[] } | undefined> {
  const list: UnpackEntry[] = [];
  let lengthBytes = 0;
  let startBytes = 0;
  let held: Uint8Array = new Uint8Array();
  /** Small pieces, front to back, from larger reads. */
  const read = async (offsetBytes: number, wantedBytes: number) => {
    const end = Math.min(offsetBytes + wantedBytes, source.lengthBytes);
    if (end <= offsetBytes) return new Uint8Array();
    if (offsetBytes < startBytes || end > startBytes + held.length) {
      signal?.throwIfAborted();
      startBytes = offsetBytes;
      held = new Uint8Array(Math.min(READ_BYTES, source.lengthBytes - offsetBytes));
      await source.read(offsetBytes, held, signal);
    }
    return held.subarray(offsetBytes - startBytes, end - startBytes);
  };
  const walk = walkZstd();
  for (let step = walk.next(); !step.done; ) {
    const { value } = step;
    if (value.kind === 'read') {
      step = walk.next(await read(value.offsetBytes, value.lengthBytes));
      continue;
    }
    const { offsetBytes } = value.frame;
    if (value.frame.lengthBytes === undefined) return undefined;
    const start = (later?: AbortSignal) => unpackStream('zstd', chunksFrom(source, offsetBytes, later));
    if (value.frame.lengthBytes > 0) list.push({ outputBytes: lengthBytes, start });
    lengthBytes += value.frame.lengthBytes;
    if (!Number.isSafeInteger(lengthBytes)) throw tooMuch(offsetBytes);
    step = walk.next(new Uint8Array());
  }
  return { lengthBytes, list };
}

function chunksFrom(
  source: ByteSource,
  from: number,
  signal: AbortSignal | undefined,
): AsyncIterable<Uint8Array> {
  return byteChunks(sliceSource(source, from, source.lengthBytes - from), 0, signal);
}

function tooMuch(offsetBytes: number): ImageError {
  return new ImageError('IMAGE_LIMIT', 'the frames of the zstd file give more than any file has', {
    structure: 'zstd frame',
    offsetBytes,
  });
}

/** Passes a zstd file on, and throws IMAGE_TRUNCATED when it ends where no frame does: the codec lets that pass. */
export async function* wholeFrames(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const walk = walkZstd();
  let step = firstRead(walk.next(), walk);
  const seen = new RecentBytes();
  for await (const bytes of chunks) {
    seen.add(bytes);
    while (step !== undefined && step.offsetBytes + step.lengthBytes <= seen.endBytes) {
      step = firstRead(walk.next(seen.piece(step.offsetBytes, step.lengthBytes)), walk);
    }
    yield bytes;
  }
  // The end answers whatever is still wanted with what there is of it.
  while (step !== undefined) {
    step = firstRead(walk.next(seen.piece(step.offsetBytes, step.lengthBytes)), walk);
  }
}

/** The newest chunk of a stream and the last bytes before it: a header can be cut by their border. */
class RecentBytes {
  #before: Uint8Array = new Uint8Array();
  #chunk: Uint8Array = new Uint8Array();
  #endBytes = 0;

  get endBytes(): number {
    return this.#endBytes;
  }

  add(chunk: Uint8Array): void {
    this.#before = this.piece(Math.max(0, this.#endBytes - FRAME_HEADER_BYTES_MAX), FRAME_HEADER_BYTES_MAX);
    this.#chunk = chunk;
    this.#endBytes += chunk.length;
  }

  /** What stands at a place, less where the stream ends. */
  piece(offsetBytes: number, lengthBytes: number): Uint8Array {
    const chunkAt = this.#endBytes - this.#chunk.length;
    const end = Math.min(offsetBytes + lengthBytes, this.#endBytes);
    if (offsetBytes >= chunkAt) return this.#chunk.slice(offsetBytes - chunkAt, Math.max(0, end - chunkAt));
    const beforeAt = chunkAt - this.#before.length;
    const before = this.#before.subarray(offsetBytes - beforeAt, end - beforeAt);
    return Uint8Array.from([...before, ...this.#chunk.subarray(0, Math.max(0, end - chunkAt))]);
  }
}

type ReadStep = Extract<ZstdStep, { kind: 'read' }>;

/** The next read that is wanted, frames passed over; undefined when the walk has ended. */
function firstRead(
  result: IteratorResult<ZstdStep, void>,
  walk: ReturnType<typeof walkZstd>,
): ReadStep | undefined {
  for (let next = result; !next.done; next = walk.next(new Uint8Array())) {
    if (next.value.kind === 'read') return next.value;
  }
  return undefined;
}
