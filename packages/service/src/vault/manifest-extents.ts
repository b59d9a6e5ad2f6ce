import type { Extent } from '@gantry/disk';
import type { Queries } from '../db/transactions.ts';
import { BLOCK_BYTES, lengthCode, PIECE_BYTES, PIECES_PER_BLOCK } from './block-record.ts';
import { CHUNK_BLOCKS, type ManifestChunk } from './manifest-chunk.ts';
import { readableChunks } from './manifests.ts';

const CHUNK_BYTES: number = CHUNK_BLOCKS * BLOCK_BYTES;

/** The extents of [from, to) of a manifest's disk: the cost follows the data, chunks without any have no row. */
export async function* manifestExtents(
  queries: Queries,
  manifestId: string,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<Extent, void, undefined> {
  let holeStart = fromBytes;
  let start = fromBytes;
  let end = fromBytes;
  const firstChunk = Math.floor(fromBytes / CHUNK_BYTES);
  const chunkEnd = Math.ceil(toBytes / CHUNK_BYTES);
  for await (const chunk of readableChunks(queries, manifestId, firstChunk, chunkEnd)) {
    signal?.throwIfAborted();
    for (const piece of dataPieces(chunk)) {
      const at = chunk.index * CHUNK_BYTES + piece * PIECE_BYTES;
      const pieceStart = Math.max(fromBytes, at);
      const pieceEnd = Math.min(toBytes, at + PIECE_BYTES);
      if (pieceStart >= pieceEnd) continue;
      if (pieceStart > end) {
        yield* holeAndData(holeStart, start, end);
        holeStart = end;
        start = pieceStart;
      }
      end = pieceEnd;
    }
  }
  yield* holeAndData(holeStart, start, end);
  if (end < toBytes) yield { offsetBytes: end, lengthBytes: toBytes - end, kind: 'hole' };
}

/** The pieces of a chunk that are not all zero, in order, counted from the chunk's start. */
export function* dataPieces(chunk: ManifestChunk): Iterable<number> {
  for (const block of chunk.blocks()) {
    const codes = chunk.codes(block);
    for (let piece = 0; piece < PIECES_PER_BLOCK; piece++) {
      if (lengthCode(codes, piece) !== 0) yield block * PIECES_PER_BLOCK + piece;
    }
  }
}

function* holeAndData(holeStart: number, start: number, end: number): Iterable<Extent> {
  if (holeStart < start) yield { offsetBytes: holeStart, lengthBytes: start - holeStart, kind: 'hole' };
  if (start < end) yield { offsetBytes: start, lengthBytes: end - start, kind: 'data', compressed: true };
}
