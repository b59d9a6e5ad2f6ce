import { compressedBytesMax, GRAIN_MARKER_BYTES } from '../../bytes/grain-marker.ts';
import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { EntryProblem } from './directory.ts';
import { throwProblem } from './tables.ts';

/** What a run of an extent is made of in its file. Offsets in the disk count from the extent's start. */
export type GrainRun =
  /** A hole is what a parent shows through; `denied` is there, but nobody may read it. */
  | {
      readonly kind: 'hole' | 'zero' | 'denied';
      readonly offsetBytes: number;
      readonly lengthBytes: number;
    }
  | {
      readonly kind: 'data';
      readonly offsetBytes: number;
      readonly lengthBytes: number;
      readonly fileOffsetBytes: number;
    }
  /** One compressed grain: its record is somewhere in `recordBytes` from `fileOffsetBytes`. */
  | {
      readonly kind: 'compressed';
      readonly offsetBytes: number;
      readonly lengthBytes: number;
      readonly fileOffsetBytes: number;
      readonly recordBytes: number;
    };

export type CompressedRun = Extract<GrainRun, { kind: 'compressed' }>;

/** The tables of an extent: for each grain 0 for a hole, a mark for zeros, or the sector of its data. */
export interface GrainLookup {
  readonly grainSectors: number;
  readonly tableEntryCount: number;
  readonly compressed: boolean;
  readonly fileLengthBytes: number;
  hasTable(index: number): boolean;
  /** The entries of a table; undefined when there is none. */
  table(index: number, signal?: AbortSignal): Promise<ArrayLike<number> | undefined>;
  isZeroed(entry: number): boolean;
  /** What is wrong with data of `lengthBytes` of the disk at this sector, as the table's entry says. */
  placeProblem(
    sector: number,
    lengthBytes: number,
    tableIndex: number,
    entryIndex: number,
  ): EntryProblem | undefined;
}

/**
 * The runs of whole grains that cover [from, to), a list for each grain table (one for all tables that are
 * absent in a row). Neighbours of one kind are joined within a list, data where it is contiguous in the file.
 * The last grain of the extent ends where the extent does. Throws IMAGE_MALFORMED when grains of one table share
 * their place, and when those of all together must, as they are more than the file is up to the furthest.
 */
export async function* grainRuns(
  tables: GrainLookup,
  extentBytes: number,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<readonly GrainRun[], void, undefined> {
  const grainBytes = tables.grainSectors * SECTOR_BYTES;
  const tableBytes = grainBytes * tables.tableEntryCount;
  const decoder = new TableDecoder(tables, extentBytes);
  for (let at = fromBytes - (fromBytes % grainBytes); at < toBytes; ) {
    signal?.throwIfAborted();
    const index = Math.floor(at / tableBytes);
    const table = await tables.table(index, signal);
    if (table === undefined) {
      let next = index + 1;
      while (next * tableBytes < toBytes && !tables.hasTable(next)) next++;
      const end = Math.min(next * tableBytes, toBytes);
      yield [{ kind: 'hole', offsetBytes: at, lengthBytes: end - at }];
      at = end;
    } else {
      const start = index * tableBytes;
      const first = (at - start) / grainBytes;
      const end = Math.min(start + tableBytes, toBytes);
      yield decoder.runs(index, table, first, Math.ceil((end - start) / grainBytes));
      at = end;
    }
  }
}

class TableDecoder {
  readonly #tables: GrainLookup;
  readonly #extentBytes: number;
  readonly #grainBytes: number;
  readonly #recordBytesMax: number;
  /** Bytes of the file that the runs so far take, and where the furthest of them ends. */
  #takenBytes = 0;
  #furthestBytes = 0;

  constructor(tables: GrainLookup, extentBytes: number) {
    this.#tables = tables;
    this.#extentBytes = extentBytes;
    this.#grainBytes = tables.grainSectors * SECTOR_BYTES;
    this.#recordBytesMax = GRAIN_MARKER_BYTES + compressedBytesMax(this.#grainBytes);
  }

  runs(tableIndex: number, table: ArrayLike<number>, first: number, end: number): GrainRun[] {
    const runs: GrainRun[] = [];
    for (let entry = first; entry < end; ) {
      const stop = this.#runEnd(table, entry, end);
      runs.push(this.#run(tableIndex, table, entry, stop));
      entry = stop;
    }
    this.#requireOwnPlaces(runs);
    return runs;
  }

  #runEnd(table: ArrayLike<number>, entry: number, end: number): number {
    const { compressed, grainSectors } = this.#tables;
    const sector = table[entry] ?? 0;
    const unstored = sector === 0 || this.#tables.isZeroed(sector);
    if (compressed && !unstored) return entry + 1;
    const step = unstored ? 0 : grainSectors;
    let stop = entry + 1;
    while (stop < end && table[stop] === sector + (stop - entry) * step) stop++;
    return stop;
  }

  /** The run of the entries [entry, stop), which are alike. */
  #run(tableIndex: number, table: ArrayLike<number>, entry: number, stop: number): GrainRun {
    const tables = this.#tables;
    const sector = table[entry] ?? 0;
    const offsetBytes = (tableIndex * tables.tableEntryCount + entry) * this.#grainBytes;
    const lengthBytes = Math.min((stop - entry) * this.#grainBytes, this.#extentBytes - offsetBytes);
    if (sector === 0) return { kind: 'hole', offsetBytes, lengthBytes };
    if (tables.isZeroed(sector)) return { kind: 'zero', offsetBytes, lengthBytes };
    const problem = tables.placeProblem(sector, lengthBytes, tableIndex, entry);
    if (problem !== undefined) throwProblem(problem, 'VMDK grain table');
    const fileOffsetBytes = sector * SECTOR_BYTES;
    if (!tables.compressed) return { kind: 'data', offsetBytes, lengthBytes, fileOffsetBytes };
    // The next grain mostly stands right behind: then no more than this record is read.
    const next = (table[entry + 1] ?? 0) * SECTOR_BYTES;
    const fileEnd = tables.fileLengthBytes;
    const recordEnd = next > fileOffsetBytes ? Math.min(next, fileEnd) : fileEnd;
    const recordBytes = Math.min(recordEnd - fileOffsetBytes, this.#recordBytesMax);
    return { kind: 'compressed', offsetBytes, lengthBytes, fileOffsetBytes, recordBytes };
  }

  #requireOwnPlaces(runs: readonly GrainRun[]): void {
    const places: { start: number; end: number }[] = [];
    for (const run of runs) {
      if (run.kind !== 'data' && run.kind !== 'compressed') continue;
      // A record is as long as its marker says, and at least a sector.
      const lengthBytes = run.kind === 'data' ? run.lengthBytes : SECTOR_BYTES;
      const end = run.fileOffsetBytes + lengthBytes;
      this.#takenBytes += lengthBytes;
      this.#furthestBytes = Math.max(this.#furthestBytes, end);
      places.push({ start: run.fileOffsetBytes, end });
    }
    if (this.#takenBytes > this.#furthestBytes) refuseShared(undefined);
    places.sort((a, b) => a.start - b.start);
    for (const [i, place] of places.entries()) {
      if (place.start < (places[i - 1]?.end ?? 0)) refuseShared(place.start);
    }
  }
}

function refuseShared(offsetBytes: number | undefined): never {
  throw new ImageError('IMAGE_MALFORMED', 'two grains of the disk stand at one place of the VMDK file', {
    structure: 'VMDK grain table',
    offsetBytes,
    hint: 'the file is damaged or was made to mislead: do not use it',
  });
}
