import { viewOf } from '../../bytes/fields.ts';
import { encodeGrainMarker, GRAIN_MARKER_BYTES } from '../../bytes/grain-marker.ts';
import { ceilDivide, MIB, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ChunkPacker } from '../../view/chunk-packer.ts';
import type { ImageStream, StreamChunk, StreamRunOptions } from '../../view/image-stream.ts';
import { pieceLength } from '../../view/layout.ts';
import { packedUnits } from '../../view/packed-units.ts';
import { regionsLayout } from '../../view/regions.ts';
import { GRAIN_BYTES, GRAIN_SECTORS, TABLE_ENTRIES } from './sparse-layout.ts';
import { storedZlib } from './stored-zlib.ts';
import { maximumTableSectors, type StreamTables, TablesAtEnd, TablesInFront } from './stream-tables.ts';

/** VirtualBox and VMware's tools hold a record, its marker included, in this many sectors. */
const RECORD_SECTORS_MAX = 129;
export const RECORD_DATA_BYTES_MAX: number = RECORD_SECTORS_MAX * SECTOR_BYTES - GRAIN_MARKER_BYTES;

export interface StreamPlan {
  readonly disk: Disk;
  readonly capacitySectors: number;
  /** Embedded, padded to its sectors. */
  readonly descriptor: Uint8Array;
  /** At the end nothing is patched; in front a reader finds them at once. */
  readonly tables: 'end' | 'front';
  readonly signal?: AbortSignal | undefined;
}

/**
 * A streamOptimized file, made in one forward pass over the disk. Grains of zeros are left out; every other one
 * is whole, zero padded at the end of the disk. Costs one walk over the extents, but of an arriving disk.
 */
export async function optimizedStream(plan: StreamPlan): Promise<ImageStream> {
  const grainCount = ceilDivide(plan.capacitySectors, GRAIN_SECTORS);
  const used = await countGrains(plan.disk, grainCount, plan.signal);
  const newTables = () =>
    plan.tables === 'front'
      ? new TablesInFront(plan.capacitySectors, grainCount, plan.descriptor)
      : new TablesAtEnd(plan.capacitySectors, grainCount, plan.descriptor);
  const maximumSectors =
    maximumTableSectors(plan.tables, grainCount, used.tableCount) + used.grainCount * RECORD_SECTORS_MAX;
  return {
    kind: 'stream',
    format: 'vmdk',
    frontBytes: newTables().frontBytes,
    maximumLengthBytes: maximumSectors * SECTOR_BYTES,
    chunks: (options) => streamChunks(plan.disk, newTables(), options),
  };
}

interface GrainCounts {
  readonly grainCount: number;
  readonly tableCount: number;
}

/** The grains that data extents touch, and the tables of those; all of them for a disk that is seen only once. */
async function countGrains(
  disk: Disk,
  virtualGrainCount: number,
  signal: AbortSignal | undefined,
): Promise<GrainCounts> {
  if (disk.sequential) {
    return { grainCount: virtualGrainCount, tableCount: ceilDivide(virtualGrainCount, TABLE_ENTRIES) };
  }
  let grainCount = 0;
  let tableCount = 0;
  let grainsEnd = 0;
  let tablesEnd = 0;
  for await (const { offsetBytes, lengthBytes, kind } of disk.extents(0, disk.virtualSizeBytes, signal)) {
    if (kind !== 'data') continue;
    const first = Math.max(grainsEnd, Math.floor(offsetBytes / GRAIN_BYTES));
    grainsEnd = ceilDivide(offsetBytes + lengthBytes, GRAIN_BYTES);
    grainCount += grainsEnd - first;
    const firstTable = Math.max(tablesEnd, Math.floor(first / TABLE_ENTRIES));
    tablesEnd = ceilDivide(grainsEnd, TABLE_ENTRIES);
    tableCount += tablesEnd - firstTable;
  }
  return { grainCount, tableCount };
}

async function* streamChunks(
  disk: Disk,
  tables: StreamTables,
  { signal, onProgress, resumeFrom }: StreamRunOptions,
): AsyncGenerator<StreamChunk, void, undefined> {
  const resumed = resumeFrom === undefined ? undefined : restore(tables, resumeFrom);
  const out = new ChunkPacker(resumed?.endBytes ?? tables.frontBytes);
  let nextGrain = resumed?.nextGrain ?? 0;
  if (resumed === undefined) tables.start(out);
  const packing = {
    unitBytes: GRAIN_BYTES,
    compression: 'zlib',
    limitBytes: RECORD_DATA_BYTES_MAX,
    fromUnit: nextGrain,
    signal,
    onProgress,
  } as const;
  for await (const { endUnit, units } of packedUnits(disk, packing)) {
    for (const { unit, bytes, compressed } of units) {
      const data = compressed ? bytes : storedZlib(bytes);
      const recordBytes = roundUp(GRAIN_MARKER_BYTES + data.length, SECTOR_BYTES);
      tables.add(out, unit, recordBytes / SECTOR_BYTES);
      out.append(encodeGrainMarker(unit * GRAIN_SECTORS, data.length));
      out.append(data);
      out.appendZeros(recordBytes - GRAIN_MARKER_BYTES - data.length);
    }
    nextGrain = endUnit;
    yield* out.takeFull(() => save(tables, nextGrain, out.endBytes));
  }
  tables.end(out);
  yield* out.takeAll();
  yield* frontChunks(tables);
}

function* frontChunks(tables: StreamTables): Iterable<StreamChunk> {
  const front = regionsLayout('vmdk', tables.front());
  for (let offsetBytes = 0; offsetBytes < front.lengthBytes; ) {
    const end = Math.min(offsetBytes + MIB, front.lengthBytes);
    const bytes = new Uint8Array(end - offsetBytes);
    let at = 0;
    for (const piece of front.pieces(offsetBytes, end)) {
      if (piece.kind === 'bytes') bytes.set(piece.bytes, at);
      at += pieceLength(piece);
    }
    yield { offsetBytes, bytes };
    offsetBytes = end;
  }
}

/** Two numbers before what the tables keep: the first grain that is not done, and where the file ends. */
const CHECKPOINT_HEAD_BYTES = 16;

function save(tables: StreamTables, nextGrain: number, endBytes: number): Uint8Array {
  const kept = tables.save();
  const bytes = new Uint8Array(CHECKPOINT_HEAD_BYTES + kept.length);
  const view = viewOf(bytes);
  view.setFloat64(0, nextGrain);
  view.setFloat64(8, endBytes);
  bytes.set(kept, CHECKPOINT_HEAD_BYTES);
  return bytes;
}

function restore(tables: StreamTables, saved: Uint8Array): { nextGrain: number; endBytes: number } {
  const view = viewOf(saved);
  tables.restore(saved.subarray(CHECKPOINT_HEAD_BYTES));
  return { nextGrain: view.getFloat64(0), endBytes: view.getFloat64(8) };
}
