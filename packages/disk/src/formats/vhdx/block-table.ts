import { isZero, viewOf } from '../../bytes/fields.ts';
import { ceilDivide, KIB, MIB } from '../../bytes/numbers.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { TABLE_PAGE_CACHE_COUNT } from './limits.ts';
import type { VhdxMetadata } from './metadata.ts';
import type { VhdxRegion } from './region-table.ts';

export const TABLE_STRUCTURE = 'VHDX block allocation table';
export const TABLE_ENTRY_BYTES = 8;
/** MS-VHDX 2.5.1.1: states of payload blocks, and the one that a sector bitmap block in use has. */
export const STATE_FULLY_PRESENT = 6;
const STATE_PARTIALLY_PRESENT = 7;
const STATE_RESERVED = 4;
/** A sector bitmap block is 1 MiB: a bit for each of 2^23 sectors, which are a chunk. */
const CHUNK_SECTORS: number = 2 ** 23;
const PAGE_BYTES: number = 64 * KIB;
const PAGE_ENTRIES = PAGE_BYTES / TABLE_ENTRY_BYTES;

/**
 * What a payload block is: `absent` shows the parent, `zero` reads as zeros whatever the parent has, `full` is
 * stored, `partial` has a bit for each sector that is stored; `invalid` is the reserved state.
 */
export type BlockKind = 'absent' | 'zero' | 'full' | 'partial' | 'invalid';

/** Payload blocks [first, end) of one kind; stored ones follow each other in the file too. */
export interface BlockSpan {
  readonly kind: BlockKind;
  readonly first: number;
  readonly end: number;
  /** Of the first block in the file; only meant for `full` and `partial`, of which a span holds one block. */
  readonly fileBytes: number;
}

/** One entry as it stands in the table. */
export interface TableEntry {
  readonly state: number;
  readonly fileBytes: number;
}

export interface IndexedEntry extends TableEntry {
  readonly index: number;
}

interface Page {
  readonly firstIndex: number;
  readonly entries: DataView;
  readonly isEmpty: boolean;
}

/** Where entries stand: payload blocks of a chunk, then the chunk's sector bitmap block. */
export class TableGeometry {
  readonly blockBytes: number;
  /** Payload blocks of the disk. */
  readonly blockCount: number;
  /** Payload blocks of a chunk. */
  readonly chunkBlocks: number;
  readonly entryCount: number;

  constructor(virtualSizeBytes: number, blockBytes: number, logicalSectorBytes: number, hasParent: boolean) {
    this.blockBytes = blockBytes;
    this.blockCount = ceilDivide(virtualSizeBytes, blockBytes);
    this.chunkBlocks = (CHUNK_SECTORS * logicalSectorBytes) / blockBytes;
    this.entryCount = hasParent
      ? ceilDivide(this.blockCount, this.chunkBlocks) * (this.chunkBlocks + 1)
      : this.blockCount + Math.floor((this.blockCount - 1) / this.chunkBlocks);
  }

  indexOf(block: number): number {
    return block + Math.floor(block / this.chunkBlocks);
  }

  bitmapIndexOf(chunk: number): number {
    return chunk * (this.chunkBlocks + 1) + this.chunkBlocks;
  }

  isBitmap(index: number): boolean {
    return index % (this.chunkBlocks + 1) === this.chunkBlocks;
  }

  /** The block of a payload entry; of a bitmap entry, the first block behind its chunk. */
  blockAt(index: number): number {
    return index - Math.floor(index / (this.chunkBlocks + 1));
  }
}

/** The block allocation table (BAT), read in pages when they are needed. */
export class VhdxBlockTable {
  readonly geometry: TableGeometry;
  readonly offsetBytes: number;
  readonly #source: ByteSource;
  readonly #pages = new Map<number, Promise<Page>>();

  constructor(source: ByteSource, region: VhdxRegion, metadata: VhdxMetadata) {
    const { virtualSizeBytes, blockBytes, logicalSectorBytes, parent } = metadata;
    this.geometry = new TableGeometry(virtualSizeBytes, blockBytes, logicalSectorBytes, parent !== undefined);
    this.offsetBytes = region.offsetBytes;
    this.#source = source;
  }

  /** Where an entry stands in the file. */
  entryOffset(index: number): number {
    return this.offsetBytes + index * TABLE_ENTRY_BYTES;
  }

