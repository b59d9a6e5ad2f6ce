import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide } from '../../bytes/numbers.ts';
import { ImageError, StoreError } from '../../errors.ts';
import type { WritableFile } from '../../io/writable-file.ts';
import { REFCOUNT_BYTES } from './geometry.ts';
import type { Qcow2Header } from './header.ts';

/** Bits of an L2 entry, of its upper and its lower half. */
const COPIED_HIGH = 2 ** 31;
const COMPRESSED_HIGH = 2 ** 30;
const ZERO_LOW = 1;
/** L2 tables in memory; each stands for 512 MiB of the disk. */
const TABLE_COUNT_MAX = 128;

/** What an overlay says of one cluster; `hostBytes` is where it stands in the file, 0 nowhere. */
export interface ClusterState {
  readonly kind: 'data' | 'zero' | 'absent';
  readonly hostBytes: number;
}

const ABSENT: ClusterState = { kind: 'absent', hostBytes: 0 };

interface Table {
  readonly hostBytes: number;
  readonly bytes: Uint8Array;
  /** Entries that changed since the last commit, [from, to). */
  changedFrom: number;
  changedTo: number;
  /** L1 does not name it yet. */
  isNew: boolean;
}

/**
 * The tables of an overlay that is written to. New clusters go to the end of the file and stay there. The tables change
 * in memory; `commit` first makes durable what they name, then them, so that a crash at any point leaves the state of
 * the last commit, and at worst clusters that nobody uses.
 */
export class OverlayTables {
  readonly clusterBytes: number;
  readonly #file: WritableFile;
  readonly #header: Qcow2Header;
  readonly #l1: DataView;
  readonly #refcountTable: DataView;
  readonly #tables = new Map<number, Table>();
  readonly #loading = new Map<number, Promise<Table>>();
  #endCluster: number;
  /** After a failed sync nobody knows what the disk has. */
  #failure: unknown;
  #committing: Promise<void> | undefined;

  private constructor(
    file: WritableFile,
    header: Qcow2Header,
    l1: Uint8Array,
    refcountTable: Uint8Array,
    endCluster: number,
  ) {
    this.#file = file;
    this.#header = header;
    this.clusterBytes = header.clusterBytes;
    this.#l1 = viewOf(l1);
    this.#refcountTable = viewOf(refcountTable);
    this.#endCluster = endCluster;
  }

  static async open(file: WritableFile, header: Qcow2Header): Promise<OverlayTables> {
    const { clusterBytes } = header;
    const l1 = new Uint8Array(header.l1EntryCount * 8);
    await file.read(header.l1OffsetBytes, l1);
    const refcountTable = new Uint8Array(header.refcountTableClusters * clusterBytes);
    await file.read(header.refcountTableOffsetBytes, refcountTable);
    const endCluster = ceilDivide(await file.lengthBytes(), clusterBytes);
    return new OverlayTables(file, header, l1, refcountTable, endCluster);
  }

  /** Of a cluster; and how many clusters from it on are absent for sure, at least 1 when it is. */
  async state(cluster: number): Promise<ClusterState & { readonly absentCount: number }> {
    const { l2EntryCount } = this.#header;
    const index = Math.floor(cluster / l2EntryCount);
    const table = await this.#table(index);
    if (table === undefined) return { ...ABSENT, absentCount: l2EntryCount - (cluster % l2EntryCount) };
    const view = viewOf(table.bytes);
    const high = view.getUint32((cluster % l2EntryCount) * 8);
    const low = view.getUint32((cluster % l2EntryCount) * 8 + 4);
    if (high === 0 && low === 0) return { ...ABSENT, absentCount: 1 };
    const isCopied = high >= COPIED_HIGH;
    const place = isCopied ? high - COPIED_HIGH : high;
    const isZero = low % 2 === ZERO_LOW;
    const hostBytes = place * 2 ** 32 + (isZero ? low - ZERO_LOW : low);
    // Anything but what is written here comes from another program.
    const isForeign =
      place >= COMPRESSED_HIGH || hostBytes % this.clusterBytes !== 0 || isCopied !== hostBytes > 0;
    if (isForeign || hostBytes / this.clusterBytes >= this.#endCluster) {
      throw new ImageError(
        'IMAGE_UNSUPPORTED',
        `the overlay ${this.#file.name} was changed by another program`,
        {
          structure: 'qcow2 L2 entry',
          offsetBytes: table.hostBytes + (cluster % l2EntryCount) * 8,
          hint: 'convert it to an image of its own, then serve that',
        },
      );
    }
    return { kind: isZero ? 'zero' : 'data', hostBytes, absentCount: 0 };
  }

