import { isZero } from '../bytes/fields.ts';
import { MIB } from '../bytes/numbers.ts';
import type { Disk } from '../disk/disk.ts';
import type { ByteSink } from '../io/byte-sink.ts';
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
  let offsetBytes = 0;
  const pending = new Uint8Array(CHUNK_BYTES);
  let startBytes = 0;
  let heldBytes = 0;
  const flush = async () => {
    if (heldBytes > 0) await sink.write(startBytes, pending.subarray(0, heldBytes), signal);
    heldBytes = 0;
  };
  for (const piece of joinedPieces(layout.pieces(0, layout.lengthBytes))) {
    if (piece.kind === 'bytes' && !isZero(piece.bytes)) {
      const goesOn = startBytes + heldBytes === offsetBytes;
      if (!goesOn || heldBytes + piece.bytes.length > pending.length) await flush();
      if (piece.bytes.length > pending.length) await sink.write(offsetBytes, piece.bytes, signal);
      else {
        if (heldBytes === 0) startBytes = offsetBytes;
        pending.set(piece.bytes, heldBytes);
        heldBytes += piece.bytes.length;
      }
    }
    offsetBytes += pieceLength(piece);
  }
  await flush();
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
