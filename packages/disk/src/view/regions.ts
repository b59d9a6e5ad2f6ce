import { invariant } from '../errors.ts';
import { type Layout, type Piece, pieceLength } from './layout.ts';

/** One structure of a file that is laid out: where it stands and how any part of it is made. */
export interface Region {
  readonly lengthBytes: number;
  /** Pieces for [from, to) of this region; offsets count from the region's start. */
  pieces(fromBytes: number, toBytes: number): Iterable<Piece>;
}

/** A region of fixed bytes. */
export function bytesRegion(bytes: Uint8Array): Region {
  return {
    lengthBytes: bytes.length,
    *pieces(from, to) {
      yield { kind: 'bytes', bytes: bytes.subarray(from, to) };
    },
  };
}

export function zeroRegion(lengthBytes: number): Region {
  return {
    lengthBytes,
    *pieces(from, to) {
      yield { kind: 'zero', lengthBytes: to - from };
    },
  };
}

/**
 * A region made of equal records, filled on demand: a table of block pointers, a run of blocks.
 * `make(index)` gives one record's pieces; a record that is cut by the range is cut here.
 */
export function recordsRegion(
  recordCount: number,
  recordBytes: number,
  make: (index: number) => readonly Piece[],
): Region {
  return {
    lengthBytes: recordCount * recordBytes,
    *pieces(from, to) {
      for (let at = from; at < to; ) {
        const index = Math.floor(at / recordBytes);
        const start = index * recordBytes;
        yield* cutPieces(make(index), at - start, Math.min(to - start, recordBytes));
        at = start + recordBytes;
      }
    },
  };
}

/**
 * A table of fixed-size entries made a page at a time: `fill` writes the entries [first, first + count) into
 * `bytes`. Only the pages that a range touches are made.
 */
export function tableRegion(
  entryCount: number,
  entryBytes: number,
  fill: (firstEntry: number, entryCount: number, bytes: Uint8Array) => void,
): Region {
  const pageEntries = Math.max(1, Math.floor(65536 / entryBytes));
  return {
    lengthBytes: entryCount * entryBytes,
    *pieces(from, to) {
      for (let at = from; at < to; ) {
        const first = Math.floor(at / entryBytes);
        const start = first * entryBytes;
        const count = Math.min(pageEntries, Math.ceil((to - start) / entryBytes));
        const bytes = new Uint8Array(count * entryBytes);
        fill(first, count, bytes);
        const end = Math.min(to, start + bytes.length);
        yield { kind: 'bytes', bytes: bytes.subarray(at - start, end - start) };
        at = end;
      }
    },
  };
}

/** The part [from, to) of a list of pieces; offsets count from the first piece's start. */
export function* cutPieces(pieces: Iterable<Piece>, fromBytes: number, toBytes: number): Iterable<Piece> {
  let start = 0;
  for (const piece of pieces) {
    const length = pieceLength(piece);
    const from = Math.max(fromBytes, start) - start;
    const to = Math.min(toBytes, start + length) - start;
    if (from < to) {
      if (piece.kind === 'bytes') yield { kind: 'bytes', bytes: piece.bytes.subarray(from, to) };
      else if (piece.kind === 'zero') yield { kind: 'zero', lengthBytes: to - from };
      else yield { ...piece, offsetBytes: piece.offsetBytes + from, lengthBytes: to - from };
    }
    start += length;
    if (start >= toBytes) return;
  }
}

/**
 * The same pieces with zeros joined, and disk ranges that continue each other: one read instead of many.
 * Stored pieces stay apart, as their source checks each whole.
 */
export function* joinedPieces(pieces: Iterable<Piece>): Iterable<Piece> {
  let open: Piece | undefined;
  for (const piece of pieces) {
    const joined = open === undefined ? undefined : join(open, piece);
    if (joined === undefined && open !== undefined) yield open;
    open = joined ?? piece;
  }
  if (open !== undefined) yield open;
}

function join(a: Piece, b: Piece): Piece | undefined {
  if (a.kind === 'zero' && b.kind === 'zero') {
    return { kind: 'zero', lengthBytes: a.lengthBytes + b.lengthBytes };
  }
  if (a.kind !== 'disk' || b.kind !== 'disk') return undefined;
  if (a.offsetBytes + a.lengthBytes !== b.offsetBytes) return undefined;
  return { ...a, lengthBytes: a.lengthBytes + b.lengthBytes };
}

/** A layout whose file is these regions, one after the other without gaps. */
export function regionsLayout(format: string, regions: readonly Region[]): Layout {
  const starts: number[] = [];
  let lengthBytes = 0;
  for (const region of regions) {
    starts.push(lengthBytes);
    lengthBytes += region.lengthBytes;
  }
  return {
    kind: 'layout',
    format,
    lengthBytes,
    *pieces(from, to) {
      invariant(from >= 0 && from <= to && to <= lengthBytes, 'a range lies inside its layout');
      for (const [i, region] of regions.entries()) {
        const start = starts[i] ?? 0;
        const end = start + region.lengthBytes;
        if (end <= from) continue;
        if (start >= to) return;
        const cutFrom = Math.max(from, start) - start;
        const cutTo = Math.min(to, end) - start;
        if (cutFrom < cutTo) yield* region.pieces(cutFrom, cutTo);
      }
    },
  };
}
