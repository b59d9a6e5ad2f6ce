import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { TableGeometry, VhdxBlockTable } from './block-table.ts';
import { BITMAP_CACHE_COUNT } from './limits.ts';

/** Sectors [first, end) of a block that are all stored in this file, or all shown by the parent. */
export interface SectorSpan {
  readonly first: number;
  readonly end: number;
  readonly stored: boolean;
}

/** A sector's bit: the first sector has the lowest bit of the first byte. VHD has it the other way round. */
function isStored(bitmap: Uint8Array, sector: number): boolean {
  return ((bitmap[Math.floor(sector / 8)] ?? 0) & (1 << (sector % 8))) !== 0;
}

/** The spans that cover the sectors [first, end) of a bitmap, in order. */
export function* sectorSpans(
  bitmap: Uint8Array,
  first: number,
  end: number,
): Generator<SectorSpan, void, undefined> {
  for (let at = first; at < end; ) {
    const stored = isStored(bitmap, at);
    const same = stored ? 0xff : 0;
    let next = at + 1;
    while (next < end) {
      if (next % 8 === 0 && bitmap[next / 8] === same) next += 8;
      else if (isStored(bitmap, next) === stored) next++;
      else break;
    }
    yield { first: at, end: Math.min(next, end), stored };
    at = next;
  }
}

/** The parts of sector bitmap blocks that belong to one payload block, read when they are needed. */
export class SectorBitmaps {
  readonly #source: ByteSource;
  readonly #table: VhdxBlockTable;
  readonly #bitmapBytes: number;
  readonly #bitmaps = new Map<number, Promise<Uint8Array>>();

  constructor(source: ByteSource, table: VhdxBlockTable) {
    this.#source = source;
    this.#table = table;
    this.#bitmapBytes = bitmapBytesOf(table.geometry);
  }

  /** The bits of a payload block whose state says that it is partially present. */
  async bitmap(block: number): Promise<Uint8Array> {
    const pending = this.#bitmaps.get(block) ?? this.#read(block);
    // Moved to the end: the map is in order of use.
    this.#bitmaps.delete(block);
    this.#bitmaps.set(block, pending);
    for (const oldest of this.#bitmaps.keys()) {
      if (this.#bitmaps.size <= BITMAP_CACHE_COUNT) break;
      this.#bitmaps.delete(oldest);
    }
    try {
      return await pending;
    } catch (error) {
      this.#bitmaps.delete(block);
      throw error;
    }
  }

  /** Shared by all that wait for it, so it is not bound to one caller's signal. */
  async #read(block: number): Promise<Uint8Array> {
    const { geometry } = this.#table;
    const chunk = Math.floor(block / geometry.chunkBlocks);
    const { fileBytes } = await this.#table.entry(geometry.bitmapIndexOf(chunk));
    const offsetBytes = fileBytes + (block % geometry.chunkBlocks) * this.#bitmapBytes;
    return readStructure(this.#source, offsetBytes, this.#bitmapBytes, 'VHDX sector bitmap');
  }
}

/** A sector bitmap block of 1 MiB holds the bits of all blocks of its chunk, one after the other. */
function bitmapBytesOf({ chunkBlocks }: TableGeometry): number {
  return 2 ** 20 / chunkBlocks;
}
