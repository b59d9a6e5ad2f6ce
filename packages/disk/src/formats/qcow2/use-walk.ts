import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide } from '../../bytes/numbers.ts';
import { type ByteSource, readStructure, requireInside } from '../../io/byte-source.ts';
import type { Findings } from '../findings.ts';
import type { HostRun } from './bitmaps.ts';
import type { Qcow2Header } from './header.ts';
import { L1_PAGE_BYTES } from './limits.ts';
import { HostClusterCounts } from './refcounts.ts';
import type { L1Place } from './snapshots.ts';
import { compressedPlace, entryOffset } from './tables.ts';

const L1_STRUCTURE = 'qcow2 L1 table';
const L2_STRUCTURE = 'qcow2 L2 table';

/** What a host cluster was met as. */
const ROLE = { table: 1, l2Table: 2, activeL2Table: 4, overlapped: 8 } as const;

/**
 * Counts how often each host cluster is used. Tables first: what is claimed for one belongs to it alone. Each
 * L2 table is walked once, with the number of L1 entries that name it, so that the work is bounded by the
 * file's length however its tables point at each other.
 */
export class UseWalk {
  readonly counts: HostClusterCounts;
  readonly #source: ByteSource;
  readonly #header: Qcow2Header;
  readonly #stored: HostClusterCounts | undefined;
  readonly #findings: Findings;
  readonly #roles: Uint8Array;
  #namesBeyondEnd = false;

  /** COPIED flags are compared with the stored refcounts; not at all without them. */
  constructor(
    source: ByteSource,
    header: Qcow2Header,
    stored: HostClusterCounts | undefined,
    findings: Findings,
  ) {
    this.counts = new HostClusterCounts(source, header.clusterBytes);
    this.#source = source;
    this.#header = header;
    this.#stored = stored;
    this.#findings = findings;
    this.#roles = new Uint8Array(this.counts.clusterCount);
  }

  /** One use of every cluster that a table, or other metadata, touches. */
  claim({ offsetBytes, lengthBytes }: HostRun, structure: string): void {
    for (const index of this.#clusters(offsetBytes, lengthBytes, structure)) {
      if (this.#roles[index] !== 0) this.#overlap(structure, index);
      this.#roles[index] = (this.#roles[index] ?? 0) | ROLE.table;
      this.counts.add(index, 1);
    }
  }

  /** One use of an L1 table, and one of each L2 table that it names. */
  async l1({ offsetBytes, entryCount }: L1Place, isActive: boolean, signal?: AbortSignal): Promise<void> {
    const lengthBytes = entryCount * 8;
    requireInside(this.#source, offsetBytes, lengthBytes, L1_STRUCTURE);
    this.claim({ offsetBytes, lengthBytes }, L1_STRUCTURE);
    const part = new Uint8Array(Math.min(lengthBytes, L1_PAGE_BYTES));
    for (let done = 0; done < lengthBytes; done += part.length) {
      const bytes = part.subarray(0, lengthBytes - done);
      await this.#source.read(offsetBytes + done, bytes, signal);
      this.#l1Part(viewOf(bytes), offsetBytes + done, isActive);
    }
  }

  #l1Part(table: DataView, offsetBytes: number, isActive: boolean): void {
    for (let at = 0; at < table.byteLength; at += 8) {
      const high = table.getUint32(at);
      const low = table.getUint32(at + 4);
      if (high === 0 && low === 0) continue;
      const place = offsetBytes + at;
      if ((high & 0x7f000000) !== 0 || (low & 0x1ff) !== 0) this.#reservedBits(L1_STRUCTURE, place);
      const l2Offset = entryOffset(high, low);
      if (l2Offset !== 0) this.#nameL2(l2Offset, high, isActive, place);
      else this.#corruption(L1_STRUCTURE, 'an L2 table that exists has no place', place);
    }
  }

  #nameL2(l2Offset: number, high: number, isActive: boolean, at: number): void {
    const { clusterBytes } = this.#header;
    if (!this.#isAligned(l2Offset, L1_STRUCTURE, at)) return;
    if (l2Offset + clusterBytes > this.#source.lengthBytes) {
      this.#namesBeyondEnd = true;
      this.#corruption(
        L1_STRUCTURE,
        `an entry names ${l2Offset}, but the file ends before a table there`,
        at,
      );
      return;
    }
    const index = l2Offset / clusterBytes;
    const role = this.#roles[index] ?? 0;
    if ((role & ROLE.table) !== 0) this.#overlap(L2_STRUCTURE, index);
    this.#roles[index] = role | ROLE.l2Table | (isActive ? ROLE.activeL2Table : 0);
    this.counts.add(index, 1);
    if (isActive) this.#copiedFlag(high, index, L1_STRUCTURE, at);
  }

  /** Walks every L2 table that an L1 table named. Call once, after all other tables are claimed. */
  async l2Tables(signal?: AbortSignal): Promise<void> {
    const { clusterBytes } = this.#header;
    for (let index = 0; index < this.counts.clusterCount; index++) {
      const role = this.#roles[index] ?? 0;
      if ((role & ROLE.l2Table) === 0) continue;
      const uses = this.counts.get(index);
      const table = await readStructure(
        this.#source,
        index * clusterBytes,
        clusterBytes,
        L2_STRUCTURE,
        signal,
      );
      this.#l2(table, index * clusterBytes, uses, (role & ROLE.activeL2Table) !== 0);
    }
  }

