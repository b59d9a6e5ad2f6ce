import type { ByteSource } from '../io/byte-source.ts';
import type { Extent, StoredRun } from './disk.ts';

/**
 * The extents of [from, to) of a disk whose bytes stand in a source as they are, byte 0 at `sourceBytes`: holes
 * where the source knows them, else all data.
 */
export async function* sourceExtents(
  source: ByteSource,
  sourceBytes: number,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<Extent, void, undefined> {
  signal?.throwIfAborted();
  let at = fromBytes;
  if (source.allocatedRanges === undefined) {
    if (at < toBytes) yield { offsetBytes: at, lengthBytes: toBytes - at, kind: 'data' };
    return;
  }
  for await (const range of source.allocatedRanges(sourceBytes + fromBytes, sourceBytes + toBytes, signal)) {
    const start = Math.max(at, range.offsetBytes - sourceBytes);
    const end = Math.min(toBytes, range.offsetBytes + range.lengthBytes - sourceBytes);
    if (start >= end) continue;
    if (at < start) yield { offsetBytes: at, lengthBytes: start - at, kind: 'hole' };
    yield { offsetBytes: start, lengthBytes: end - start, kind: 'data' };
    at = end;
  }
  if (at < toBytes) yield { offsetBytes: at, lengthBytes: toBytes - at, kind: 'hole' };
}

/** As `sourceExtents`, with where the data is. */
export async function* sourceRuns(
  source: ByteSource,
  sourceBytes: number,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<StoredRun, void, undefined> {
  for await (const extent of sourceExtents(source, sourceBytes, fromBytes, toBytes, signal)) {
    const { kind, offsetBytes, lengthBytes } = extent;
    if (kind !== 'data') yield { kind, offsetBytes, lengthBytes };
    else yield { kind: 'plain', offsetBytes, lengthBytes, source, sourceBytes: sourceBytes + offsetBytes };
  }
}
