import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { Qcow2Header } from './header.ts';
import { L2_CACHE_BYTES } from './limits.ts';
import { TableCache } from './table-cache.ts';

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

/** The L1 table and the L2 tables that it names, these read when needed and kept within a budget. */
export class Qcow2Tables {
  readonly #header: Qcow2Header;
  readonly #l1: DataView;
  readonly #l2: TableCache;

  private constructor(source: ByteSource, header: Qcow2Header, l1: Uint8Array) {
    this.#header = header;
    this.#l1 = viewOf(l1);
    this.#l2 = new TableCache(source, L2_CACHE_BYTES, 'qcow2 L2 table');
  }

  static async open(source: ByteSource, header: Qcow2Header, signal?: AbortSignal): Promise<Qcow2Tables> {
    const { l1OffsetBytes, l1EntryCount } = header;
    const l1 = await readStructure(source, l1OffsetBytes, l1EntryCount * 8, 'qcow2 L1 table', signal);
    const tables = new Qcow2Tables(source, header, l1);
    tables.#requireDistinctTables();
    return tables;
  }

  /** One table under many entries would make a disk of any size, with data everywhere, out of a small file. */
  #requireDistinctTables(): void {
    const { clusterBytes, l2EntryCount, virtualSizeBytes } = this.#header;
    const entryCount = ceilDivide(virtualSizeBytes, clusterBytes * l2EntryCount);
    const offsets = new Float64Array(entryCount);
    for (let i = 0; i < entryCount; i++) {
      offsets[i] = entryOffset(this.#l1.getUint32(i * 8), this.#l1.getUint32(i * 8 + 4));
    }
    offsets.sort();
    for (let i = 1; i < entryCount; i++) {
      if (offsets[i] === 0 || offsets[i] !== offsets[i - 1]) continue;
      throw new ImageError('IMAGE_MALFORMED', `two L1 entries name the L2 table at ${offsets[i]}`, {
        structure: 'qcow2 L1 table',
        offsetBytes: this.#header.l1OffsetBytes,
        hint: 'the image is damaged or was made to mislead: do not use it',
      });
    }
  }

  /** Host offset of an L2 table, 0 when there is none. Checks the entry. */
  l2Offset(l1Index: number): number {
    const high = this.#l1.getUint32(l1Index * 8);
    const low = this.#l1.getUint32(l1Index * 8 + 4);
    const offsetBytes = entryOffset(high, low);
    const place = { structure: 'qcow2 L1 table', offsetBytes: this.#header.l1OffsetBytes + l1Index * 8 };
    if ((high & 0x7f000000) !== 0 || (low & 0x1ff) !== 0 || (offsetBytes === 0 && high !== 0)) {
      throw new ImageError('IMAGE_MALFORMED', `L1 entry ${l1Index} has bits set that it may not have`, place);
    }
    if (offsetBytes % this.#header.clusterBytes !== 0) {
      throw new ImageError('IMAGE_MALFORMED', `L1 entry ${l1Index} is not at a cluster's start`, place);
    }
    if (offsetBytes !== 0) requireOutsideTables(this.#header, offsetBytes, `L1 entry ${l1Index}`, place);
    return offsetBytes;
  }

  /** The L2 table at this host offset, from the cache or the file. */
  l2Table(hostOffsetBytes: number, signal?: AbortSignal): Promise<DataView> {
    return this.#l2.table(hostOffsetBytes, this.#header.clusterBytes, signal);
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
