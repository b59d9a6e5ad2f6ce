import { ceilDivide, MIB } from '../../bytes/numbers.ts';
import type { ImageErrorCode } from '../../errors.ts';
import { kindOf, STATE_FULLY_PRESENT, type VhdxBlockTable } from './block-table.ts';
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
  const hasParent = image.metadata.parent !== undefined;
  let partialChunk = -1;
  for await (const { index, state, fileBytes } of table.used(signal)) {
    const offsetBytes = table.entryOffset(index);
    const bad = (message: string): TableDamage => ({ code: 'IMAGE_MALFORMED', message, offsetBytes });
    const block = geometry.blockAt(index);
    if (geometry.isBitmap(index)) {
      if (state === STATE_FULLY_PRESENT) {
        const what = `the sector bitmap before block ${block}`;
        yield* placeDamage(image, claims, {
          what,
          fileBytes,
          shownBytes: MIB,
          wholeBytes: MIB,
          offsetBytes,
        });
      } else if (state !== 0) yield bad(`a VHDX sector bitmap has the state ${state}`);
      continue;
    }
    // Behind the disk's end, in the last chunk.
    if (block >= geometry.blockCount) continue;
    const kind = kindOf(state);
    if (kind === 'invalid') yield bad(`VHDX block ${block} has the state ${state}, which does not exist`);
    if (kind !== 'full' && kind !== 'partial') continue;
    if (kind === 'partial' && !hasParent) {
      yield bad(`VHDX block ${block} is partially present, in a disk without a parent`);
    }
    yield* placeDamage(image, claims, {
      what: `block ${block}`,
      fileBytes,
      shownBytes: shownBytes(image, block),
      wholeBytes: geometry.blockBytes,
      offsetBytes,
    });
    const chunk = Math.floor(block / geometry.chunkBlocks);
    if (kind === 'full' || !hasParent || chunk === partialChunk) continue;
    partialChunk = chunk;
    const bitmap = await table.entry(geometry.bitmapIndexOf(chunk));
    if (bitmap.state === STATE_FULLY_PRESENT) continue;
    yield bad(`VHDX block ${block} is partially present, and its chunk has no sector bitmap`);
  }
}

/** How much of a block lies inside the disk. */
function shownBytes({ metadata }: VhdxImage, block: number): number {
  const { blockBytes, virtualSizeBytes } = metadata;
  return Math.min(blockBytes, virtualSizeBytes - block * blockBytes);
}

interface Place {
  readonly what: string;
  readonly fileBytes: number;
  /** The disk shows this much of it, from its start. */
  readonly shownBytes: number;
  readonly wholeBytes: number;
  /** Of the entry. */
  readonly offsetBytes: number;
}

function* placeDamage(
  image: VhdxImage,
  claims: FileClaims,
  { what, fileBytes, shownBytes, wholeBytes, offsetBytes }: Place,
): Generator<TableDamage, void, undefined> {
  const lengthBytes = image.source.lengthBytes;
  if (fileBytes + shownBytes > lengthBytes) {
    const message = `VHDX: ${what} ends at byte ${fileBytes + shownBytes}, but the file at ${lengthBytes}`;
    yield { code: 'IMAGE_TRUNCATED', message, offsetBytes };
  } else if (!claims.claim(fileBytes, Math.min(wholeBytes, lengthBytes - fileBytes))) {
    const message = `VHDX: ${what} stands at byte ${fileBytes}, over other blocks or tables`;
    yield { code: 'IMAGE_MALFORMED', message, offsetBytes };
  }
}
