import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide } from '../../bytes/numbers.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { Findings } from '../findings.ts';
import type { CheckReport, OpenOptions } from '../format.ts';
import { type Qcow2Header, readHeader } from './header.ts';
import { HostClusterCounts, readRefcounts } from './refcounts.ts';
import { type L1Place, readBitmapClusters, readSnapshots } from './snapshots.ts';
import { entryOffset } from './tables.ts';

/**
 * Walks every table, counts how often each host cluster is used and compares that with the refcounts that
 * the file keeps: too low is corruption (a writer would reuse the cluster), too high a leak. Clusters that
 * are used twice, lie beyond the end or carry a wrong COPIED flag are corruption. Snapshots and bitmaps
 * count. Throws ImageError only where no walk is possible: the header, the L1 or the refcount table.
 */
export async function checkQcow2(source: ByteSource, options: OpenOptions): Promise<CheckReport> {
  const header = await readHeader(source, options.signal);
  const findings = new Findings();
  if (header.dirty)
    findings.add('warning', 'qcow2 header', 'the dirty bit is set: refcounts may be behind', 72);
  const stored = await readRefcounts(source, header, findings, options.signal);
  const walk = new UseWalk(source, header, stored.counts, findings);
  walk.use(0, header.clusterBytes, 'qcow2 header');
  const refcountTableBytes = header.refcountTableClusters * header.clusterBytes;
  walk.use(header.refcountTableOffsetBytes, refcountTableBytes, 'qcow2 refcount table');
  for (const offset of stored.blockOffsets) walk.use(offset, header.clusterBytes, 'qcow2 refcount block');
  const active: L1Place = { offsetBytes: header.l1OffsetBytes, entryCount: header.l1EntryCount };
  await walk.l1(active, true, options.signal);
  const snapshots = await readSnapshots(source, header, options.signal);
  walk.use(header.snapshotsOffsetBytes, snapshots.tableBytes, 'qcow2 snapshot table');
  for (const place of snapshots.l1Places) await walk.l1(place, false, options.signal);
  for (const run of await readBitmapClusters(source, header, options.signal)) {
    walk.use(run.offsetBytes, run.lengthBytes, 'qcow2 bitmap');
  }
  compareCounts(walk.counts, stored.counts, findings);
  return findings.report('qcow2');
}

function compareCounts(used: HostClusterCounts, stored: HostClusterCounts, findings: Findings): void {
  for (let i = 0; i < used.clusterCount; i++) {
    const uses = used.get(i);
    const count = stored.get(i);
    if (uses === count) continue;
    const severity = uses > count ? 'corruption' : 'leak';
    const message = `cluster ${i} is used ${uses} times and counted ${count} times`;
    findings.add(severity, 'qcow2 refcounts', message, i * used.clusterBytes);
  }
}

class UseWalk {
  readonly counts: HostClusterCounts;
  readonly #source: ByteSource;
  readonly #header: Qcow2Header;
  readonly #stored: HostClusterCounts;
  readonly #findings: Findings;

  constructor(source: ByteSource, header: Qcow2Header, stored: HostClusterCounts, findings: Findings) {
    this.counts = new HostClusterCounts(source, header.clusterBytes);
    this.#source = source;
    this.#header = header;
    this.#stored = stored;
    this.#findings = findings;
  }

  /** Counts one use of every host cluster that the range touches. */
  use(offsetBytes: number, lengthBytes: number, structure: string): void {
    const { clusterBytes, clusterCount } = this.counts;
    const end = ceilDivide(offsetBytes + lengthBytes, clusterBytes);
    for (let i = Math.floor(offsetBytes / clusterBytes); i < end; i++) {
      if (i >= clusterCount) {
        this.#findings.add('corruption', structure, `it stands beyond the end of the file`, i * clusterBytes);
        return;
      }
      this.counts.increment(i);
    }
  }

