import { isZero, viewOf } from '../../bytes/fields.ts';
import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { mapOrdered } from '../../convert/bounded.ts';
import { BufferPool } from '../../convert/buffer-pool.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError, invariant } from '../../errors.ts';
import { compress } from '../../io/node-codec.ts';
import type { AllocationMap } from '../../view/allocation-map.ts';
import { ChunkPacker } from '../../view/chunk-packer.ts';
import type { ImageStream, StreamChunk, StreamRunOptions } from '../../view/image-stream.ts';
import { readZeroExtended } from '../../view/view.ts';
import { encodeSparseHeader, type NewHeader } from './header.ts';
import { FILE_SECTORS_MAX } from './limits.ts';
import {
  encodeGrainRecord,
  encodeMetadataMarker,
  GRAIN_MARKER_BYTES,
  MARKER_TYPE,
  type MarkerType,
} from './markers.ts';
import { DESCRIPTOR_SECTORS } from './new-descriptor.ts';
import { GRAIN_BYTES, GRAIN_SECTORS, TABLE_ENTRIES, TABLE_SECTORS, tableCounts } from './sparse-layout.ts';

/** zlib's default, as VMware, VirtualBox and qemu write it. */
const COMPRESSION_LEVEL = 6;
/** VirtualBox and VMware's tools hold a record, its marker included, in this many sectors. */
const RECORD_SECTORS_MAX = 129;
/** Header and descriptor, padded to a grain; readers of the bare stream start here. */
const OVERHEAD_SECTORS = 128;
/** Grains that are read together; several such batches are compressed at once. */
const BATCH_GRAINS = 16;
const BATCHES_AT_ONCE = 4;

const TABLE_BYTES: number = TABLE_SECTORS * SECTOR_BYTES;
/** The fixed part of a checkpoint: three numbers and a table. */
const CHECKPOINT_BYTES: number = 24 + TABLE_BYTES;

interface CompressedGrain {
  readonly grain: number;
  readonly data: Uint8Array;
}

/**
 * A streamOptimized file in the order that needs nothing patched: header, grains in guest order with their
 * table behind those of each table, the grain directory, the footer that says where it is, the end of the
 * stream. Grains of zeros are left out; every other one is whole, zero padded at the end of the disk.
 */
export function optimizedStream(
  disk: Disk,
  capacitySectors: number,
  map: AllocationMap,
  descriptor: Uint8Array,
): ImageStream {
  const { tableCount, directorySectors } = tableCounts(map.blockCount);
  let usedTableCount = 0;
  for (let i = 0; i < tableCount; i++) {
    if (map.hasAny(i * TABLE_ENTRIES, (i + 1) * TABLE_ENTRIES)) usedTableCount++;
  }
  const maximumSectors =
    OVERHEAD_SECTORS +
    map.usedCount * RECORD_SECTORS_MAX +
    usedTableCount * (1 + TABLE_SECTORS) +
    (1 + directorySectors) +
    3;
  return {
    kind: 'stream',
    format: 'vmdk',
    frontBytes: 0,
    maximumLengthBytes: maximumSectors * SECTOR_BYTES,
    chunks: (options) => new StreamRun(capacitySectors, map, descriptor).chunks(disk, options),
  };
}

/** One run of a stream: what was written so far, and the tables for it. */
class StreamRun {
  readonly #map: AllocationMap;
  readonly #descriptor: Uint8Array;
  readonly #header: NewHeader;
  readonly #directory: Uint8Array;
  #table = new Uint8Array(TABLE_BYTES);
  /** Index of the table that grains go to; -1 before the first. */
  #tableIndex = -1;
  /** Grains before this one are done. */
  #nextGrain = 0;
  #out = new ChunkPacker();

