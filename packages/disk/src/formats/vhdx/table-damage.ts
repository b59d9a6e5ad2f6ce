import { ceilDivide, MIB } from '../../bytes/numbers.ts';
import type { ImageErrorCode } from '../../errors.ts';
import { type IndexedEntry, kindOf, STATE_FULLY_PRESENT, type VhdxBlockTable } from './block-table.ts';
import { HEADER_SECTION_BYTES } from './header.ts';
import type { VhdxImage } from './image.ts';

/** An entry of the block allocation table that cannot be right. */
export interface TableDamage {
  readonly code: ImageErrorCode;
  readonly message: string;
  readonly offsetBytes: number;
}

/** MiB that a page of claims stands for: 8 KiB for 64 GiB of the file. */
const PAGE_UNITS = 65536;

/** Which MiB of the file are in use: all that the format places stands on whole MiB. */
export class FileClaims {
  readonly #pages = new Map<number, Uint8Array>();

  constructor({ headers, regions }: Pick<VhdxImage, 'headers' | 'regions'>) {
    this.claim(0, HEADER_SECTION_BYTES);
    const { logOffsetBytes, logLengthBytes } = headers.current;
    if (logLengthBytes > 0) this.claim(logOffsetBytes, logLengthBytes);
    for (const { offsetBytes, lengthBytes } of regions.all) this.claim(offsetBytes, lengthBytes);
  }

  /** How many MiB of a range nothing has; the range begins on a whole one. */
  freeCount(fromBytes: number, toBytes: number): number {
    let count = 0;
    for (let unit = fromBytes / MIB; unit < ceilDivide(toBytes, MIB); unit++) {
      const page = this.#pages.get(Math.floor(unit / PAGE_UNITS));
      const bits = page?.[Math.floor((unit % PAGE_UNITS) / 8)] ?? 0;
      if ((bits & (1 << (unit % 8))) === 0) count++;
    }
    return count;
  }

  /** Takes a range; false when something has a part of it already. */
  claim(offsetBytes: number, lengthBytes: number): boolean {
    let isFree = true;
    const end = ceilDivide(offsetBytes + lengthBytes, MIB);
    for (let unit = offsetBytes / MIB; unit < end; unit++) {
      const number = Math.floor(unit / PAGE_UNITS);
      let page = this.#pages.get(number);
      if (page === undefined) {
        page = new Uint8Array(PAGE_UNITS / 8);
        this.#pages.set(number, page);
      }
      const byte = Math.floor((unit % PAGE_UNITS) / 8);
      const bit = 1 << (unit % 8);
      const bits = page[byte] ?? 0;
      if ((bits & bit) !== 0) isFree = false;
      page[byte] = bits | bit;
    }
    return isFree;
  }
}

/**
 * What is wrong in the table: unknown states, blocks over the tables or each other, blocks that the file does
 * not hold as far as the disk shows them, and chunks that lack the bitmap that their blocks need.
 */
export async function* tableDamage(
  image: VhdxImage,
  table: VhdxBlockTable,
  claims: FileClaims,
  signal?: AbortSignal,
): AsyncGenerator<TableDamage, void, undefined> {
  const { geometry } = table;
  let partialChunk = -1;
  for await (const entries of table.usedPages(signal)) {
    for (const entry of entries) {
      const damage = entryDamage(image, table, claims, entry);
      if (damage !== undefined) yield damage;
      if (kindOf(entry.state) !== 'partial' || image.metadata.parent === undefined) continue;
      const chunk = Math.floor(geometry.blockAt(entry.index) / geometry.chunkBlocks);
      if (chunk === partialChunk || geometry.isBitmap(entry.index)) continue;
      partialChunk = chunk;
      if ((await table.entry(geometry.bitmapIndexOf(chunk))).state === STATE_FULLY_PRESENT) continue;
      const message = `blocks of chunk ${chunk} are partially present, and it has no sector bitmap`;
      yield damageAt(table, entry.index, 'IMAGE_MALFORMED', message);
    }
  }
}

function damageAt(table: VhdxBlockTable, index: number, code: ImageErrorCode, message: string): TableDamage {
  return { code, message: `VHDX: ${message}`, offsetBytes: table.entryOffset(index) };
}

/** What is wrong with one entry. Takes the place of what it names. */
function entryDamage(
  image: VhdxImage,
  table: VhdxBlockTable,
  claims: FileClaims,
  entry: IndexedEntry,
): TableDamage | undefined {
  const { geometry } = table;
  const { index, state } = entry;
  const kind = kindOf(state);
  if (geometry.isBitmap(index)) {
    if (kind === 'full') return placeDamage(image, table, claims, entry, MIB, MIB);
    if (state === 0) return undefined;
    return damageAt(table, index, 'IMAGE_MALFORMED', `a sector bitmap has the state ${state}`);
  }
  const { blockBytes, virtualSizeBytes, parent } = image.metadata;
  const shownBytes = Math.min(blockBytes, virtualSizeBytes - geometry.blockAt(index) * blockBytes);
  // Behind the disk's end, in the last chunk.
  if (shownBytes <= 0) return undefined;
  const isPartial = kind === 'partial';
  const misplaced =
    isPartial || kind === 'full'
      ? placeDamage(image, table, claims, entry, shownBytes, blockBytes)
      : undefined;
  if (kind !== 'invalid' && (!isPartial || parent !== undefined)) return misplaced;
  const why = isPartial ? 'in a disk without a parent' : 'which does not exist';
  const message = `block ${geometry.blockAt(index)} has the state ${state}, ${why}`;
  return damageAt(table, index, 'IMAGE_MALFORMED', message);
}

/** Of something of `wholeBytes` bytes, the first `shownBytes` of which have to be in the file. */
function placeDamage(
  image: VhdxImage,
  table: VhdxBlockTable,
  claims: FileClaims,
  { index, fileBytes }: IndexedEntry,
  shownBytes: number,
  wholeBytes: number,
): TableDamage | undefined {
  const end = fileBytes + shownBytes;
  const fileEnd = image.source.lengthBytes;
  if (end <= fileEnd && claims.claim(fileBytes, Math.min(wholeBytes, fileEnd - fileBytes))) return undefined;
  const { geometry } = table;
  const what = geometry.isBitmap(index) ? 'a sector bitmap' : `block ${geometry.blockAt(index)}`;
  if (end <= fileEnd) {
    const message = `${what} stands at byte ${fileBytes}, over other blocks or tables`;
    return damageAt(table, index, 'IMAGE_MALFORMED', message);
  }
  return damageAt(table, index, 'IMAGE_TRUNCATED', `${what} ends at byte ${end}, but the file at ${fileEnd}`);
}
