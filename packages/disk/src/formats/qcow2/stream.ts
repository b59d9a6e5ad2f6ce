import { isZero, viewOf } from '../../bytes/fields.ts';
import { MIB, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { mapOrdered } from '../../convert/bounded.ts';
import { BufferPool } from '../../convert/buffer-pool.ts';
import { type DataRun, dataRuns } from '../../disk/data-runs.ts';
import type { Disk } from '../../disk/disk.ts';
import { compress } from '../../io/node-codec.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { ImageStream, StreamChunk, StreamRunOptions } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import { bytesRegion, recordsRegion, regionsLayout } from '../../view/regions.ts';
import { readZeroExtended } from '../../view/view.ts';
import { compressedEntry, touchedClusters } from './compressed-entry.ts';
import { type Qcow2Geometry, qcow2Geometry } from './geometry.ts';
import { COPIED_BIT, l1Region, refcountBlocksRegion, refcountTableRegion, usedTables } from './layout.ts';
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
  const placed = new PlacedClusters(map, geometry);
  const packer = new ChunkPacker(geometry.dataOffsetBytes);
  for await (const clusters of compressedRuns(disk, options, run)) {
    for (const { cluster, bytes } of clusters) {
      const whole = bytes.length === options.clusterBytes;
      if (whole) packer.alignTo(options.clusterBytes);
      placed.place(cluster, packer.endBytes, whole ? 0 : bytes.length);
      packer.append(bytes);
    }
    yield* packer.takeFull();
  }
  // Readers fetch whole sectors and VirtualBox whole clusters: the file ends at a cluster's end.
  packer.alignTo(options.clusterBytes);
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

/** Reads runs of the disk and compresses their clusters, all-zero ones left out; in guest order. */
function compressedRuns(
  disk: Disk,
  options: Qcow2StreamOptions,
  run: StreamRunOptions,
): AsyncGenerator<PackedCluster[], void, undefined> {
  const { clusterBytes } = options;
  const runBytes = Math.max(RUN_BYTES, clusterBytes);
  const pool = new BufferPool(runBytes);
  const signal = run.signal;
  const runs = dataRuns(disk, clusterBytes, runBytes, { ...run, phase: 'compress' });
  return mapOrdered(runs, RUNS_AT_ONCE, async ({ offsetBytes, lengthBytes }: DataRun) => {
    const buffer = pool.take();
    const bytes = buffer.subarray(0, lengthBytes);
    await readZeroExtended(disk, offsetBytes, bytes, signal);
    const packed: Promise<PackedCluster>[] = [];
    for (let at = 0; at < lengthBytes; at += clusterBytes) {
      const plain = bytes.subarray(at, at + clusterBytes);
      if (!isZero(plain)) packed.push(packCluster((offsetBytes + at) / clusterBytes, plain, options));
    }
    const clusters = await Promise.all(packed);
    pool.give(buffer);
    return clusters;
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

/** Where each used cluster went: 12 bytes a cluster. */
class PlacedClusters {
  readonly #map: AllocationMap;
  readonly #offsets: Float64Array;
  /** Compressed length, 0 for a cluster stored as it is. */
  readonly #lengths: Uint32Array;
  readonly #refcounts: Uint16Array;
  readonly #clusterBytes: number;

  constructor(map: AllocationMap, geometry: Qcow2Geometry) {
    this.#map = map;
    this.#clusterBytes = geometry.clusterBytes;
    this.#offsets = new Float64Array(map.usedCount);
    this.#lengths = new Uint32Array(map.usedCount);
    const frontClusters = geometry.dataOffsetBytes / geometry.clusterBytes;
    this.#refcounts = new Uint16Array(frontClusters + map.usedCount + 1);
    this.#refcounts.fill(1, 0, frontClusters);
  }

  place(cluster: number, offsetBytes: number, compressedBytes: number): void {
    const rank = this.#map.rank(cluster);
    this.#offsets[rank] = offsetBytes;
    this.#lengths[rank] = compressedBytes;
    const touched = touchedClusters(offsetBytes, compressedBytes || this.#clusterBytes, this.#clusterBytes);
    for (let i = touched.first; i <= touched.last; i++) this.#refcounts[i] = (this.#refcounts[i] ?? 0) + 1;
  }

  refcount(hostCluster: number): number {
    return this.#refcounts[hostCluster] ?? 0;
  }

  /** The L2 entry of the used cluster with this rank; 0 when it turned out to be all zero. */
  entry(rank: number, clusterBits: number): bigint {
    const offsetBytes = this.#offsets[rank] ?? 0;
    const lengthBytes = this.#lengths[rank] ?? 0;
    if (offsetBytes === 0) return 0n;
    return lengthBytes === 0
      ? BigInt(offsetBytes) | COPIED_BIT
      : compressedEntry(offsetBytes, lengthBytes, clusterBits);
  }

  /** Entries of the L2 table that covers the clusters [first, end). */
  fillTable(view: DataView, first: number, end: number, clusterBits: number): void {
    let rank = this.#map.rank(first);
    for (const cluster of this.#map.used(first, Math.min(end, this.#map.blockCount))) {
      view.setBigUint64((cluster - first) * 8, this.entry(rank++, clusterBits));
    }
  }
}

function frontLayout(
  geometry: Qcow2Geometry,
  tables: AllocationMap,
  placed: PlacedClusters,
  options: Qcow2StreamOptions,
): Layout {
  const { clusterBytes, l2EntryCount } = geometry;
  const clusterBits = Math.log2(clusterBytes);
  return regionsLayout('qcow2', [
    bytesRegion(headerCluster(geometry, options.version, options.compression === 'zstd')),
    refcountTableRegion(geometry),
    refcountBlocksRegion(geometry, (index) => placed.refcount(index)),
    l1Region(geometry, tables),
    recordsRegion(tables.usedCount, clusterBytes, (rank) => {
      const first = tables.select(rank) * l2EntryCount;
      const bytes = new Uint8Array(clusterBytes);
      placed.fillTable(viewOf(bytes), first, first + l2EntryCount, clusterBits);
      return [{ kind: 'bytes', bytes }];
    }),
  ]);
}

/** Collects bytes that follow each other into chunks of about 1 MiB. */
class ChunkPacker {
  #startBytes: number;
  #parts: Uint8Array[] = [];
  #lengthBytes = 0;

  constructor(startBytes: number) {
    this.#startBytes = startBytes;
  }

  get endBytes(): number {
    return this.#startBytes + this.#lengthBytes;
  }

  append(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#lengthBytes += bytes.length;
  }

  alignTo(alignmentBytes: number): void {
    const padding = roundUp(this.endBytes, alignmentBytes) - this.endBytes;
    if (padding > 0) this.append(new Uint8Array(padding));
  }

  *takeFull(): Iterable<StreamChunk> {
    if (this.#lengthBytes >= MIB) yield* this.takeAll();
  }

  *takeAll(): Iterable<StreamChunk> {
    if (this.#lengthBytes === 0) return;
    const bytes = new Uint8Array(this.#lengthBytes);
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.length;
    }
    yield { offsetBytes: this.#startBytes, bytes };
    this.#startBytes += this.#lengthBytes;
    this.#parts = [];
    this.#lengthBytes = 0;
  }
}