  constructor(capacitySectors: number, map: AllocationMap, descriptor: Uint8Array) {
    this.#map = map;
    this.#descriptor = descriptor;
    this.#directory = new Uint8Array(tableCounts(map.blockCount).directorySectors * SECTOR_BYTES);
    this.#header = {
      version: 3,
      capacitySectors,
      grainSectors: GRAIN_SECTORS,
      tableEntryCount: TABLE_ENTRIES,
      descriptorSectorCount: DESCRIPTOR_SECTORS,
      overheadSectors: OVERHEAD_SECTORS,
      compressed: true,
    };
  }

  async *chunks(disk: Disk, options: StreamRunOptions): AsyncGenerator<StreamChunk, void, undefined> {
    const { signal, onProgress, resumeFrom } = options;
    const totalBytes = disk.virtualSizeBytes;
    if (resumeFrom === undefined) this.#appendStart();
    else this.#restore(resumeFrom);
    const pool = new BufferPool(BATCH_GRAINS * GRAIN_BYTES);
    const task = async (grains: readonly number[]) => ({
      nextGrain: (grains.at(-1) ?? 0) + 1,
      compressed: await compressGrains(disk, grains, pool, signal),
    });
    for await (const { nextGrain, compressed } of mapOrdered(this.#batches(), BATCHES_AT_ONCE, task)) {
      for (const grain of compressed) this.#appendGrain(grain);
      this.#nextGrain = nextGrain;
      yield* this.#out.takeFull(() => this.#save());
      onProgress?.({
        phase: 'compress',
        doneBytes: Math.min(totalBytes, nextGrain * GRAIN_BYTES),
        totalBytes,
      });
    }
    this.#appendEnd();
    yield* this.#out.takeAll();
    onProgress?.({ phase: 'compress', doneBytes: totalBytes, totalBytes });
  }

  *#batches(): Iterable<readonly number[]> {
    let batch: number[] = [];
    for (const grain of this.#map.used(this.#nextGrain)) {
      batch.push(grain);
      if (batch.length < BATCH_GRAINS) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  }

  /** Three numbers, the open table and the directory's entries before it: 8 MiB at 64 TiB, mostly little. */
  #save(): Uint8Array {
    const directoryBytes = Math.max(0, this.#tableIndex) * 4;
    const bytes = new Uint8Array(CHECKPOINT_BYTES + directoryBytes);
    const view = viewOf(bytes);
    view.setFloat64(0, this.#nextGrain);
    view.setFloat64(8, this.#out.endBytes);
    view.setFloat64(16, this.#tableIndex);
    bytes.set(this.#table, 24);
    bytes.set(this.#directory.subarray(0, directoryBytes), CHECKPOINT_BYTES);
    return bytes;
  }

  #restore(saved: Uint8Array): void {
    const view = viewOf(saved);
    this.#nextGrain = view.getFloat64(0);
    this.#out = new ChunkPacker(view.getFloat64(8));
    this.#tableIndex = view.getFloat64(16);
    const directory = saved.subarray(CHECKPOINT_BYTES);
    invariant(
      directory.length === Math.max(0, this.#tableIndex) * 4,
      'a checkpoint belongs to the same plan',
    );
    this.#table.set(saved.subarray(24, CHECKPOINT_BYTES));
    this.#directory.set(directory);
  }

  #appendStart(): void {
    this.#out.append(encodeSparseHeader(this.#header));
    this.#out.append(this.#descriptor);
    this.#out.append(new Uint8Array((OVERHEAD_SECTORS - 1 - DESCRIPTOR_SECTORS) * SECTOR_BYTES));
  }

  /** The sector where the next record starts. Throws IMAGE_LIMIT when no table could name it. */
  #sector(): number {
    const sector = this.#out.endBytes / SECTOR_BYTES;
    if (sector < FILE_SECTORS_MAX) return sector;
    throw new ImageError(
      'IMAGE_LIMIT',
      'the data does not fit into a streamOptimized VMDK of at most 2 TiB',
      {
        structure: 'VMDK sparse extent',
        hint: 'choose another format, such as qcow2',
      },
    );
  }

  #appendGrain({ grain, data }: CompressedGrain): void {
    const tableIndex = Math.floor(grain / TABLE_ENTRIES);
    if (tableIndex !== this.#tableIndex) this.#appendTable(tableIndex);
    viewOf(this.#table).setUint32((grain % TABLE_ENTRIES) * 4, this.#sector(), true);
    this.#out.append(encodeGrainRecord(grain * GRAIN_SECTORS, data));
  }

  /** Writes the table that grains went to, if any did, and starts the next. */
  #appendTable(nextIndex: number): void {
    if (this.#tableIndex >= 0) {
      const sector = this.#appendMetadata(MARKER_TYPE.grainTable, this.#table);
      viewOf(this.#directory).setUint32(this.#tableIndex * 4, sector, true);
      this.#table = new Uint8Array(TABLE_BYTES);
    }
    this.#tableIndex = nextIndex;
  }

  /** A marker and the metadata that it announces; gives the sector of the latter. */
  #appendMetadata(type: MarkerType, bytes: Uint8Array): number {
    this.#out.append(encodeMetadataMarker(type, bytes.length / SECTOR_BYTES));
    const sector = this.#sector();
    this.#out.append(bytes);
    return sector;
  }

  #appendEnd(): void {
    this.#appendTable(-1);
    const directorySector = this.#appendMetadata(MARKER_TYPE.grainDirectory, this.#directory);
    this.#appendMetadata(MARKER_TYPE.footer, encodeSparseHeader({ ...this.#header, directorySector }));
    this.#out.append(encodeMetadataMarker(MARKER_TYPE.endOfStream, 0));
  }
}

/** Reads these grains and compresses those that are not all zeros, in their order. */
async function compressGrains(
  disk: Disk,
  grains: readonly number[],
  pool: BufferPool,
  signal: AbortSignal | undefined,
): Promise<CompressedGrain[]> {
  const buffer = pool.take();
  try {
    await readGrains(disk, grains, buffer, signal);
    const compressed = await Promise.all(
      grains.map(async (grain, i) => {
        const plain = buffer.subarray(i * GRAIN_BYTES, (i + 1) * GRAIN_BYTES);
        return isZero(plain) ? undefined : { grain, data: await compressGrain(plain) };
      }),
    );
    return compressed.filter((grain) => grain !== undefined);
  } finally {
    pool.give(buffer);
  }
}

/** One read for grains that follow each other. */
async function readGrains(
  disk: Disk,
  grains: readonly number[],
  buffer: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let i = 0; i < grains.length; ) {
    const first = grains[i] ?? 0;
    let end = i + 1;
    while (end < grains.length && grains[end] === first + (end - i)) end++;
    signal?.throwIfAborted();
    await readZeroExtended(
      disk,
      first * GRAIN_BYTES,
      buffer.subarray(i * GRAIN_BYTES, end * GRAIN_BYTES),
      signal,
    );
    i = end;
  }
}

async function compressGrain(plain: Uint8Array): Promise<Uint8Array> {
  const dataBytesMax = RECORD_SECTORS_MAX * SECTOR_BYTES - GRAIN_MARKER_BYTES;
  const data = await compress('zlib', plain, { level: COMPRESSION_LEVEL });
  if (data.length <= dataBytesMax) return data;
  const stored = await compress('zlib', plain, { level: 0 });
  invariant(stored.length <= dataBytesMax, 'a stored grain fits its record');
  return stored;
}
