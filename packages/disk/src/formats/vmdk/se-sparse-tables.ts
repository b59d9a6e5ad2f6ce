import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { EntryProblem } from './directory.ts';
import { TABLE_CACHE_BYTES } from './limits.ts';
import type { GrainLookup } from './runs.ts';
import { type SeSparseHeader, tableEntries } from './se-sparse.ts';
import { type CachedTables, TableCache } from './table-cache.ts';

const DIRECTORY = 'VMDK seSparse grain directory';
const TABLE = 'VMDK seSparse grain table';
/** The directory is read in pieces of this size. */
const PIECE_BYTES = 64 * 1024;
/** The high word of an entry of the directory that names a table. */
const TABLE_MARK = 0x10000000;
/** In a decoded table: a grain of zeros, and one of an entry that makes no sense. */
const ZEROED = -1;
const UNKNOWN = -2;

export function newSeSparseCache(): TableCache<Float64Array> {
  return new TableCache(TABLE_CACHE_BYTES);
}

/**
 * The tables of a seSparse extent. The directory is resident, 4 bytes an entry: 256 KiB for 1 TiB. Tables are
 * read when needed.
 */
export class SeSparseTables implements GrainLookup {
  readonly grainSectors: number;
  readonly tableEntryCount: number;
  readonly compressed = false;
  readonly fileLengthBytes: number;
  readonly #source: ByteSource;
  readonly #header: SeSparseHeader;
  /** 1 + the number of the table; 0 for none. */
  readonly #directory: Uint32Array;
  readonly #cache: CachedTables<Float64Array>;

  private constructor(
    source: ByteSource,
    header: SeSparseHeader,
    directory: Uint32Array,
    cache: CachedTables<Float64Array>,
  ) {
    this.#cache = cache;
    this.#source = source;
    this.#header = header;
    this.#directory = directory;
    this.grainSectors = header.grainSectors;
    this.tableEntryCount = tableEntries(header);
    this.fileLengthBytes = source.lengthBytes;
  }

  /** Throws IMAGE_MALFORMED or IMAGE_TRUNCATED for a directory that cannot be followed. */
  static async open(
    source: ByteSource,
    header: SeSparseHeader,
    signal?: AbortSignal,
    cache: CachedTables<Float64Array> = newSeSparseCache().extent(),
  ): Promise<SeSparseTables> {
    const entryCount = ceilDivide(header.capacitySectors, header.grainSectors * tableEntries(header));
    const directory = new Uint32Array(entryCount);
    const start = header.directory.start * SECTOR_BYTES;
    for (let first = 0; first < entryCount; first += PIECE_BYTES / 8) {
      const count = Math.min(PIECE_BYTES / 8, entryCount - first);
      const bytes = await readStructure(source, start + first * 8, count * 8, DIRECTORY, signal);
      const view = viewOf(bytes);
      for (let i = 0; i < count; i++) {
        const offsetBytes = start + (first + i) * 8;
        directory[first + i] = tableNumber(source, header, view, i, offsetBytes);
      }
    }
    requireOwnTables(directory);
    return new SeSparseTables(source, header, directory, cache);
  }

