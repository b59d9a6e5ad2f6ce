import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { SparseHeader } from './header.ts';
import { compressedBytesMax, GRAIN_MARKER_BYTES } from './markers.ts';
import { type GrainTables, throwProblem } from './tables.ts';

const ZEROED_GRAIN = 1;

/** What a run of the disk is made of in the file. */
export type GrainRun =
  | { readonly kind: 'hole' | 'zero'; readonly offsetBytes: number; readonly lengthBytes: number }
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

/**
 * The runs of whole grains that cover [from, to), a list for each grain table (one for all tables that are
 * absent in a row). Neighbours of one kind are joined within a list, data where it is contiguous in the file.
 * The last grain of the disk ends where the disk does.
 */
export async function* grainRuns(
  tables: GrainTables,
  virtualSizeBytes: number,
  fileLengthBytes: number,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<readonly GrainRun[], void, undefined> {
  const { header } = tables;
  const grainBytes = header.grainSectors * SECTOR_BYTES;
  const tableBytes = grainBytes * header.tableEntryCount;
  const decoder = new TableDecoder(tables, virtualSizeBytes, fileLengthBytes);
  for (let at = fromBytes - (fromBytes % grainBytes); at < toBytes; ) {
    signal?.throwIfAborted();
    const index = Math.floor(at / tableBytes);
    const table = await tables.table(index, signal);
    if (table === undefined) {
      let next = index + 1;
      while (next * tableBytes < toBytes && tables.directory[next] === 0) next++;
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

/** True for the entry of a grain of zeros that takes no place in the file. */
export function isZeroedGrain(header: SparseHeader, sector: number): boolean {
  return header.zeroedGrains && sector === ZEROED_GRAIN;
}

class TableDecoder {
  readonly #tables: GrainTables;
  readonly #virtualSizeBytes: number;
  readonly #fileLengthBytes: number;
  readonly #grainBytes: number;
  readonly #recordBytesMax: number;

  constructor(tables: GrainTables, virtualSizeBytes: number, fileLengthBytes: number) {
    this.#tables = tables;
    this.#virtualSizeBytes = virtualSizeBytes;
    this.#fileLengthBytes = fileLengthBytes;
    this.#grainBytes = tables.header.grainSectors * SECTOR_BYTES;
    this.#recordBytesMax = GRAIN_MARKER_BYTES + compressedBytesMax(this.#grainBytes);
  }

  runs(tableIndex: number, table: Uint32Array, first: number, end: number): GrainRun[] {
    const runs: GrainRun[] = [];
    for (let entry = first; entry < end; ) {
      const stop = this.#runEnd(table, entry, end);
      runs.push(this.#run(tableIndex, table, entry, stop));
      entry = stop;
    }
    return runs;
  }

  #runEnd(table: Uint32Array, entry: number, end: number): number {
    const { header } = this.#tables;
    const sector = table[entry] ?? 0;
    const unstored = sector === 0 || isZeroedGrain(header, sector);
    if (header.compressed && !unstored) return entry + 1;
    const step = unstored ? 0 : header.grainSectors;
    let stop = entry + 1;
    while (stop < end && table[stop] === sector + (stop - entry) * step) stop++;
    return stop;
  }

  /** The run of the entries [entry, stop), which are alike. */
  #run(tableIndex: number, table: Uint32Array, entry: number, stop: number): GrainRun {
    const { header } = this.#tables;
    const sector = table[entry] ?? 0;
    const offsetBytes = (tableIndex * header.tableEntryCount + entry) * this.#grainBytes;
    const lengthBytes = Math.min((stop - entry) * this.#grainBytes, this.#virtualSizeBytes - offsetBytes);
    if (sector === 0) return { kind: 'hole', offsetBytes, lengthBytes };
    if (isZeroedGrain(header, sector)) return { kind: 'zero', offsetBytes, lengthBytes };
    const problem = this.#tables.placeProblem(
      sector,
      lengthBytes,
      this.#tables.entryOffset(tableIndex, entry),
    );
    if (problem !== undefined) throwProblem(problem, 'VMDK grain table');
    const fileOffsetBytes = sector * SECTOR_BYTES;
    if (!header.compressed) return { kind: 'data', offsetBytes, lengthBytes, fileOffsetBytes };
    // The next grain mostly stands right behind: then no more than this record is read.
    const next = (table[entry + 1] ?? 0) * SECTOR_BYTES;
    const recordEnd = next > fileOffsetBytes ? Math.min(next, this.#fileLengthBytes) : this.#fileLengthBytes;
    const recordBytes = Math.min(recordEnd - fileOffsetBytes, this.#recordBytesMax);
    return { kind: 'compressed', offsetBytes, lengthBytes, fileOffsetBytes, recordBytes };
  }
}
