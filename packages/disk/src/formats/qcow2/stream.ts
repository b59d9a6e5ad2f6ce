import { isZero, viewOf } from '../../bytes/fields.ts';
import { MIB, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { mapOrdered } from '../../convert/bounded.ts';
import { BufferPool } from '../../convert/buffer-pool.ts';
import type { Disk } from '../../disk/disk.ts';
import { invariant } from '../../errors.ts';
import { compress } from '../../io/node-codec.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import { ChunkPacker } from '../../view/chunk-packer.ts';
import type { ImageStream, StreamChunk, StreamRunOptions } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import { bytesRegion, recordsRegion, regionsLayout } from '../../view/regions.ts';
import { readZeroExtended } from '../../view/view.ts';
import { placeAfter, storedEntry, touchedClusters } from './compressed-entry.ts';
import { type Qcow2Geometry, qcow2Geometry } from './geometry.ts';
import { l1Region, refcountBlocksRegion, refcountTableRegion, usedTables } from './layout.ts';
import { headerCluster } from './write-header.ts';

export interface Qcow2StreamOptions {
  readonly version: 2 | 3;
  readonly clusterBytes: number;
  readonly compression: 'zlib' | 'zstd';
  readonly signal?: AbortSignal | undefined;
}

/** qemu inflates with a window of 4 KiB (block/qcow2-threads.c); a wider one could be unreadable to others. */
const DEFLATE_WINDOW_BITS = 12;
const DEFLATE_LEVEL = 6;
const ZSTD_LEVEL = 3;
const RUN_BYTES = MIB;
const RUNS_AT_ONCE = 4;

/** A compressed cluster, or the cluster itself where compression does not pay. */
interface PackedCluster {
  readonly cluster: number;
  readonly bytes: Uint8Array;
}

/**
 * A qcow2 file with compressed clusters, tables first. The tables' place is known from the disk's extents;
 * their content, the front of the file, comes last.
 */
export async function qcow2Stream(disk: Disk, options: Qcow2StreamOptions): Promise<ImageStream> {
  const map = await AllocationMap.ofDisk(disk, options.clusterBytes, options);
  const tables = usedTables(map, options.clusterBytes / 8);
  const virtualSizeBytes = roundUp(disk.virtualSizeBytes, SECTOR_BYTES);
  // Every cluster could be stored as it is, each after a partly filled one.
  const geometry = qcow2Geometry(virtualSizeBytes, options.clusterBytes, tables.usedCount, map.usedCount + 1);
  return {
    kind: 'stream',
    format: 'qcow2',
    frontBytes: geometry.dataOffsetBytes,
    maximumLengthBytes: geometry.dataOffsetBytes + (map.usedCount + 1) * options.clusterBytes,
    chunks: (run) => packedChunks(disk, map, tables, geometry, options, run),
  };
}

async function* packedChunks(
  disk: Disk,
  map: AllocationMap,
  tables: AllocationMap,
  geometry: Qcow2Geometry,
  options: Qcow2StreamOptions,
  run: StreamRunOptions,
): AsyncGenerator<StreamChunk, void, undefined> {
  const placed = new PlacedClusters(map, tables, geometry);
  let nextCluster = run.resumeFrom === undefined ? 0 : placed.restore(run.resumeFrom);
  const packer = new ChunkPacker(placed.endBytes);
  const checkpoint = () => placed.save(nextCluster);
  const totalBytes = disk.virtualSizeBytes;
  for await (const { end, clusters } of compressedRuns(disk, map, nextCluster, options, run.signal)) {
    for (const { cluster, bytes } of clusters) {
      padTo(packer, placed.place(cluster, bytes.length));
      packer.append(bytes);
    }
    nextCluster = end;
    yield* packer.takeFull(checkpoint);
    const doneBytes = Math.min(end * options.clusterBytes, totalBytes);
    run.onProgress?.({ phase: 'compress', doneBytes, totalBytes });
  }
  run.onProgress?.({ phase: 'compress', doneBytes: totalBytes, totalBytes });
  // Readers fetch whole sectors and VirtualBox whole clusters: the file ends at a cluster's end.
  padTo(packer, roundUp(placed.endBytes, options.clusterBytes));
  yield* packer.takeAll();
  const front = frontLayout(geometry, tables, placed, options);
  for (let at = 0; at < front.lengthBytes; ) {
    const chunk = new ChunkPacker(at);
    for (const piece of front.pieces(at, Math.min(at + MIB, front.lengthBytes))) {
      if (piece.kind === 'bytes') chunk.append(piece.bytes);
    }
    at = chunk.endBytes;
    yield* chunk.takeAll();
  }
}

function padTo(packer: ChunkPacker, offsetBytes: number): void {
  if (offsetBytes > packer.endBytes) packer.append(new Uint8Array(offsetBytes - packer.endBytes));
}

/** What is left of a run of clusters, and the cluster where the run ends. */
interface PackedRun {
  readonly end: number;
  readonly clusters: readonly PackedCluster[];
}

/** Reads runs of used clusters and compresses them, all-zero ones left out; in guest order. */
function compressedRuns(
  disk: Disk,
  map: AllocationMap,
  from: number,
  options: Qcow2StreamOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<PackedRun, void, undefined> {
  const { clusterBytes } = options;
  const clustersAtOnce = Math.max(1, RUN_BYTES / clusterBytes);
  const pool = new BufferPool(clustersAtOnce * clusterBytes);
  return mapOrdered(map.runs(clustersAtOnce, from), RUNS_AT_ONCE, async ({ first, end }) => {
    signal?.throwIfAborted();
    const buffer = pool.take();
    const bytes = buffer.subarray(0, (end - first) * clusterBytes);
    await readZeroExtended(disk, first * clusterBytes, bytes, signal);
    const packed: Promise<PackedCluster>[] = [];
    for (let cluster = first; cluster < end; cluster++) {
      const at = (cluster - first) * clusterBytes;
      const plain = bytes.subarray(at, at + clusterBytes);
      if (!isZero(plain)) packed.push(packCluster(cluster, plain, options));
    }
    const clusters = await Promise.all(packed);
    pool.give(buffer);
    return { end, clusters };
  });
}

async function packCluster(
  cluster: number,
  plain: Uint8Array,
  options: Qcow2StreamOptions,
): Promise<PackedCluster> {
  const bytes =
    options.compression === 'zstd'
      ? await compress('zstd', plain, { level: ZSTD_LEVEL })
      : await compress('deflate-raw', plain, { level: DEFLATE_LEVEL, windowBits: DEFLATE_WINDOW_BITS });
  return { cluster, bytes: bytes.length < plain.length ? bytes : plain.slice() };
}

/**
 * Where each used cluster went. Clusters are placed in guest order, so their lengths and the place where each
 * L2 table's clusters begin tell all: 6 bytes a cluster, 96 MiB for 1 TiB of data in 64 KiB clusters.
 */
class PlacedClusters {
  readonly #map: AllocationMap;
  readonly #tables: AllocationMap;
  readonly #geometry: Qcow2Geometry;
  /** Stored length; the cluster's own for one stored as it is, 0 for one that turned out to be all zero. */
  readonly #lengths: Uint32Array;
  /** For each used L2 table, where the file ended before its first cluster. */
  readonly #tableStarts: Float64Array;
  readonly #refcounts: Uint16Array;
  #endBytes: number;

  constructor(map: AllocationMap, tables: AllocationMap, geometry: Qcow2Geometry) {
    this.#map = map;
    this.#tables = tables;
    this.#geometry = geometry;
    this.#endBytes = geometry.dataOffsetBytes;
    this.#lengths = new Uint32Array(map.usedCount);
    this.#tableStarts = new Float64Array(tables.usedCount);
    const frontClusters = geometry.dataOffsetBytes / geometry.clusterBytes;
    this.#refcounts = new Uint16Array(frontClusters + map.usedCount + 1);
    this.#refcounts.fill(1, 0, frontClusters);
  }

  /** Where the next compressed cluster starts. */
  get endBytes(): number {
    return this.#endBytes;
  }

  /** Gives a cluster its place and says where that is. Clusters come in guest order. */
  place(cluster: number, lengthBytes: number): number {
    return this.#placeRank(this.#map.rank(cluster), cluster, lengthBytes);
  }

  #placeRank(rank: number, cluster: number, lengthBytes: number): number {
    const { clusterBytes, l2EntryCount } = this.#geometry;
    const table = this.#tables.rank(Math.floor(cluster / l2EntryCount));
    this.#tableStarts[table] ||= this.#endBytes;
    const offsetBytes = placeAfter(this.#endBytes, lengthBytes, clusterBytes);
    this.#lengths[rank] = lengthBytes;
    this.#endBytes = offsetBytes + lengthBytes;
    const touched = touchedClusters(offsetBytes, lengthBytes, clusterBytes);
    for (let i = touched.first; i <= touched.last; i++) this.#refcounts[i] = (this.#refcounts[i] ?? 0) + 1;
    return offsetBytes;
  }

  /** What `restore` needs: the first cluster that is not done, then the length of each used one before it. */
  save(nextCluster: number): Uint8Array {
    const count = this.#map.rank(nextCluster);
    const bytes = new Uint8Array(8 + count * 4);
    const view = viewOf(bytes);
    view.setFloat64(0, nextCluster);
    for (let rank = 0; rank < count; rank++) view.setUint32(8 + rank * 4, this.#lengths[rank] ?? 0);
    return bytes;
  }

  /** Places again what was placed when this was saved; gives the cluster to go on with. */
  restore(saved: Uint8Array): number {
    const view = viewOf(saved);
    const nextCluster = view.getFloat64(0);
    invariant(saved.length === 8 + this.#map.rank(nextCluster) * 4, 'a checkpoint belongs to the same plan');
    let rank = 0;
    for (const cluster of this.#map.used(0, nextCluster)) {
      const lengthBytes = view.getUint32(8 + rank * 4);
      if (lengthBytes > 0) this.#placeRank(rank, cluster, lengthBytes);
      rank++;
    }
    return nextCluster;
  }

  refcount(hostCluster: number): number {
    return this.#refcounts[hostCluster] ?? 0;
  }

  /** The L2 table with this rank among the used ones. */
  l2Table(tableRank: number): Uint8Array {
    const { clusterBytes, l2EntryCount } = this.#geometry;
    const bytes = new Uint8Array(clusterBytes);
    const view = viewOf(bytes);
    const first = this.#tables.select(tableRank) * l2EntryCount;
    let rank = this.#map.rank(first);
    let endBytes = this.#tableStarts[tableRank] ?? 0;
    for (const cluster of this.#map.used(first, Math.min(first + l2EntryCount, this.#map.blockCount))) {
      const lengthBytes = this.#lengths[rank++] ?? 0;
      if (lengthBytes === 0) continue;
      const offsetBytes = placeAfter(endBytes, lengthBytes, clusterBytes);
      view.setBigUint64((cluster - first) * 8, storedEntry(offsetBytes, lengthBytes, clusterBytes));
      endBytes = offsetBytes + lengthBytes;
    }
    return bytes;
  }
}

function frontLayout(
  geometry: Qcow2Geometry,
  tables: AllocationMap,
  placed: PlacedClusters,
  options: Qcow2StreamOptions,
): Layout {
  return regionsLayout('qcow2', [
    bytesRegion(headerCluster(geometry, options.version, options.compression === 'zstd')),
    refcountTableRegion(geometry),
    refcountBlocksRegion(geometry, (index) => placed.refcount(index)),
    l1Region(geometry, tables),
    recordsRegion(tables.usedCount, geometry.clusterBytes, (rank) => [
      { kind: 'bytes', bytes: placed.l2Table(rank) },
    ]),
  ]);
}