  /** Sets what a cluster is. One of zeros may keep its place in the file, for later. */
  async set(cluster: number, kind: 'data' | 'zero', hostBytes: number): Promise<void> {
    const { l2EntryCount } = this.#header;
    const table = await this.#tableToChange(Math.floor(cluster / l2EntryCount));
    const index = cluster % l2EntryCount;
    const view = viewOf(table.bytes);
    const high = Math.floor(hostBytes / 2 ** 32) + (hostBytes === 0 ? 0 : COPIED_HIGH);
    view.setUint32(index * 8, high);
    view.setUint32(index * 8 + 4, (hostBytes % 2 ** 32) + (kind === 'zero' ? ZERO_LOW : 0));
    table.changedFrom = Math.min(table.changedFrom, index);
    table.changedTo = Math.max(table.changedTo, index + 1);
  }

  /** Where so many new clusters begin, one behind the other. Nothing names them yet. */
  async allocate(count: number): Promise<number> {
    if (this.#failure !== undefined) throw this.#failure;
    const perBlock = this.clusterBytes / REFCOUNT_BYTES;
    for (;;) {
      const first = this.#endCluster;
      const lastBlock = Math.floor((first + count - 1) / perBlock);
      let missing = Math.floor(first / perBlock);
      while (missing <= lastBlock && this.#refcountBlock(missing) !== 0) missing++;
      if (missing > lastBlock) {
        await this.#countOnce(first, count);
        this.#endCluster += count;
        return first * this.clusterBytes;
      }
      await this.#addRefcountBlock(missing);
    }
  }

  /** Makes everything that was set durable. Throws StoreError; after that nothing can be written any more. */
  async commit(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    // One that is at work may have begun before the latest changes.
    await this.#committing?.catch(() => {});
    this.#committing ??= this.#commit().finally(() => {
      this.#committing = undefined;
    });
    await this.#committing;
  }

  async #commit(): Promise<void> {
    try {
      const changed = [...this.#tables].filter(([, table]) => table.changedFrom < table.changedTo);
      // As they are now: what is set from here on names data that the next sync does not cover.
      const writes = changed.map(([, table]) => {
        const [from, to] = table.isNew
          ? [0, table.bytes.length]
          : [table.changedFrom * 8, table.changedTo * 8];
        return { offsetBytes: table.hostBytes + from, bytes: table.bytes.slice(from, to) };
      });
      const added = changed.filter(([, table]) => table.isNew);
      for (const [, table] of changed) clean(table);
      await this.#file.sync();
      if (writes.length === 0) return;
      for (const { offsetBytes, bytes } of writes) await this.#file.write(offsetBytes, bytes);
      await this.#file.sync();
      if (added.length === 0) return;
      for (const [index, table] of added) {
        await this.#writeNumber(this.#header.l1OffsetBytes + index * 8, entryOf(table.hostBytes));
        table.isNew = false;
      }
      await this.#file.sync();
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  async #table(index: number): Promise<Table | undefined> {
    const known = this.#tables.get(index);
    if (known !== undefined) {
      this.#tables.delete(index);
      this.#tables.set(index, known);
      return known;
    }
    const hostBytes = Number(this.#l1.getBigUint64(index * 8) % 2n ** 56n);
    if (hostBytes === 0) return undefined;
    // Read once for all who ask: nobody is to keep an older state of it than others.
    const loading = this.#loading.get(index) ?? this.#load(index, hostBytes);
    this.#loading.set(index, loading);
    try {
      return await loading;
    } finally {
      this.#loading.delete(index);
    }
  }

  async #load(index: number, hostBytes: number): Promise<Table> {
    const bytes = new Uint8Array(this.clusterBytes);
    await this.#file.read(hostBytes, bytes);
    return this.#keep(index, { hostBytes, bytes, isNew: false, ...unchanged() });
  }

  async #tableToChange(index: number): Promise<Table> {
    const found = await this.#table(index);
    if (found !== undefined) return found;
    const hostBytes = await this.allocate(1);
    const bytes = new Uint8Array(this.clusterBytes);
    // Takes its room now: a full disk is to be told to who writes, not to who flushes.
    await this.#file.write(hostBytes, bytes);
    this.#l1.setBigUint64(index * 8, entryOf(hostBytes));
    return this.#keep(index, { hostBytes, bytes, isNew: true, ...unchanged() });
  }