  async l1({ offsetBytes, entryCount }: L1Place, isActive: boolean, signal?: AbortSignal): Promise<void> {
    const table = viewOf(
      await readStructure(this.#source, offsetBytes, entryCount * 8, 'qcow2 L1 table', signal),
    );
    this.use(offsetBytes, entryCount * 8, 'qcow2 L1 table');
    for (let i = 0; i < entryCount; i++) {
      signal?.throwIfAborted();
      const high = table.getUint32(i * 8);
      const low = table.getUint32(i * 8 + 4);
      const l2Offset = entryOffset(high, low);
      if (l2Offset === 0) continue;
      const at = offsetBytes + i * 8;
      if (!this.#isWholeCluster(l2Offset, 'qcow2 L1 table', at)) continue;
      if (isActive) this.#copiedFlag(high, l2Offset, 'qcow2 L1 table', at);
      await this.#l2(l2Offset, isActive, signal);
    }
  }

  async #l2(l2Offset: number, isActive: boolean, signal?: AbortSignal): Promise<void> {
    const { clusterBytes, clusterBits, l2EntryBytes, l2EntryCount } = this.#header;
    const table = viewOf(await readStructure(this.#source, l2Offset, clusterBytes, 'qcow2 L2 table', signal));
    this.use(l2Offset, clusterBytes, 'qcow2 L2 table');
    const offsetHighBits = 62 - (clusterBits - 8) - 32;
    for (let i = 0; i < l2EntryCount; i++) {
      const high = table.getUint32(i * l2EntryBytes);
      const low = table.getUint32(i * l2EntryBytes + 4);
      if (high === 0 && low < 2) continue;
      const at = l2Offset + i * l2EntryBytes;
      if ((high & 0x40000000) !== 0) {
        const hostBytes = ((high & (2 ** offsetHighBits - 1)) >>> 0) * 2 ** 32 + low;
        const sectors = Math.floor((high & 0x3fffffff) / 2 ** offsetHighBits) + 1;
        if (high >= 0x80000000) {
          this.#findings.add('corruption', 'qcow2 L2 table', 'a compressed cluster has the COPIED flag', at);
        }
        const start = hostBytes - (hostBytes % 512);
        const length = Math.min(sectors * 512, Math.max(1, this.#source.lengthBytes - start));
        this.use(start, length, 'qcow2 compressed cluster');
        continue;
      }
      const hostBytes = entryOffset(high, low);
      if (hostBytes === 0 || !this.#isWholeCluster(hostBytes, 'qcow2 L2 table', at)) continue;
      if (isActive) this.#copiedFlag(high, hostBytes, 'qcow2 L2 table', at);
      this.#useOnce(hostBytes, at);
    }
  }

  /** Without snapshots no cluster of data belongs to two places, whatever its refcount says. */
  #useOnce(hostBytes: number, at: number): void {
    const index = hostBytes / this.#header.clusterBytes;
    if (this.#header.snapshotCount === 0 && this.counts.get(index) > 0) {
      this.#findings.add('corruption', 'qcow2 L2 table', `the cluster at ${hostBytes} is used twice`, at);
    }
    this.use(hostBytes, this.#header.clusterBytes, 'qcow2 data cluster');
  }

  #isWholeCluster(hostBytes: number, structure: string, at: number): boolean {
    const { clusterBytes } = this.#header;
    if (hostBytes % clusterBytes !== 0) {
      this.#findings.add('corruption', structure, `an entry names ${hostBytes}, not a cluster's start`, at);
      return false;
    }
    if (hostBytes >= this.#source.lengthBytes) {
      this.#findings.add(
        'corruption',
        structure,
        `an entry names ${hostBytes}, beyond the end of the file`,
        at,
      );
      return false;
    }
    return true;
  }

  #copiedFlag(high: number, hostBytes: number, structure: string, at: number): void {
    const copied = high >= 0x80000000;
    const countedOnce = this.#stored.get(hostBytes / this.#header.clusterBytes) === 1;
    if (copied === countedOnce) return;
    this.#findings.add(
      'corruption',
      structure,
      `the COPIED flag is ${copied ? '' : 'not '}set against the refcount`,
      at,
    );
  }
}
