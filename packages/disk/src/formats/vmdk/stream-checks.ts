import { isZero } from '../../bytes/fields.ts';
import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { decodeEntries } from './directory.ts';
import type { SparseHeader } from './header.ts';

/** Tables whose grains came, and which did not come themselves: 16 MiB of them, for 256 GiB of the disk. */
const PENDING_TABLES_MAX = 8192;

/**
 * What the tables of a streamOptimized file have to say, gathered from its grains as they come: a stream is read
 * by its markers, and random access by its tables, and both must show the same disk.
 */
export class StreamChecks {
  readonly #header: SparseHeader;
  /** By index, in the order of the disk: tables of grains that came. */
  readonly #pending = new Map<number, Uint32Array>();
  /** The sectors of tables that came, by index. */
  readonly #tables = new Map<number, number>();
  readonly #emptyTables = new Set<number>();
  #directorySector: number | undefined;

  constructor(header: SparseHeader) {
    this.#header = header;
  }

  /** True when nothing but the footer and the end can follow. */
  get hasDirectory(): boolean {
    return this.#directorySector !== undefined;
  }

  grain(grain: number, sector: number): void {
    const { tableEntryCount } = this.#header;
    const index = Math.floor(grain / tableEntryCount);
    let table = this.#pending.get(index);
    if (table === undefined) {
      if (this.#tables.has(index)) this.#refuse(`grain ${grain} comes after its grain table`, sector);
      if (this.#pending.size >= PENDING_TABLES_MAX) {
        throw new ImageError('IMAGE_NOT_SEQUENTIAL', 'the grain tables come too long after their grains', {
          structure: 'VMDK grain table',
          offsetBytes: sector * SECTOR_BYTES,
          hint: 'put the file where it can be read at any offset',
        });
      }
      table = new Uint32Array(tableEntryCount);
      this.#pending.set(index, table);
    }
    table[grain % tableEntryCount] = sector;
  }

  table(sector: number, bytes: Uint8Array): void {
    if (isZero(bytes)) {
      this.#emptyTables.add(sector);
      return;
    }
    const [first] = this.#pending;
    if (first === undefined) this.#refuse('a grain table names grains that never came', sector);
    const [index, expected] = first;
    const entries = decodeEntries(bytes);
    if (entries.some((entry, i) => entry !== expected[i])) {
      this.#refuse(`grain table ${index} contradicts the markers of its grains`, sector);
    }
    this.#pending.delete(index);
    this.#tables.set(index, sector);
  }

  /** Entries of the grain directory from `firstIndex` on, which begins at `sector`. */
  directory(sector: number, firstIndex: number, entries: Uint32Array): void {
    const [missing] = this.#pending.keys();
    if (missing !== undefined) this.#refuse(`grain table ${missing} did not come`, sector);
    for (const [i, entry] of entries.entries()) {
      const expected = this.#tables.get(firstIndex + i) ?? 0;
      const isRight = entry === expected || (expected === 0 && this.#emptyTables.has(entry));
      if (!isRight) this.#refuse(`the grain directory contradicts grain table ${firstIndex + i}`, sector);
    }
    this.#directorySector = sector;
  }

  footer(sector: number, footer: SparseHeader): void {
    if (this.#directorySector !== undefined && footer.directorySector === this.#directorySector) return;
    this.#refuse('the VMDK footer does not name the grain directory that came', sector);
  }

  #refuse(message: string, sector: number): never {
    throw new ImageError('IMAGE_MALFORMED', message, {
      structure: 'VMDK stream',
      offsetBytes: sector * SECTOR_BYTES,
      hint: 'the file is damaged: copy or download it again',
    });
  }
}
