import { viewOf } from '../../bytes/fields.ts';
import { MIB } from '../../bytes/numbers.ts';
import type { ExtentKind } from '../../disk/disk.ts';
import type { ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure, requireInside } from '../../io/byte-source.ts';
import type { VdiHeader } from './header.ts';
import { MAP_PAGE_COUNT } from './limits.ts';

/** `VDI_IMAGE_BLOCK_FREE`: never written; reads zero in a base image, as the parent in a differencing one. */
export const BLOCK_FREE = 0xffffffff;
/** `VDI_IMAGE_BLOCK_ZERO`: known to be zero. */
const BLOCK_ZERO = 0xfffffffe;

export const MAP_STRUCTURE = 'VDI block map';
const PAGE_ENTRIES: number = 16 * 1024;
/** What a walk of the whole map reads at once. */
const WALK_ENTRIES: number = MIB / 4;

/** An entry of the map that cannot be right. */
export interface MapDamage {
  readonly code: ImageErrorCode;
  readonly message: string;
  readonly offsetBytes: number;
}

/** Guest bytes of one kind; those that are stored follow each other in the file too. */
export interface BlockRun {
  readonly offsetBytes: number;
  readonly endBytes: number;
  /** `hole` for blocks that were never written. */
  readonly kind: ExtentKind;
  /** Where the first byte stands, when the run is data. */
  readonly fileOffsetBytes: number;
}

/** The block map, read page by page: 1 TiB in blocks of 1 MiB has 4 MiB of it. */
export class VdiBlockMap {
  readonly #source: ByteSource;
  readonly #header: VdiHeader;
  /** The least recently used first. */
  readonly #pages = new Map<number, Promise<DataView>>();

  /** Throws IMAGE_TRUNCATED when the file ends before the map does. */
  constructor(source: ByteSource, header: VdiHeader) {
    requireInside(source, header.mapOffsetBytes, header.blockCount * 4, MAP_STRUCTURE);
    this.#source = source;
    this.#header = header;
  }

