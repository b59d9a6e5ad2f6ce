import { ceilDivide, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import {
  decodeEntries,
  directoryProblems,
  type EntryProblem,
  fixedPlaces,
  sortedTables,
} from './directory.ts';
import { type SparseHeader, tableSectors } from './header.ts';
import { TABLE_CACHE_BYTES } from './limits.ts';
import { ReservedPlaces } from './reserved-places.ts';
import type { GrainLookup } from './runs.ts';
import { type CachedTables, TableCache } from './table-cache.ts';

const ZEROED_GRAIN = 1;

/** Tables that follow each other in the file are read together: 64 of the usual ones. */
const READ_AHEAD_BYTES = 128 * 1024;

export function newTableCache(): TableCache<Uint32Array> {
  return new TableCache(TABLE_CACHE_BYTES);
}

/**
 * The grain directory, resident, and the grain tables, read when needed and kept within a budget. Knows
 * where a grain may be.
 */
export class GrainTables implements GrainLookup {
  readonly header: SparseHeader;
  readonly grainSectors: number;
  readonly tableEntryCount: number;
  readonly compressed: boolean;
  readonly fileLengthBytes: number;
  readonly directory: Uint32Array;
  readonly #source: ByteSource;
  readonly #reserved: ReservedPlaces;
  readonly #tableSectors: number;
  readonly #cache: CachedTables<Uint32Array>;

  /** `redundant` is the other directory, when it is sound: its tables are no place for grains either. */
  constructor(
    source: ByteSource,
    header: SparseHeader,
    directory: Uint32Array,
    redundant?: Uint32Array,
    cache: CachedTables<Uint32Array> = newTableCache().extent(),
  ) {
    this.header = header;
    this.grainSectors = header.grainSectors;
    this.tableEntryCount = header.tableEntryCount;
    this.compressed = header.compressed;
    this.fileLengthBytes = source.lengthBytes;
    this.directory = directory;
    this.#source = source;
    this.#tableSectors = tableSectors(header);
    const tables = redundant === undefined ? sortedTables(directory) : sortedTables(directory, redundant);
    this.#reserved = new ReservedPlaces(fixedPlaces(header), tables, this.#tableSectors);
    this.#cache = cache;
  }

  hasTable(index: number): boolean {
    return (this.directory[index] ?? 0) !== 0;
  }

  /** True for the entry of a grain of zeros that takes no place in the file. */
  isZeroed(sector: number): boolean {
    return this.header.zeroedGrains && sector === ZEROED_GRAIN;
  }

  /** The entries of a table; undefined when the directory has none. */
  async table(index: number, signal?: AbortSignal): Promise<Uint32Array | undefined> {
    if (!this.hasTable(index)) return undefined;
    return this.#cache.get(index) ?? this.#load(index, signal);
  }

  async #load(first: number, signal?: AbortSignal): Promise<Uint32Array> {
    const firstSector = this.directory[first] ?? 0;
    const limit = READ_AHEAD_BYTES / (this.#tableSectors * SECTOR_BYTES);
    let count = 1;
    while (
      count < limit &&
      this.directory[first + count] === firstSector + count * this.#tableSectors &&
      !this.#cache.has(first + count)
    ) {
      count++;
    }
    const tableBytes = this.#tableSectors * SECTOR_BYTES;
    const offsetBytes = firstSector * SECTOR_BYTES;
    const bytes = await readStructure(
      this.#source,
      offsetBytes,
      count * tableBytes,
      'VMDK grain table',
      signal,
    );
    let wanted: Uint32Array = new Uint32Array(0);
    for (let i = count - 1; i >= 0; i--) {
      wanted = decodeEntries(bytes.subarray(i * tableBytes, (i + 1) * tableBytes));
      this.#cache.set(first + i, wanted);
    }
    return wanted;
  }

  /** Where an entry of a table stands in the file, in bytes. */
  entryOffset(tableIndex: number, entryIndex: number): number {
    return (this.directory[tableIndex] ?? 0) * SECTOR_BYTES + entryIndex * 4;
  }

  /** What is wrong with grains from this sector on that hold `lengthBytes` of the disk, when anything is. */
  placeProblem(
    sector: number,
    lengthBytes: number,
    tableIndex: number,
    entryIndex: number,
  ): EntryProblem | undefined {
    // A compressed grain is as long as its marker says, and at least a sector.
    const storedBytes = this.header.compressed ? SECTOR_BYTES : lengthBytes;
    const problem = (code: ImageErrorCode, what: string) => ({
      code,
      message: `the grain at sector ${sector} ${what}`,
      offsetBytes: this.entryOffset(tableIndex, entryIndex),
    });
    if (sector * SECTOR_BYTES + storedBytes > this.#source.lengthBytes) {
      return problem('IMAGE_TRUNCATED', 'lies beyond the end of the file');
    }
    if (this.#reserved.overlaps(sector, sector + ceilDivide(storedBytes, SECTOR_BYTES))) {
      return problem('IMAGE_MALFORMED', 'lies inside the metadata of the file');
    }
    return undefined;
  }
}

/** Throws for the first entry of the directory that no reader may follow. */
export function requireSoundDirectory(
  source: ByteSource,
  header: SparseHeader,
  directorySector: number,
  directory: Uint32Array,
): void {
  for (const problem of directoryProblems(source, header, directorySector, directory)) {
    throwProblem(problem, 'VMDK grain directory');
  }
}

export function throwProblem(problem: EntryProblem, structure: string): never {
  throw new ImageError(problem.code, problem.message, {
    structure,
    offsetBytes: problem.offsetBytes,
    hint:
      problem.code === 'IMAGE_TRUNCATED'
        ? 'the file is incomplete: copy or download it again'
        : 'the file is damaged or was made to mislead: do not use it',
  });
}
