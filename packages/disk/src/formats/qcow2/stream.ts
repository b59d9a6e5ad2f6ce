import { ceilDivide, MIB } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ChunkPacker } from '../../view/chunk-packer.ts';
import type { ImageStream, StreamChunk, StreamRunOptions } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import { packedUnits } from '../../view/packed-units.ts';
import { type Qcow2Geometry, qcow2Geometry, refcountClusters } from './geometry.ts';
import { StreamTables } from './stream-tables.ts';

export interface Qcow2StreamOptions {
  readonly version: 2 | 3;
  readonly clusterBytes: number;
  readonly compression: 'zlib' | 'zstd';
  /** Deflate history window as a power of two. */
  readonly windowBits: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A qcow2 file with compressed clusters, made in one forward pass over the disk. Clusters that compression does
 * not make shorter are stored as they are, those of zeros not at all. Costs one walk over the extents, but of an
 * arriving disk.
 */
export async function qcow2Stream(disk: Disk, options: Qcow2StreamOptions): Promise<ImageStream> {
  const { clusterBytes } = options;
  const geometry = qcow2Geometry(disk.virtualSizeBytes, clusterBytes);
  const used = await countUsed(disk, geometry, options.signal);
  // Packed clusters with what aligns the others are never longer than all of them whole.
  const contentClusters = 1 + geometry.l1Clusters + used.tableCount + used.clusterCount;
  const { tableClusters, blockCount } = refcountClusters(clusterBytes, contentClusters);
  return {
    kind: 'stream',
    format: 'qcow2',
    frontBytes: new StreamTables(geometry).frontBytes,
    maximumLengthBytes: (contentClusters + tableClusters + blockCount) * clusterBytes,
    chunks: (run) => packedChunks(disk, geometry, options, run),
  };
}

/** How many clusters and L2 tables there can be. */
async function countUsed(
  disk: Disk,
  { clusterBytes, clusterCount, l2EntryCount }: Qcow2Geometry,
  signal: AbortSignal | undefined,
): Promise<{ readonly clusterCount: number; readonly tableCount: number }> {
  // The extents of an arriving disk can be walked only once, with its data.
  if (disk.sequential) return { clusterCount, tableCount: ceilDivide(clusterCount, l2EntryCount) };
  const used = { clusterCount: 0, tableCount: 0 };
  let clustersEnd = 0;
  let tablesEnd = 0;
  for await (const { kind, offsetBytes, lengthBytes } of disk.extents(0, disk.virtualSizeBytes, signal)) {
    if (kind !== 'data') continue;
    const first = Math.max(clustersEnd, Math.floor(offsetBytes / clusterBytes));
    clustersEnd = ceilDivide(offsetBytes + lengthBytes, clusterBytes);
    used.clusterCount += clustersEnd - first;
    const firstTable = Math.max(tablesEnd, Math.floor(first / l2EntryCount));
    tablesEnd = ceilDivide(clustersEnd, l2EntryCount);
    used.tableCount += tablesEnd - firstTable;
  }
  return used;
}

async function* packedChunks(
  disk: Disk,
  geometry: Qcow2Geometry,
  options: Qcow2StreamOptions,
  run: StreamRunOptions,
): AsyncGenerator<StreamChunk, void, undefined> {
  const { clusterBytes, compression, windowBits, version } = options;
  const tables = new StreamTables(geometry);
  const resumed = run.resumeFrom && tables.restore(run.resumeFrom);
  const out = new ChunkPacker(resumed?.endBytes ?? tables.frontBytes);
  let nextCluster = resumed?.nextCluster ?? 0;
  const checkpoint = () => tables.save(nextCluster, out.endBytes);
  const packing = {
    unitBytes: clusterBytes,
    compression: compression === 'zstd' ? 'zstd' : 'deflate-raw',
    windowBits,
    // As long as a cluster, it would be taken for one that is stored as it is.
    limitBytes: clusterBytes - 1,
    fromUnit: nextCluster,
    signal: run.signal,
    onProgress: run.onProgress,
  } as const;
  for await (const { endUnit, units } of packedUnits(disk, packing)) {
    for (const { unit, bytes } of units) tables.add(out, unit, bytes);
    nextCluster = endUnit;
    yield* out.takeLent(checkpoint);
  }
  tables.closeTable(out);
  const refcounts = tables.refcountPlace(out.endBytes);
  yield* out.takeAll();
  yield* layoutChunks(tables.end(refcounts), refcounts.offsetBytes);
  yield* layoutChunks(tables.front(refcounts, version, compression === 'zstd'), 0);
}

/** Metadata as chunks, from a place in the file on. */
function* layoutChunks(layout: Layout, startBytes: number): Iterable<StreamChunk> {
  for (let at = 0; at < layout.lengthBytes; ) {
    const chunk = new ChunkPacker(startBytes + at);
    for (const piece of layout.pieces(at, Math.min(at + MIB, layout.lengthBytes))) {
      if (piece.kind === 'bytes') chunk.append(piece.bytes);
    }
    at = chunk.endBytes - startBytes;
    yield* chunk.takeAll();
  }
}
