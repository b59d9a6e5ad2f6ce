import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, requireInside } from '../../io/byte-source.ts';
import type { Qcow2Header } from './header.ts';
import { L1_CACHE_BYTES, L1_PAGE_BYTES, L2_CACHE_BYTES } from './limits.ts';
import { type LeasedTable, TableCache } from './table-cache.ts';

const TWO_32 = 2 ** 32;

/** Bits 9 to 55 of an L1 or L2 entry: a host offset. */
export function entryOffset(high: number, low: number): number {
  return (high & 0x00ffffff) * TWO_32 + ((low & 0xfffffe00) >>> 0);
}

/** Where the data of a compressed cluster stands: any byte, and the sectors that it touches. */
export interface CompressedPlace {
  readonly hostBytes: number;
  readonly sectorCount: number;
}

/**
 * An L2 entry with bit 62 set (specification, "Compressed Clusters Descriptor"): the offset takes the lower
 * 62 - (cluster_bits - 8) bits, the number of sectors beyond the first those above it.
 */
export function compressedPlace(high: number, low: number, clusterBits: number): CompressedPlace {
  const offsetHighValues = 2 ** (62 - (clusterBits - 8) - 32);
  const fields = high & 0x3fffffff;
  return {
    hostBytes: (fields % offsetHighValues) * TWO_32 + low,
    sectorCount: Math.floor(fields / offsetHighValues) + 1,
  };
}

/** An L2 table that exists, and the index of the L1 entry that names it. */
interface L2Place {
  readonly index: number;
  readonly offsetBytes: number;
}

const L1_STRUCTURE = 'qcow2 L1 table';
const PAGE_ENTRIES: number = L1_PAGE_BYTES / 8;

/** The L1 table, in parts, and the L2 tables that it names: read when needed and kept within a budget. */
export class Qcow2Tables {
  readonly #source: ByteSource;
  readonly #header: Qcow2Header;
  readonly #l1: TableCache;
  readonly #l2: TableCache;
  /** First entries of the parts of the L1 table that name nothing. */
  readonly #emptyPages = new Set<number>();

  private constructor(source: ByteSource, header: Qcow2Header) {
    this.#source = source;
    this.#header = header;
    this.#l1 = new TableCache(source, L1_CACHE_BYTES, L1_STRUCTURE);
    this.#l2 = new TableCache(source, L2_CACHE_BYTES, 'qcow2 L2 table');
  }

  static async open(source: ByteSource, header: Qcow2Header, signal?: AbortSignal): Promise<Qcow2Tables> {
    requireInside(source, header.l1OffsetBytes, header.l1EntryCount * 8, L1_STRUCTURE);
    const tables = new Qcow2Tables(source, header);
    await tables.#requireDistinctTables(source.lengthBytes, signal);
    return tables;
  }

  /**
   * One table under many entries would make a disk of any size, with data everywhere, out of a small file. Notes
   * the parts of the L1 table without any entry, too.
   */
  async #requireDistinctTables(fileBytes: number, signal: AbortSignal | undefined): Promise<void> {
    const { l1OffsetBytes, l1EntryCount, clusterBytes } = this.#header;
    // No more of them have a place of their own.
    const offsets = new OffsetList(Math.min(l1EntryCount, ceilDivide(fileBytes, clusterBytes)));
    const scratch = new Uint8Array(Math.min(l1EntryCount * 8, L1_PAGE_BYTES));
    for (let first = 0; first < l1EntryCount; first += PAGE_ENTRIES) {
      const bytes = scratch.subarray(0, (l1EntryCount - first) * 8);
      const isOnly = l1EntryCount <= PAGE_ENTRIES;
      if (!isOnly) await this.#source.read(l1OffsetBytes + first * 8, bytes, signal);
      const page = isOnly ? (await this.#page(0, signal)).page : viewOf(bytes);
      let isEmpty = true;
      for (let at = 0; at < page.byteLength; at += 8) {
        const offsetBytes = entryOffset(page.getUint32(at), page.getUint32(at + 4));
        if (offsetBytes === 0 && page.getBigUint64(at) === 0n) continue;
        isEmpty = false;
        // What stands beyond the end is refused when it is read.
        if (offsetBytes < fileBytes && !offsets.add(offsetBytes)) this.#refuseShared(offsetBytes);
      }
      if (isEmpty) this.#emptyPages.add(first);
    }
    const shared = offsets.duplicate();
    if (shared !== undefined) this.#refuseShared(shared);
  }