  async entry(index: number): Promise<TableEntry> {
    const page = await this.#page(Math.floor(index / PAGE_ENTRIES));
    return entryOf(page, index);
  }

  /** The spans that cover the payload blocks [first, end), in order; spans end with the pages of the table. */
  async *spans(first: number, end: number, signal?: AbortSignal): AsyncGenerator<BlockSpan, void, undefined> {
    for (let block = first; block < end; ) {
      signal?.throwIfAborted();
      const page = await this.#page(Math.floor(this.geometry.indexOf(block) / PAGE_ENTRIES));
      const pageEnd = Math.min(end, this.geometry.blockAt(page.firstIndex + PAGE_ENTRIES));
      if (page.isEmpty) yield { kind: 'absent', first: block, end: pageEnd, fileBytes: 0 };
      else yield* this.#spansOf(page, block, pageEnd);
      block = pageEnd;
    }
  }

  *#spansOf(page: Page, first: number, end: number): Generator<BlockSpan, void, undefined> {
    const { blockBytes } = this.geometry;
    let open: BlockSpan | undefined;
    for (let block = first; block < end; block++) {
      const { state, fileBytes } = entryOf(page, this.geometry.indexOf(block));
      const kind = kindOf(state);
      if (open !== undefined && open.kind === kind && kind !== 'partial') {
        if (kind !== 'full' || fileBytes === open.fileBytes + (block - open.first) * blockBytes) {
          open = { ...open, end: block + 1 };
          continue;
        }
      }
      if (open !== undefined) yield open;
      open = { kind, first: block, end: block + 1, fileBytes };
    }
    if (open !== undefined) yield open;
  }

  /** The entries that are not all zero, sector bitmaps among them, in order and a page of the table at once. */
  async *usedPages(signal?: AbortSignal): AsyncGenerator<Iterable<IndexedEntry>, void, undefined> {
    const pageCount = ceilDivide(this.geometry.entryCount, PAGE_ENTRIES);
    for (let number = 0; number < pageCount; number++) {
      signal?.throwIfAborted();
      const page = await this.#page(number);
      if (!page.isEmpty) yield usedEntries(page);
    }
  }

  async #page(number: number): Promise<Page> {
    const pending = this.#pages.get(number) ?? this.#readPage(number);
    // Moved to the end: the map is in order of use.
    this.#pages.delete(number);
    this.#pages.set(number, pending);
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= TABLE_PAGE_CACHE_COUNT) break;
      this.#pages.delete(oldest);
    }
    try {
      return await pending;
    } catch (error) {
      this.#pages.delete(number);
      throw error;
    }
  }

  /** Shared by all that wait for it, so it is not bound to one caller's signal. */
  async #readPage(number: number): Promise<Page> {
    const firstIndex = number * PAGE_ENTRIES;
    const count = Math.min(PAGE_ENTRIES, this.geometry.entryCount - firstIndex);
    const bytes = await readStructure(
      this.#source,
      this.entryOffset(firstIndex),
      count * TABLE_ENTRY_BYTES,
      TABLE_STRUCTURE,
    );
    return { firstIndex, entries: viewOf(bytes), isEmpty: isZero(bytes) };
  }
}

function* usedEntries(page: Page): Generator<IndexedEntry, void, undefined> {
  const end = page.firstIndex + page.entries.byteLength / TABLE_ENTRY_BYTES;
  for (let index = page.firstIndex; index < end; index++) {
    const { state, fileBytes } = entryOf(page, index);
    if (state !== 0 || fileBytes !== 0) yield { index, state, fileBytes };
  }
}

/** Bits 0 to 2 are the state, bits 20 to 63 the place in MiB. Bits between are reserved. */
function entryOf({ firstIndex, entries }: Page, index: number): TableEntry {
  const at = (index - firstIndex) * TABLE_ENTRY_BYTES;
  const low = entries.getUint32(at, true);
  const high = entries.getUint32(at + 4, true);
  return { state: low % 8, fileBytes: (high * 4096 + Math.floor(low / MIB)) * MIB };
}

export function kindOf(state: number): BlockKind {
  if (state === 0) return 'absent';
  if (state === STATE_FULLY_PRESENT) return 'full';
  if (state === STATE_PARTIALLY_PRESENT) return 'partial';
  // 1 undefined, 2 zero, 3 unmapped; 5 was "unmapped" in version 0.95.
  return state === STATE_RESERVED ? 'invalid' : 'zero';
}
