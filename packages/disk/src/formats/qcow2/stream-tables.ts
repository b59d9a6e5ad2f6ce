import { viewOf } from '../../bytes/fields.ts';
import { roundUp } from '../../bytes/numbers.ts';
import { invariant } from '../../errors.ts';
import type { ChunkPacker } from '../../view/chunk-packer.ts';
import type { Layout } from '../../view/layout.ts';
import { bytesRegion, regionsLayout, tableRegion } from '../../view/regions.ts';
import { placeAfter, storedEntry, touchedClusters } from './compressed-entry.ts';
import { type Qcow2Geometry, type RefcountPlace, refcountClusters } from './geometry.ts';
import { COPIED_BIT, refcountBlocksRegion, refcountTableRegion } from './layout.ts';
import { headerCluster } from './write-header.ts';

/** Numbers at the start of a saved state: next cluster, end of the file, index of the open table. */
const SAVED_NUMBERS = 3;

/**
 * The tables of a file that is written front to back: each L2 table behind the clusters of its range, refcounts
 * at the end, header and L1 in front, last. Memory: one L2 table, L1, and 2 bytes for each cluster of the file.
 */
export class StreamTables {
  readonly #geometry: Qcow2Geometry;
  readonly #l1: Float64Array;
  readonly #refcounts = new HostRefcounts();
  #table: Uint8Array;
  /** Index of the L2 table that clusters go to; -1 before the first. */
  #tableIndex = -1;

  constructor(geometry: Qcow2Geometry) {
    this.#geometry = geometry;
    this.#l1 = new Float64Array(geometry.l1EntryCount);
    this.#table = new Uint8Array(geometry.clusterBytes);
    this.#refcounts.fill(0, this.frontBytes / geometry.clusterBytes);
  }

