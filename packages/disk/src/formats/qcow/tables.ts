import type { ByteSource } from '../../io/byte-source.ts';
import { TableCache } from '../qcow2/table-cache.ts';
import type { QcowHeader } from './header.ts';
import { L1_PAGE_BYTES, TABLE_CACHE_BYTES } from './limits.ts';

const PAGE_ENTRIES: number = L1_PAGE_BYTES / 8;

/** A part of the L1 table. */
interface L1Page {
  readonly page: DataView;
  readonly firstEntry: number;
  readonly entryCount: number;
}

/** The tables of an image, read when needed, the L1 table in parts. */
export class QcowTables {
  readonly #header: QcowHeader;
  readonly #l1: TableCache;
  readonly #l2: TableCache;

  constructor(source: ByteSource, header: QcowHeader) {
    this.#header = header;
    this.#l1 = new TableCache(source, TABLE_CACHE_BYTES, 'qcow L1 table');
    this.#l2 = new TableCache(source, TABLE_CACHE_BYTES, 'qcow L2 table');
  }

  /** The part of the L1 table that holds this entry. */
  async l1Page(index: number, signal?: AbortSignal): Promise<L1Page> {
    const { l1OffsetBytes, l1EntryCount } = this.#header;
    const firstEntry = index - (index % PAGE_ENTRIES);
    const entryCount = Math.min(PAGE_ENTRIES, l1EntryCount - firstEntry);
    const page = await this.#l1.table(l1OffsetBytes + firstEntry * 8, entryCount * 8, signal);
    return { page, firstEntry, entryCount };
  }

  l2Table(offsetBytes: number, signal?: AbortSignal): Promise<DataView> {
    return this.#l2.table(offsetBytes, this.#header.l2TableBytes, signal);
  }
}