  #refuseShared(offsetBytes: number): never {
    throw new ImageError('IMAGE_MALFORMED', `two L1 entries name the L2 table at ${offsetBytes}`, {
      structure: L1_STRUCTURE,
      offsetBytes: this.#header.l1OffsetBytes,
      hint: 'the image is damaged or was made to mislead: do not use it',
    });
  }

  async #page(
    index: number,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly page: DataView; readonly firstEntry: number; readonly endEntry: number }> {
    const { l1OffsetBytes, l1EntryCount } = this.#header;
    const firstEntry = index - (index % PAGE_ENTRIES);
    const endEntry = Math.min(firstEntry + PAGE_ENTRIES, l1EntryCount);
    const lengthBytes = (endEntry - firstEntry) * 8;
    const page = await this.#l1.table(l1OffsetBytes + firstEntry * 8, lengthBytes, signal);
    return { page, firstEntry, endEntry };
  }

  /** The first L2 table that exists, of the L1 entries [from, end). Checks its entry. */
  async nextTable(from: number, end: number, signal?: AbortSignal): Promise<L2Place | undefined> {
    for (let index = from; index < end; ) {
      signal?.throwIfAborted();
      const pageStart = index - (index % PAGE_ENTRIES);
      if (this.#emptyPages.has(pageStart)) {
        index = pageStart + PAGE_ENTRIES;
        continue;
      }
      const { page, firstEntry, endEntry } = await this.#page(index, signal);
      for (; index < Math.min(endEntry, end); index++) {
        const at = (index - firstEntry) * 8;
        const high = page.getUint32(at);
        const low = page.getUint32(at + 4);
        if (high !== 0 || low !== 0) return { index, offsetBytes: this.#l2Offset(index, high, low) };
      }
    }
    return undefined;
  }

  #l2Offset(index: number, high: number, low: number): number {
    const offsetBytes = entryOffset(high, low);
    const place = { structure: L1_STRUCTURE, offsetBytes: this.#header.l1OffsetBytes + index * 8 };
    if ((high & 0x7f000000) !== 0 || (low & 0x1ff) !== 0 || offsetBytes === 0) {
      throw new ImageError('IMAGE_MALFORMED', `L1 entry ${index} has bits set that it may not have`, place);
    }
    if (offsetBytes % this.#header.clusterBytes !== 0) {
      throw new ImageError('IMAGE_MALFORMED', `L1 entry ${index} is not at a cluster's start`, place);
    }
    requireOutsideTables(this.#header, offsetBytes, `L1 entry ${index}`, place);
    return offsetBytes;
  }

  /** The L2 table at this host offset, from the cache or the file. To be released. */
  l2Table(hostOffsetBytes: number, signal?: AbortSignal): Promise<LeasedTable> {
    return this.#l2.lease(hostOffsetBytes, this.#header.clusterBytes, signal);
  }

  /** Begins to read the next table of the L1 entries [from, end): who walks over a disk needs it soon. */
  fetchAhead(from: number, end: number): void {
    // What arrives once is asked for in the order of the disk. What is wrong is said when its turn comes.
    if (this.#source.sequential === true || from >= end) return;
    this.nextTable(from, end)
      .then((next) => next && this.l2Table(next.offsetBytes))
      .then((leased) => leased?.release())
      .catch(() => {});
  }
}

/** Offsets of tables, to find two that are the same. */
class OffsetList {
  readonly #countMax: number;
  #offsets = new Float64Array(64);
  #count = 0;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  /** False when there are too many for all of them to differ. */
  add(offsetBytes: number): boolean {
    if (this.#count === this.#countMax) return false;
    if (this.#count === this.#offsets.length) {
      const grown = new Float64Array(this.#count * 2);
      grown.set(this.#offsets);
      this.#offsets = grown;
    }
    this.#offsets[this.#count++] = offsetBytes;
    return true;
  }

  duplicate(): number | undefined {
    const sorted = this.#offsets.subarray(0, this.#count).sort();
    return sorted.find((offsetBytes, i) => i > 0 && offsetBytes === sorted[i - 1]);
  }
}

/** Refuses a cluster that would be data or an L2 table on top of the header, the L1 or the refcount table. */
export function requireOutsideTables(
  header: Qcow2Header,
  hostOffsetBytes: number,
  what: string,
  place: { structure: string; offsetBytes: number },
): void {
  const end = hostOffsetBytes + header.clusterBytes;
  const overlaps = (start: number, lengthBytes: number) =>
    lengthBytes > 0 && hostOffsetBytes < start + lengthBytes && start < end;
  const refcountBytes = header.refcountTableClusters * header.clusterBytes;
  if (
    overlaps(0, header.clusterBytes) ||
    overlaps(header.l1OffsetBytes, header.l1EntryCount * 8) ||
    overlaps(header.refcountTableOffsetBytes, refcountBytes)
  ) {
    throw new ImageError('IMAGE_MALFORMED', `${what} points into the header or a table of the image`, {
      ...place,
      hint: 'the image is damaged or was made to mislead: do not use it',
    });
  }
}