  /** The runs of [from, to), in order. The range lies inside the disk. */
  async *runs(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<BlockRun, void, undefined> {
    const { blockBytes, blockExtraBytes } = this.#header;
    // Grows while neighbours follow: an object for each block would take most of the walk's time.
    let open: { -readonly [Field in keyof BlockRun]: BlockRun[Field] } | undefined;
    for (let at = fromBytes; at < toBytes; ) {
      signal?.throwIfAborted();
      let block = Math.floor(at / blockBytes);
      const pageIndex = Math.floor(block / PAGE_ENTRIES);
      const page = await this.#page(pageIndex);
      const pageEnd = Math.min((pageIndex + 1) * PAGE_ENTRIES * blockBytes, toBytes);
      for (; at < pageEnd; block++) {
        const entry = page.getUint32((block % PAGE_ENTRIES) * 4, true);
        const endBytes = Math.min((block + 1) * blockBytes, toBytes);
        const fileOffsetBytes = entry < BLOCK_ZERO ? this.#dataStart(entry) + (at - block * blockBytes) : 0;
        const kind = kindOf(entry);
        // Extra bytes before every block keep even neighbours apart.
        const goesOn =
          open?.kind === kind &&
          (kind !== 'data' ||
            (blockExtraBytes === 0 && open.fileOffsetBytes + (at - open.offsetBytes) === fileOffsetBytes));
        if (open !== undefined && goesOn) open.endBytes = endBytes;
        else {
          if (open !== undefined) yield open;
          open = { offsetBytes: at, endBytes, kind, fileOffsetBytes };
        }
        at = endBytes;
      }
    }
    if (open !== undefined) yield open;
  }

  #page(index: number): Promise<DataView> {
    const page = this.#pages.get(index) ?? this.#readPage(index);
    this.#pages.delete(index);
    this.#pages.set(index, page);
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= MAP_PAGE_COUNT) break;
      this.#pages.delete(oldest);
    }
    return page;
  }

  /** Shared by all that wait for it, so it is not bound to one caller's signal. */
  #readPage(index: number): Promise<DataView> {
    const page = this.#read(index * PAGE_ENTRIES, PAGE_ENTRIES);
    // The next reader tries again.
    page.catch(() => this.#pages.delete(index));
    return page;
  }

  async #read(firstEntry: number, maximumCount: number, signal?: AbortSignal): Promise<DataView> {
    const { mapOffsetBytes, blockCount } = this.#header;
    const count = Math.min(maximumCount, blockCount - firstEntry);
    const offsetBytes = mapOffsetBytes + firstEntry * 4;
    return viewOf(await readStructure(this.#source, offsetBytes, count * 4, MAP_STRUCTURE, signal));
  }

  #dataStart(entry: number): number {
    const { dataOffsetBytes, blockBytes, blockExtraBytes } = this.#header;
    return dataOffsetBytes + entry * (blockBytes + blockExtraBytes) + blockExtraBytes;
  }

  /** The entries of stored blocks, in order; the whole map is read. */
  async *stored(
    signal?: AbortSignal,
  ): AsyncGenerator<readonly [block: number, entry: number], void, undefined> {
    const { blockCount } = this.#header;
    for (let first = 0; first < blockCount; first += WALK_ENTRIES) {
      const entries = await this.#read(first, WALK_ENTRIES, signal);
      for (let i = 0; i < entries.byteLength / 4; i++) {
        const entry = entries.getUint32(i * 4, true);
        if (entry < BLOCK_ZERO) yield [first + i, entry];
      }
    }
  }

  /**
   * What is wrong in the map, entry by entry: positions that do not exist, blocks that are used twice, blocks
   * that the file does not hold as far as the disk shows them.
   */
  async *damage(signal?: AbortSignal): AsyncGenerator<MapDamage, void, undefined> {
    const { blockBytes, blockCount, virtualSizeBytes, mapOffsetBytes } = this.#header;
    const fileLengthBytes = this.#source.lengthBytes;
    const seen = new Uint8Array(Math.ceil(blockCount / 8));
    for await (const [block, entry] of this.stored(signal)) {
      const offsetBytes = mapOffsetBytes + block * 4;
      if (entry >= blockCount) {
        const message = `block ${block} is said to be at position ${entry}, beyond the ${blockCount} that exist`;
        yield { code: 'IMAGE_MALFORMED', message, offsetBytes };
        continue;
      }
      const byte = Math.floor(entry / 8);
      const bits = seen[byte] ?? 0;
      const bit = 1 << (entry % 8);
      if ((bits & bit) !== 0) {
        const message = `block ${block} shares position ${entry} with another block`;
        yield { code: 'IMAGE_MALFORMED', message, offsetBytes };
      }
      seen[byte] = bits | bit;
      const shownBytes = Math.min(blockBytes, virtualSizeBytes - block * blockBytes);
      const end = this.#dataStart(entry) + shownBytes;
      if (shownBytes > 0 && end > fileLengthBytes) {
        const message = `block ${block} ends at byte ${end}, but the file at ${fileLengthBytes}`;
        yield { code: 'IMAGE_TRUNCATED', message, offsetBytes };
      }
    }
  }

  /** How many blocks are stored, and the first position after them. */
  async usage(signal?: AbortSignal): Promise<{ storedCount: number; endPosition: number }> {
    let storedCount = 0;
    let endPosition = 0;
    for await (const [, entry] of this.stored(signal)) {
      storedCount++;
      endPosition = Math.max(endPosition, entry + 1);
    }
    return { storedCount, endPosition };
  }
}

function kindOf(entry: number): ExtentKind {
  if (entry < BLOCK_ZERO) return 'data';
  return entry === BLOCK_ZERO ? 'zero' : 'hole';
}