  hasTable(index: number): boolean {
    return (this.#directory[index] ?? 0) !== 0;
  }

  isZeroed(entry: number): boolean {
    return entry === ZEROED;
  }

  async table(index: number, signal?: AbortSignal): Promise<Float64Array | undefined> {
    const number = this.#directory[index] ?? 0;
    if (number === 0) return undefined;
    const cached = this.#cache.get(index);
    if (cached !== undefined) return cached;
    const table = await this.#load(number - 1, signal);
    this.#cache.set(index, table);
    return table;
  }

  async #load(number: number, signal: AbortSignal | undefined): Promise<Float64Array> {
    const { tables, tableSectors, grains } = this.#header;
    const start = (tables.start + number * tableSectors) * SECTOR_BYTES;
    const bytes = await readStructure(this.#source, start, tableSectors * SECTOR_BYTES, TABLE, signal);
    const view = viewOf(bytes);
    const table = new Float64Array(this.tableEntryCount);
    for (let i = 0; i < table.length; i++) {
      table[i] = sectorOf(view.getUint32(i * 8 + 4, true), view.getUint32(i * 8, true), grains.start);
    }
    return table;
  }

  placeProblem(
    sector: number,
    lengthBytes: number,
    tableIndex: number,
    entryIndex: number,
  ): EntryProblem | undefined {
    const { tables, tableSectors, grains } = this.#header;
    const number = (this.#directory[tableIndex] ?? 1) - 1;
    const problem = (code: ImageErrorCode, message: string) => ({
      code,
      message,
      offsetBytes: (tables.start + number * tableSectors) * SECTOR_BYTES + entryIndex * 8,
    });
    if (sector === UNKNOWN) return problem('IMAGE_MALFORMED', 'a seSparse grain entry is of no known type');
    const sectorCount = ceilDivide(lengthBytes, SECTOR_BYTES);
    if (sector * SECTOR_BYTES + lengthBytes > this.fileLengthBytes) {
      return problem('IMAGE_TRUNCATED', `the grain at sector ${sector} lies beyond the end of the file`);
    }
    if (sector + sectorCount > grains.start + grains.count) {
      return problem('IMAGE_MALFORMED', `the grain at sector ${sector} lies beyond the grains of the file`);
    }
    return undefined;
  }
}

/** An entry of the directory as 1 + the number of its table, 0 for none. */
function tableNumber(
  source: ByteSource,
  header: SeSparseHeader,
  view: DataView,
  index: number,
  offsetBytes: number,
): number {
  const low = view.getUint32(index * 8, true);
  const high = view.getUint32(index * 8 + 4, true);
  if (low === 0 && high === 0) return 0;
  const refuse = (code: ImageErrorCode, message: string): never => {
    throw new ImageError(code, message, { structure: DIRECTORY, offsetBytes });
  };
  if (high !== TABLE_MARK)
    refuse('IMAGE_MALFORMED', `the seSparse directory entry has the mark 0x${high.toString(16)}`);
  const { tables, tableSectors } = header;
  if ((low + 1) * tableSectors > tables.count) {
    refuse('IMAGE_MALFORMED', `seSparse grain table ${low} lies beyond the tables of the file`);
  }
  if ((tables.start + (low + 1) * tableSectors) * SECTOR_BYTES > source.lengthBytes) {
    refuse('IMAGE_TRUNCATED', `seSparse grain table ${low} lies beyond the end of the file`);
  }
  return low + 1;
}

function requireOwnTables(directory: Uint32Array): void {
  const sorted = directory.filter((number) => number !== 0).sort();
  if (sorted.every((number, i) => number !== sorted[i - 1])) return;
  throw new ImageError('IMAGE_MALFORMED', 'two parts of the disk share a seSparse grain table', {
    structure: DIRECTORY,
  });
}

/**
 * An entry of a table, as two words, decoded: the type in its highest 4 bits, then the lowest 12 bits of the
 * grain's number, then the 48 others.
 */
function sectorOf(high: number, low: number, grainsStart: number): number {
  switch (Math.floor(high / 2 ** 28)) {
    case 0:
      return high === 0 && low === 0 ? 0 : UNKNOWN;
    case 1: // unmapped by the guest
    case 2:
      return ZEROED;
    case 3: {
      const lowest = Math.floor(high / 2 ** 16) % 2 ** 12;
      const grain = ((high % 2 ** 16) * 2 ** 32 + low) * 2 ** 12 + lowest;
      // Far beyond any file, and beyond what counts exactly.
      return grain > 2 ** 48 ? 2 ** 52 : grainsStart + grain * 8;
    }
    default:
      return UNKNOWN;
  }
}
