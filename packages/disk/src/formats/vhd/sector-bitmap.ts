import { isZero } from '../../bytes/fields.ts';
import { ceilDivide, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { VhdBlockTable } from './block-table.ts';
import type { VhdDynamicHeader } from './dynamic-header.ts';
import { BITMAP_CACHE_COUNT } from './limits.ts';

/** A sector's bit: the first sector has the highest bit of the first byte. */
function hasSector(bitmap: Uint8Array, sector: number): boolean {
  return ((bitmap[Math.floor(sector / 8)] ?? 0) & (0x80 >> (sector % 8))) !== 0;
}

/** True when the bits of the first `sectorCount` sectors are all set. */
function hasAllSectors(bitmap: Uint8Array, sectorCount: number): boolean {
  const wholeBytes = Math.floor(sectorCount / 8);
  for (let i = 0; i < wholeBytes; i++) if (bitmap[i] !== 0xff) return false;
  for (let sector = wholeBytes * 8; sector < sectorCount; sector++) {
    if (!hasSector(bitmap, sector)) return false;
  }
  return true;
}

/** Sectors that follow each other with equal bits. */
interface SectorRun {
  readonly first: number;
  readonly end: number;
  readonly used: boolean;
}

/** The runs of equal bits in [first, end), in order. */
function* sectorRuns(bitmap: Uint8Array, first: number, end: number): Iterable<SectorRun> {
  for (let at = first; at < end; ) {
    const used = hasSector(bitmap, at);
    const same = used ? 0xff : 0;
    let runEnd = at + 1;
    while (runEnd < end) {
      if (runEnd % 8 === 0 && bitmap[runEnd / 8] === same) runEnd += 8;
      else if (hasSector(bitmap, runEnd) === used) runEnd++;
      else break;
    }
    runEnd = Math.min(runEnd, end);
    yield { first: at, end: runEnd, used };
    at = runEnd;
  }
}

/**
 * Makes the sectors without a bit zero in `part`, which holds the block's bytes from `withinBytes` on. True
 * when there was anything else in them.
 */
export function clearUnusedSectors(bitmap: Uint8Array, withinBytes: number, part: Uint8Array): boolean {
  let cleared = false;
  for (const { from, to, used } of byteRuns(bitmap, withinBytes, withinBytes + part.length)) {
    if (used) continue;
    const unused = part.subarray(from - withinBytes, to - withinBytes);
    if (isZero(unused)) continue;
    unused.fill(0);
    cleared = true;
  }
  return cleared;
}

/** A range of a block's bytes whose sectors have equal bits. */
interface ByteRun {
  readonly from: number;
  readonly to: number;
  readonly used: boolean;
}

/** As `sectorRuns`, for [from, to) in bytes of the block, which may begin and end inside a sector. */
export function* byteRuns(bitmap: Uint8Array, from: number, to: number): Iterable<ByteRun> {
  const first = Math.floor(from / SECTOR_BYTES);
  for (const run of sectorRuns(bitmap, first, ceilDivide(to, SECTOR_BYTES))) {
    const start = Math.max(run.first * SECTOR_BYTES, from);
    yield { from: start, to: Math.min(run.end * SECTOR_BYTES, to), used: run.used };
  }
}

/** The sector bitmaps of a disk's blocks, read when first needed. Nearly all are full: those take a bit each. */
export class SectorBitmaps {
  readonly #source: ByteSource;
  readonly #header: VhdDynamicHeader;
  readonly #table: VhdBlockTable;
  readonly #full: Uint8Array;
  readonly #partial = new Map<number, Promise<Uint8Array | undefined>>();

  constructor(source: ByteSource, header: VhdDynamicHeader, table: VhdBlockTable) {
    this.#source = source;
    this.#header = header;
    this.#table = table;
    this.#full = new Uint8Array(Math.ceil(table.blockCount / 8));
  }

  /** True when it is known already that every sector of the block is used. */
  isKnownFull(block: number): boolean {
    return ((this.#full[Math.floor(block / 8)] ?? 0) & (1 << (block % 8))) !== 0;
  }

  /** The bitmap of a stored block, or undefined when every sector that the disk shows is used. */
  async bitmap(block: number): Promise<Uint8Array | undefined> {
    if (this.isKnownFull(block)) return undefined;
    const pending = this.#partial.get(block) ?? this.#read(block);
    // Moved to the end: the map is in order of use.
    this.#partial.delete(block);
    this.#partial.set(block, pending);
    try {
      const bitmap = await pending;
      if (bitmap === undefined) this.#partial.delete(block);
      this.#trim();
      return bitmap;
    } catch (error) {
      this.#partial.delete(block);
      throw error;
    }
  }

  /** Shared by all that wait for it, so it is not bound to one caller's signal. */
  async #read(block: number): Promise<Uint8Array | undefined> {
    const { bitmapBytes } = this.#header;
    const offsetBytes = this.#table.bitmapOffset(block);
    const bitmap = await readStructure(this.#source, offsetBytes, bitmapBytes, 'VHD sector bitmap');
    if (!hasAllSectors(bitmap, Math.ceil(this.#table.shownBytes(block) / SECTOR_BYTES))) return bitmap;
    const byte = Math.floor(block / 8);
    this.#full[byte] = (this.#full[byte] ?? 0) | (1 << (block % 8));
    return undefined;
  }

  #trim(): void {
    for (const block of this.#partial.keys()) {
      if (this.#partial.size <= BITMAP_CACHE_COUNT) return;
      this.#partial.delete(block);
    }
  }
}
