import { isZero, viewOf } from '../../bytes/fields.ts';
import { ceilDivide, MIB, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { mapOrdered } from '../../convert/bounded.ts';
import { BufferPool } from '../../convert/buffer-pool.ts';
import { type DataRun, dataRuns } from '../../disk/data-runs.ts';
import type { Disk } from '../../disk/disk.ts';
import { invariant } from '../../errors.ts';
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
  let nextBytes = run.resumeFrom === undefined ? 0 : placed.restore(run.resumeFrom);
  const packer = new ChunkPacker(placed.endBytes);
  const checkpoint = () => placed.save(nextBytes);
  for await (const { endBytes, clusters } of compressedRuns(disk, nextBytes, options, run)) {
    for (const { cluster, bytes } of clusters) {
      packer.padTo(placed.place(cluster, bytes.length));
      packer.append(bytes);
    }
    nextBytes = endBytes;
    yield* packer.takeFull(checkpoint);
  }
  // Readers fetch whole sectors and VirtualBox whole clusters: the file ends at a cluster's end.
  packer.padTo(roundUp(placed.endBytes, options.clusterBytes));
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

/** The clusters of one run of the disk, and where that run ends. */
interface PackedRun {
  readonly endBytes: number;
  readonly clusters: readonly PackedCluster[];
}

/** Reads runs of the disk and compresses their clusters, all-zero ones left out; in guest order. */
function compressedRuns(
  disk: Disk,
  fromBytes: number,
  options: Qcow2StreamOptions,
  run: StreamRunOptions,
): AsyncGenerator<PackedRun, void, undefined> {
  const { clusterBytes } = options;
  const { signal, onProgress } = run;
  const runBytes = Math.max(RUN_BYTES, clusterBytes);
  const pool = new BufferPool(runBytes);
  const runs = dataRuns(disk, clusterBytes, runBytes, { signal, onProgress, fromBytes, phase: 'compress' });
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
    return { endBytes: Math.min(offsetBytes + lengthBytes, disk.virtualSizeBytes), clusters };
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
  /** Stored length; the cluster's own for one stored as it is, 0 for one that turned out to be all zero. */
  readonly #lengths: Uint32Array;
  readonly #refcounts: Uint16Array;
  readonly #clusterBytes: number;
  #endBytes: number;

  constructor(map: AllocationMap, geometry: Qcow2Geometry) {
    this.#map = map;
    this.#clusterBytes = geometry.clusterBytes;
    this.#endBytes = geometry.dataOffsetBytes;
    this.#offsets = new Float64Array(map.usedCount);
    this.#lengths = new Uint32Array(map.usedCount);
    const frontClusters = geometry.dataOffsetBytes / geometry.clusterBytes;
    this.#refcounts = new Uint16Array(frontClusters + map.usedCount + 1);
    this.#refcounts.fill(1, 0, frontClusters);
  }

  /** Where the next compressed cluster starts. */
  get endBytes(): number {
    return this.#endBytes;
  }

  /** Gives a cluster its place; one that is stored as it is starts at a host cluster. */
  place(cluster: number, lengthBytes: number): number {
    return this.#placeRank(this.#map.rank(cluster), lengthBytes);
  }

  #placeRank(rank: number, lengthBytes: number): number {
    const whole = lengthBytes === this.#clusterBytes;
    const offsetBytes = whole ? roundUp(this.#endBytes, lengthBytes) : this.#endBytes;
    this.#offsets[rank] = offsetBytes;
    this.#lengths[rank] = lengthBytes;
    this.#endBytes = offsetBytes + lengthBytes;
    const touched = touchedClusters(offsetBytes, lengthBytes, this.#clusterBytes);
    for (let i = touched.first; i <= touched.last; i++) this.#refcounts[i] = (this.#refcounts[i] ?? 0) + 1;
    return offsetBytes;
  }

  /** What `restore` needs: how far the disk is done, then the length of each used cluster before that. */
  save(nextBytes: number): Uint8Array {
    const count = this.#rankAt(nextBytes);
    const bytes = new Uint8Array(8 + count * 4);
    const view = viewOf(bytes);
    view.setFloat64(0, nextBytes);
    for (let rank = 0; rank < count; rank++) view.setUint32(8 + rank * 4, this.#lengths[rank] ?? 0);
    return bytes;
  }

  /** Places again what was placed when this was saved; gives where on the disk to go on. */
  restore(saved: Uint8Array): number {
    const view = viewOf(saved);
    const nextBytes = view.getFloat64(0);
    const count = this.#rankAt(nextBytes);
    invariant(saved.length === 8 + count * 4, 'a checkpoint belongs to the same plan');
    for (let rank = 0; rank < count; rank++) {
      const lengthBytes = view.getUint32(8 + rank * 4);
      if (lengthBytes > 0) this.#placeRank(rank, lengthBytes);
    }
    return nextBytes;
  }

  #rankAt(guestBytes: number): number {
    return this.#map.rank(Math.min(this.#map.blockCount, ceilDivide(guestBytes, this.#clusterBytes)));
  }

  refcount(hostCluster: number): number {
    return this.#refcounts[hostCluster] ?? 0;
  }

  /** The L2 entry of the used cluster with this rank; 0 when it turned out to be all zero. */
  entry(rank: number, clusterBits: number): bigint {
    const offsetBytes = this.#offsets[rank] ?? 0;
    const lengthBytes = this.#lengths[rank] ?? 0;
    if (lengthBytes === 0) return 0n;
    return lengthBytes === this.#clusterBytes
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

  /** Fills up with zeros until `endBytes` is this. */
  padTo(offsetBytes: number): void {
    if (offsetBytes > this.endBytes) this.append(new Uint8Array(offsetBytes - this.endBytes));
  }

  *takeFull(checkpoint: () => Uint8Array): Iterable<StreamChunk> {
    if (this.#lengthBytes >= MIB) yield* this.takeAll(checkpoint);
  }

  *takeAll(checkpoint?: () => Uint8Array): Iterable<StreamChunk> {
    if (this.#lengthBytes === 0) return;
    const bytes = new Uint8Array(this.#lengthBytes);
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.length;
    }
    const offsetBytes = this.#startBytes;
    this.#startBytes += this.#lengthBytes;
    this.#parts = [];
    this.#lengthBytes = 0;
    yield checkpoint === undefined ? { offsetBytes, bytes } : { offsetBytes, bytes, checkpoint };
  }
}