  /** Header and L1. */
  get frontBytes(): number {
    return (1 + this.#geometry.l1Clusters) * this.#geometry.clusterBytes;
  }

  /** Appends the stored bytes of a cluster, which are lent; clusters come in guest order. */
  add(out: ChunkPacker, cluster: number, bytes: Uint8Array): void {
    const { clusterBytes, l2EntryCount } = this.#geometry;
    const tableIndex = Math.floor(cluster / l2EntryCount);
    if (tableIndex !== this.#tableIndex) {
      this.closeTable(out);
      this.#tableIndex = tableIndex;
    }
    // The packer is told to give nothing compressed of a cluster's length.
    const isPlain = bytes.length === clusterBytes;
    const offsetBytes = placeAfter(out.endBytes, isPlain, clusterBytes);
    padTo(out, offsetBytes);
    out.lend(bytes);
    const entry = storedEntry(offsetBytes, bytes.length, isPlain, clusterBytes);
    viewOf(this.#table).setBigUint64((cluster % l2EntryCount) * 8, entry);
    const touched = touchedClusters(offsetBytes, bytes.length, clusterBytes);
    for (let i = touched.first; i <= touched.last; i++) this.#refcounts.add(i);
  }

  /** Appends the table of the range that ends here. What is stored before it ends at a cluster's end. */
  closeTable(out: ChunkPacker): void {
    if (this.#tableIndex < 0) return;
    const { clusterBytes } = this.#geometry;
    padTo(out, roundUp(out.endBytes, clusterBytes));
    this.#l1[this.#tableIndex] = out.endBytes;
    this.#refcounts.add(out.endBytes / clusterBytes);
    out.append(this.#table);
    this.#table = new Uint8Array(clusterBytes);
    this.#tableIndex = -1;
  }

  /** Where the refcounts go once the last table is closed. */
  refcountPlace(endBytes: number): RefcountPlace {
    const { clusterBytes } = this.#geometry;
    return { offsetBytes: endBytes, ...refcountClusters(clusterBytes, endBytes / clusterBytes) };
  }

  /** The refcount table and its blocks. */
  end(place: RefcountPlace): Layout {
    const { clusterBytes } = this.#geometry;
    const first = place.offsetBytes / clusterBytes;
    const end = first + place.tableClusters + place.blockCount;
    this.#refcounts.fill(first, end);
    return regionsLayout('qcow2', [
      refcountTableRegion(clusterBytes, place),
      refcountBlocksRegion(clusterBytes, place, end, (index) => this.#refcounts.get(index)),
    ]);
  }

  front(place: RefcountPlace, version: 2 | 3, zstd: boolean): Layout {
    const { clusterBytes, l1Clusters, l1EntryCount } = this.#geometry;
    const fields = { version, zstd, l1OffsetBytes: clusterBytes, refcounts: place };
    return regionsLayout('qcow2', [
      bytesRegion(headerCluster(this.#geometry, fields)),
      tableRegion((l1Clusters * clusterBytes) / 8, 8, (first, count, bytes) => {
        const view = viewOf(bytes);
        for (let i = 0; i < count && first + i < l1EntryCount; i++) {
          const offsetBytes = this.#l1[first + i] ?? 0;
          if (offsetBytes !== 0) view.setBigUint64(i * 8, BigInt(offsetBytes) | COPIED_BIT);
        }
      }),
    ]);
  }

  /** What `restore` needs when the file ends here and clusters before this one are done. */
  save(nextCluster: number, endBytes: number): Uint8Array {
    const { clusterBytes, l1EntryCount } = this.#geometry;
    const refcounts = this.#refcounts.bytes(Math.ceil(endBytes / clusterBytes));
    const saved = new Uint8Array((SAVED_NUMBERS + l1EntryCount) * 8 + clusterBytes + refcounts.length);
    const view = viewOf(saved);
    for (const [i, number] of [nextCluster, endBytes, this.#tableIndex].entries())
      view.setFloat64(i * 8, number);
    for (const [i, offsetBytes] of this.#l1.entries()) view.setFloat64((SAVED_NUMBERS + i) * 8, offsetBytes);
    const tableAt = (SAVED_NUMBERS + l1EntryCount) * 8;
    saved.set(this.#table, tableAt);
    saved.set(refcounts, tableAt + clusterBytes);
    return saved;
  }

  restore(saved: Uint8Array): { readonly nextCluster: number; readonly endBytes: number } {
    const { clusterBytes, l1EntryCount } = this.#geometry;
    const view = viewOf(saved);
    const tableAt = (SAVED_NUMBERS + l1EntryCount) * 8;
    invariant(saved.length >= tableAt + clusterBytes, 'a checkpoint belongs to the same plan');
    const nextCluster = view.getFloat64(0);
    const endBytes = view.getFloat64(8);
    this.#tableIndex = view.getFloat64(16);
    for (let i = 0; i < l1EntryCount; i++) this.#l1[i] = view.getFloat64((SAVED_NUMBERS + i) * 8);
    this.#table = saved.slice(tableAt, tableAt + clusterBytes);
    this.#refcounts.setBytes(saved.subarray(tableAt + clusterBytes));
    return { nextCluster, endBytes };
  }
}

function padTo(out: ChunkPacker, offsetBytes: number): void {
  if (offsetBytes > out.endBytes) out.appendZeros(offsetBytes - out.endBytes);
}

const PAGE_ENTRIES = 65536;

/** The refcounts of a file that grows, in pages. */
class HostRefcounts {
  readonly #pages: Uint16Array[] = [];

  get(index: number): number {
    return this.#pages[Math.floor(index / PAGE_ENTRIES)]?.[index % PAGE_ENTRIES] ?? 0;
  }

  add(index: number): void {
    const page = this.#page(index);
    page[index % PAGE_ENTRIES] = (page[index % PAGE_ENTRIES] ?? 0) + 1;
  }

  /** Ones from `first` to `end`. */
  fill(first: number, end: number): void {
    for (let index = first; index < end; index++) this.#page(index)[index % PAGE_ENTRIES] = 1;
  }

  /** The first `count` refcounts, 2 bytes each. */
  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count * 2);
    const view = viewOf(bytes);
    for (let i = 0; i < count; i++) view.setUint16(i * 2, this.get(i));
    return bytes;
  }

  setBytes(bytes: Uint8Array): void {
    const view = viewOf(bytes);
    for (let i = 0; i < bytes.length / 2; i++) this.#page(i)[i % PAGE_ENTRIES] = view.getUint16(i * 2);
  }

  #page(index: number): Uint16Array {
    const pageIndex = Math.floor(index / PAGE_ENTRIES);
    while (this.#pages.length <= pageIndex) this.#pages.push(new Uint16Array(PAGE_ENTRIES));
    return this.#pages[pageIndex] ?? new Uint16Array(PAGE_ENTRIES);
  }
}