  #keep(index: number, table: Table): Table {
    this.#tables.set(index, table);
    // What is being committed is in the file only at the end of that.
    if (this.#committing !== undefined) return table;
    for (const [oldest, each] of this.#tables) {
      if (this.#tables.size <= TABLE_COUNT_MAX) break;
      if (each !== table && !each.isNew && each.changedFrom >= each.changedTo) this.#tables.delete(oldest);
    }
    return table;
  }

  /** True when so many tables wait to be written that it is time to. */
  get isFull(): boolean {
    return this.#tables.size > TABLE_COUNT_MAX;
  }

  #refcountBlock(index: number): number {
    if (index * 8 >= this.#refcountTable.byteLength) {
      throw new StoreError('STORE_FULL', `the overlay ${this.#file.name} cannot become larger`, {
        where: this.#file.name,
        hint: 'convert it to an image of its own, then serve that',
      });
    }
    return Number(this.#refcountTable.getBigUint64(index * 8));
  }

  /** At the end of the file. It is durable before the table names it. */
  async #addRefcountBlock(index: number): Promise<void> {
    const perBlock = this.clusterBytes / REFCOUNT_BYTES;
    const cluster = this.#endCluster++;
    const offsetBytes = cluster * this.clusterBytes;
    const block = new Uint8Array(this.clusterBytes);
    const countsItself = Math.floor(cluster / perBlock) === index;
    if (countsItself) viewOf(block).setUint16((cluster % perBlock) * REFCOUNT_BYTES, 1);
    await this.#file.write(offsetBytes, block);
    if (!countsItself) await this.#countOnce(cluster, 1);
    await this.#file.sync();
    await this.#writeNumber(this.#header.refcountTableOffsetBytes + index * 8, BigInt(offsetBytes));
    this.#refcountTable.setBigUint64(index * 8, BigInt(offsetBytes));
  }

  /** Sets the refcounts of new clusters to one; their blocks are there. */
  async #countOnce(first: number, count: number): Promise<void> {
    const perBlock = this.clusterBytes / REFCOUNT_BYTES;
    for (let at = first; at < first + count; ) {
      const end = Math.min(first + count, (Math.floor(at / perBlock) + 1) * perBlock);
      const ones = new Uint8Array((end - at) * REFCOUNT_BYTES);
      for (let i = 1; i < ones.length; i += REFCOUNT_BYTES) ones[i] = 1;
      const block = this.#refcountBlock(Math.floor(at / perBlock));
      await this.#file.write(block + (at % perBlock) * REFCOUNT_BYTES, ones);
      at = end;
    }
  }

  async #writeNumber(offsetBytes: number, value: bigint): Promise<void> {
    const bytes = new Uint8Array(8);
    viewOf(bytes).setBigUint64(0, value);
    await this.#file.write(offsetBytes, bytes);
  }
}

/** An L1 entry: the place of a table that is used once. */
function entryOf(hostBytes: number): bigint {
  return BigInt(hostBytes) + (1n << 63n);
}

function unchanged(): { changedFrom: number; changedTo: number } {
  return { changedFrom: Number.POSITIVE_INFINITY, changedTo: 0 };
}

function clean(table: Table): void {
  Object.assign(table, unchanged());
}
