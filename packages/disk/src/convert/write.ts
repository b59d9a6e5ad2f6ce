import { isZero } from '../bytes/fields.ts';
import { MIB } from '../bytes/numbers.ts';
import { sharedMemory } from '../bytes/shared-memory.ts';
import type { Disk } from '../disk/disk.ts';
import type { ByteSink } from '../io/byte-sink.ts';
import { sinkDescriptorOf } from '../io/node-file.ts';
import { runWork } from '../io/node-work.ts';
import type { ImageStream } from '../view/image-stream.ts';
import { type Layout, type Piece, pieceLength } from '../view/layout.ts';
import { joinedPieces } from '../view/regions.ts';
import { readZeroExtended } from '../view/view.ts';
import { mapOrdered } from './bounded.ts';
import { BufferPool } from './buffer-pool.ts';
import type { ProgressListener } from './progress.ts';

const CHUNK_BYTES = MIB;
const CHUNKS_AT_ONCE = 6;

export interface WriteOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

interface Chunk {
  readonly offsetBytes: number;
  readonly piece: Exclude<Piece, { kind: 'zero' }>;
  readonly lengthBytes: number;
}

/**
 * Writes a layout's file; zeros are left as holes of the sink. Does not finish the sink. Gives the length.
 * Memory: a few MiB of buffers.
 */
export async function writeLayout(
  layout: Layout,
  disk: Disk,
  sink: ByteSink,
  options: WriteOptions = {},
): Promise<number> {
  const { signal, onProgress } = options;
  const pool = new BufferPool(CHUNK_BYTES);
  const totalBytes = layout.lengthBytes;
  const writeChunk = async ({ offsetBytes, piece, lengthBytes }: Chunk): Promise<number> => {
    signal?.throwIfAborted();
    if (piece.kind === 'bytes') {
      if (!isZero(piece.bytes)) await sink.write(offsetBytes, piece.bytes, signal);
    } else {
      const buffer = pool.take();
      const bytes = buffer.subarray(0, lengthBytes);
      if (piece.kind === 'disk') await readZeroExtended(disk, piece.offsetBytes, bytes, signal);
      else await piece.source.read(piece.offsetBytes, bytes, signal);
      await sink.write(offsetBytes, bytes, signal);
      pool.give(buffer);
    }
    return offsetBytes + lengthBytes;
  };
  for await (const doneBytes of mapOrdered(chunksOf(layout), CHUNKS_AT_ONCE, writeChunk)) {
    onProgress?.({ phase: 'copy', doneBytes, totalBytes });
  }
  onProgress?.({ phase: 'copy', doneBytes: totalBytes, totalBytes });
  return totalBytes;
}

/** Writes what a layout has besides the disk's data, which stands in its place already. */
export async function writeMetadata(
  layout: Layout,
  sink: ByteSink,
  signal: AbortSignal | undefined,
): Promise<void> {
  const batch = new WriteBatch(sink, signal);
  let offsetBytes = 0;
  for (const piece of joinedPieces(layout.pieces(0, layout.lengthBytes))) {
    if (piece.kind === 'bytes' && !isZero(piece.bytes)) await batch.add(offsetBytes, piece.bytes);
    offsetBytes += pieceLength(piece);
  }
  await batch.flush();
}

/** Tables of a sparse disk are many and small: those of a file are written together, by one thread. */
class WriteBatch {
  readonly #sink: ByteSink;
  readonly #signal: AbortSignal | undefined;
  readonly #memory = new Uint8Array(sharedMemory(CHUNK_BYTES));
  #heldBytes = 0;
  #places: { at: number; lengthBytes: number; targetBytes: number }[] = [];

  constructor(sink: ByteSink, signal: AbortSignal | undefined) {
    this.#sink = sink;
    this.#signal = signal;
  }

  async add(targetBytes: number, bytes: Uint8Array): Promise<void> {
    if (this.#heldBytes + bytes.length > this.#memory.length) await this.flush();
    if (bytes.length > this.#memory.length) {
      await this.#sink.write(targetBytes, bytes, this.#signal);
      return;
    }
    const last = this.#places.at(-1);
    if (last !== undefined && last.targetBytes + last.lengthBytes === targetBytes) {
      last.lengthBytes += bytes.length;
    } else this.#places.push({ at: this.#heldBytes, lengthBytes: bytes.length, targetBytes });
    this.#memory.set(bytes, this.#heldBytes);
    this.#heldBytes += bytes.length;
  }

  async flush(): Promise<void> {
    const places = this.#places;
    if (places.length === 0) return;
    this.#signal?.throwIfAborted();
    const descriptor = sinkDescriptorOf(this.#sink);
    if (descriptor === undefined) {
      for (const { at, lengthBytes, targetBytes } of places)
        await this.#sink.write(targetBytes, this.#memory.subarray(at, at + lengthBytes), this.#signal);
    } else {
      const names = { source: this.#sink.name, structure: 'metadata' };
      await runWork({ kind: 'write', plain: this.#memory, places, descriptor }, names);
    }
    this.#places = [];
    this.#heldBytes = 0;
  }
}

function* chunksOf(layout: Layout): Iterable<Chunk> {
  let offsetBytes = 0;
  for (const piece of joinedPieces(layout.pieces(0, layout.lengthBytes))) {
    const end = offsetBytes + pieceLength(piece);
    if (piece.kind === 'bytes') yield { offsetBytes, piece, lengthBytes: piece.bytes.length };
    else if (piece.kind !== 'zero') {
      for (let at = offsetBytes; at < end; at += CHUNK_BYTES) {
        const lengthBytes = Math.min(CHUNK_BYTES, end - at);
        const part = { ...piece, offsetBytes: piece.offsetBytes + (at - offsetBytes), lengthBytes };
        yield { offsetBytes: at, piece: part, lengthBytes };
      }
    }
    offsetBytes = end;
  }
}

/** Writes a stream's chunks; the front comes last. Does not finish the sink. Gives the length. */
export async function writeStream(
  stream: ImageStream,
  sink: ByteSink,
  options: WriteOptions = {},
): Promise<number> {
  let lengthBytes = stream.frontBytes;
  for await (const { offsetBytes, bytes } of stream.chunks(options)) {
    await sink.write(offsetBytes, bytes, options.signal);
    lengthBytes = Math.max(lengthBytes, offsetBytes + bytes.length);
  }
  return lengthBytes;
}