  #l2(bytes: Uint8Array, tableOffset: number, uses: number, isActive: boolean): void {
    const { clusterBits, clusterBytes, extendedL2, l2EntryBytes, l2EntryCount } = this.#header;
    const table = viewOf(bytes);
    for (let i = 0; i < l2EntryCount; i++) {
      const high = table.getUint32(i * l2EntryBytes);
      const low = table.getUint32(i * l2EntryBytes + 4);
      const at = tableOffset + i * l2EntryBytes;
      const zeros = extendedL2 ? table.getUint32(i * 16 + 8) : 0;
      const allocated = extendedL2 ? table.getUint32(i * 16 + 12) : 0;
      if ((high & 0x40000000) !== 0) {
        if (high >= 0x80000000) this.#corruption(L2_STRUCTURE, 'a compressed cluster is marked COPIED', at);
        if (zeros !== 0 || allocated !== 0)
          this.#corruption(L2_STRUCTURE, 'a compressed cluster has subclusters', at);
        const { hostBytes, sectorCount } = compressedPlace(high, low, clusterBits);
        const start = hostBytes - (hostBytes % 512);
        // The last sectors need not all be there: the data may end before them.
        const lengthBytes = Math.min(sectorCount * 512, Math.max(1, this.#source.lengthBytes - start));
        this.#useData(start, lengthBytes, uses, 'qcow2 compressed cluster');
        continue;
      }
      if ((high & 0x3f000000) !== 0 || (low & this.#reservedLowBits()) !== 0)
        this.#reservedBits(L2_STRUCTURE, at);
      if ((zeros & allocated) !== 0)
        this.#corruption(L2_STRUCTURE, 'a subcluster is both allocated and zero', at);
      const hostBytes = entryOffset(high, low);
      if (hostBytes === 0) {
        const isZero = !extendedL2 && (low & 1) !== 0;
        if (allocated !== 0 || (high >= 0x80000000 && !isZero))
          this.#corruption(L2_STRUCTURE, 'an allocated cluster has no place', at);
      } else if (this.#isAligned(hostBytes, L2_STRUCTURE, at)) {
        this.#useData(hostBytes, clusterBytes, uses, 'qcow2 data cluster');
        if (isActive) this.#copiedFlag(high, hostBytes / clusterBytes, L2_STRUCTURE, at);
      }
    }
  }

  /** True when an entry names a place behind the last cluster: what is appended could come to stand there. */
  get namesBeyondEnd(): boolean {
    return this.#namesBeyondEnd;
  }

  /** True when something else stands on a table in this cluster too. */
  isOverlapped(index: number): boolean {
    return ((this.#roles[index] ?? 0) & ROLE.overlapped) !== 0;
  }

  /** The clusters with L2 tables of the active state that nothing else stands on. */
  *activeL2Clusters(): Iterable<number> {
    for (let index = 0; index < this.counts.clusterCount; index++) {
      if (((this.#roles[index] ?? 0) & ROLE.activeL2Table) !== 0 && !this.isOverlapped(index)) yield index;
    }
  }

  /** Bit 0 is the zero flag where the version knows it and there are no subclusters. */
  #reservedLowBits(): number {
    return this.#header.version === 3 && !this.#header.extendedL2 ? 0x1fe : 0x1ff;
  }

  #useData(offsetBytes: number, lengthBytes: number, uses: number, structure: string): void {
    for (const index of this.#clusters(offsetBytes, lengthBytes, structure)) {
      if (this.#roles[index] !== 0) this.#overlap(structure, index);
      this.counts.add(index, uses);
    }
  }

  /** The clusters that a range touches; what lies beyond the end of the file is a finding. */
  *#clusters(offsetBytes: number, lengthBytes: number, structure: string): Iterable<number> {
    const { clusterBytes, clusterCount } = this.counts;
    const first = Math.floor(offsetBytes / clusterBytes);
    const last = Math.max(first, ceilDivide(offsetBytes + lengthBytes, clusterBytes) - 1);
    if (lengthBytes === 0) return;
    if (last >= clusterCount) {
      this.#namesBeyondEnd = true;
      const missing = Math.max(first, clusterCount) * clusterBytes;
      this.#corruption(structure, 'it stands beyond the end of the file', missing);
    }
    for (let index = first; index <= Math.min(last, clusterCount - 1); index++) yield index;
  }

  #isAligned(hostBytes: number, structure: string, at: number): boolean {
    if (hostBytes % this.#header.clusterBytes === 0) return true;
    this.#corruption(structure, `an entry names ${hostBytes}, not a cluster's start`, at);
    return false;
  }

  #copiedFlag(high: number, index: number, structure: string, at: number): void {
    const copied = high >= 0x80000000;
    if (this.#stored === undefined || index >= this.counts.clusterCount) return;
    if (copied === (this.#stored.get(index) === 1)) return;
    this.#corruption(structure, `the COPIED flag is ${copied ? '' : 'not '}set against the refcount`, at);
  }

  #reservedBits(structure: string, at: number): void {
    this.#corruption(structure, 'an entry has reserved bits set', at);
  }

  #overlap(structure: string, index: number): void {
    this.#roles[index] = (this.#roles[index] ?? 0) | ROLE.overlapped;
    this.#corruption(structure, 'it stands on top of another table', index * this.#header.clusterBytes);
  }

  #corruption(structure: string, message: string, offsetBytes: number): void {
    this.#findings.add('corruption', structure, message, offsetBytes);
  }
}
