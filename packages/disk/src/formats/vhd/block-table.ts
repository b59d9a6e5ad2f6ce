import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { overlapsFront, TABLE_STRUCTURE, type VhdDynamicHeader } from './dynamic-header.ts';

/** A block that was never written. */
export const BLOCK_UNUSED = 0xffffffff;

/** An entry of the table that cannot be right. */
export interface TableDamage {
  readonly code: ImageErrorCode;
  readonly message: string;
  readonly offsetBytes: number;
}

/** The block allocation table (BAT), resident: 4 bytes a block. */
export class VhdBlockTable {
  /** Blocks that the disk shows; the table can have more entries. */
  readonly blockCount: number;
  readonly #header: VhdDynamicHeader;
  readonly #sizeBytes: number;
  readonly #entries: DataView;

  private constructor(header: VhdDynamicHeader, sizeBytes: number, entries: DataView) {
    this.blockCount = ceilDivide(sizeBytes, header.blockBytes);
    this.#header = header;
    this.#sizeBytes = sizeBytes;
    this.#entries = entries;
  }

  /** Reads the table of a disk of `sizeBytes`; its entries are not checked. */
  static async read(
    source: ByteSource,
    header: VhdDynamicHeader,
    sizeBytes: number,
    signal?: AbortSignal,
  ): Promise<VhdBlockTable> {
    const { tableOffsetBytes, maxTableEntries } = header;
    const bytes = await readStructure(source, tableOffsetBytes, maxTableEntries * 4, TABLE_STRUCTURE, signal);
    return new VhdBlockTable(header, sizeBytes, viewOf(bytes));
  }

  isStored(block: number): boolean {
    return this.#entries.getUint32(block * 4) !== BLOCK_UNUSED;
  }

  /** Where the sector bitmap of a stored block begins; its data follows. */
  bitmapOffset(block: number): number {
    return this.#entries.getUint32(block * 4) * SECTOR_BYTES;
  }

  dataOffset(block: number): number {
    return this.bitmapOffset(block) + this.#header.bitmapBytes;
  }

  /** How much of a block lies inside the disk. */
  shownBytes(block: number): number {
    const { blockBytes } = this.#header;
    return Math.min(blockBytes, this.#sizeBytes - block * blockBytes);
  }

  *stored(): Generator<number, void, undefined> {
    for (let block = 0; block < this.blockCount; block++) if (this.isStored(block)) yield block;
  }

  /** Where the last byte of a block that the disk shows ends in the file; the table's end when there is none. */
  endBytes(): number {
    const { tableOffsetBytes, maxTableEntries } = this.#header;
    let end = tableOffsetBytes + maxTableEntries * 4;
    for (const block of this.stored()) end = Math.max(end, this.dataOffset(block) + this.shownBytes(block));
    return end;
  }

  /** Entries beyond the end of the disk that name a block all the same. */
  storedBeyondDisk(): number {
    let count = 0;
    for (let block = this.blockCount; block < this.#header.maxTableEntries; block++) {
      if (this.isStored(block)) count++;
    }
    return count;
  }

  /**
   * What is wrong in the table: blocks over the headers, the table or each other, and blocks that the file
   * does not hold as far as the disk shows them. `dataEndBytes` is where the footer begins.
   */
  *damage(dataEndBytes: number): Generator<TableDamage, void, undefined> {
    let previousEnd = 0;
    let inOrder = true;
    for (const block of this.stored()) {
      const start = this.bitmapOffset(block);
      const offsetBytes = this.#header.tableOffsetBytes + block * 4;
      if (this.#overlapsMetadata(start)) {
        const message = `block ${block} is said to be at byte ${start}, over the headers or the table`;
        yield { code: 'IMAGE_MALFORMED', message, offsetBytes };
      }
      const shownEnd = this.dataOffset(block) + this.shownBytes(block);
      if (shownEnd > dataEndBytes) {
        const message = `block ${block} ends at byte ${shownEnd}, but the data at ${dataEndBytes}`;
        yield { code: 'IMAGE_TRUNCATED', message, offsetBytes };
      }
      if (start < previousEnd) inOrder = false;
      previousEnd = start + this.#strideBytes;
    }
    if (!inOrder) yield* this.#overlaps();
  }

  /** Throws the first damage. */
  requireSound(dataEndBytes: number): void {
    for (const { code, message, offsetBytes } of this.damage(dataEndBytes)) {
      throw new ImageError(code, message, { structure: TABLE_STRUCTURE, offsetBytes });
    }
  }

  get #strideBytes(): number {
    return this.#header.bitmapBytes + this.#header.blockBytes;
  }

  #overlapsMetadata(start: number): boolean {
    const { tableOffsetBytes, maxTableEntries } = this.#header;
    if (overlapsFront(this.#header, start, this.#strideBytes)) return true;
    return start < tableOffsetBytes + maxTableEntries * 4 && start + this.#strideBytes > tableOffsetBytes;
  }

  /**
   * How many blocks would fit in the runs of the file, up to `dataEndBytes`, that no block is in. Shorter
   * gaps are the padding of some writers.
   */
  lostBlockCount(dataEndBytes: number): number {
    const { tableOffsetBytes, maxTableEntries } = this.#header;
    let lost = 0;
    let end = tableOffsetBytes + maxTableEntries * 4;
    const passTo = (start: number) => {
      lost += Math.max(0, Math.floor((start - end) / this.#strideBytes));
      end = Math.max(end, start + this.#strideBytes);
    };
    for (const sector of this.#sortedSectors()) passTo(sector * SECTOR_BYTES);
    passTo(dataEndBytes);
    return lost;
  }

  #sortedSectors(): Uint32Array {
    const sectors = new Uint32Array(this.blockCount);
    let count = 0;
    for (const block of this.stored()) sectors[count++] = this.#entries.getUint32(block * 4);
    return sectors.subarray(0, count).sort();
  }

  *#overlaps(): Generator<TableDamage, void, undefined> {
    const sectors = this.#sortedSectors();
    const strideSectors = this.#strideBytes / SECTOR_BYTES;
    for (let i = 1; i < sectors.length; i++) {
      const before = sectors[i - 1] ?? 0;
      const sector = sectors[i] ?? 0;
      if (sector - before >= strideSectors) continue;
      const message = `the blocks at sectors ${before} and ${sector} lie over each other`;
      yield { code: 'IMAGE_MALFORMED', message, offsetBytes: this.#header.tableOffsetBytes };
    }
  }
}
