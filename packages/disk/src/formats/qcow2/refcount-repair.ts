import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide } from '../../bytes/numbers.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { REFCOUNT_BYTES, refcountClusters } from './geometry.ts';
import type { Qcow2Header } from './header.ts';
import { type Patch, patchOf } from './patch.ts';
import { COUNT_CEILING, type HostClusterCounts, type StoredRefcounts, setRefcount } from './refcounts.ts';
import type { UseWalk } from './use-walk.ts';

/**
 * True when the counts that a walk found, those of the refcounts themselves included, can be written where the
 * refcounts stand: there is a block for every used cluster, nothing else stands on them, and they are wide enough.
 */
export function refcountsFit(header: Qcow2Header, stored: StoredRefcounts, walk: UseWalk): boolean {
  const { clusterBytes, refcountBits, refcountTableOffsetBytes, refcountTableClusters } = header;
  const { counts } = walk;
  const first = refcountTableOffsetBytes / clusterBytes;
  const own = [...stored.blocks.values()].map((offsetBytes) => offsetBytes / clusterBytes);
  for (let i = 0; i < refcountTableClusters; i++) own.push(first + i);
  if (own.some((index) => walk.isOverlapped(index) || counts.get(index) !== 1)) return false;
  const perBlock = (clusterBytes * 8) / refcountBits;
  const most = Math.min(COUNT_CEILING - 1, 2 ** refcountBits - 1);
  for (let index = 0; index < counts.clusterCount; index++) {
    const count = counts.get(index);
    if (count > most || (count > 0 && !stored.blocks.has(Math.floor(index / perBlock)))) return false;
  }
  return true;
}

/** What sets the refcounts to these counts where they stand. */
export async function refcountPatches(
  source: ByteSource,
  header: Qcow2Header,
  stored: StoredRefcounts,
  counts: HostClusterCounts,
  signal: AbortSignal | undefined,
): Promise<{ readonly patches: readonly Patch[]; readonly changedCount: number }> {
  const { clusterBytes, refcountBits } = header;
  const perBlock = (clusterBytes * 8) / refcountBits;
  const patches: Patch[] = [];
  let changedCount = 0;
  for (const [blockIndex, offsetBytes] of stored.blocks) {
    const before = await readStructure(source, offsetBytes, clusterBytes, 'qcow2 refcount block', signal);
    const after = before.slice();
    const first = blockIndex * perBlock;
    for (let i = 0; i < perBlock && first + i < counts.clusterCount; i++) {
      if (counts.get(first + i) !== stored.counts.get(first + i)) changedCount++;
      setRefcount(after, i, refcountBits, counts.get(first + i));
    }
    patches.push(...patchOf(offsetBytes, before, after));
  }
  return { patches, changedCount };
}

/** A refcount table of 16 bits and its blocks, to stand at the end of the file, themselves counted. */
export function appendedRefcounts(
  counts: HostClusterCounts,
  startBytes: number,
): { readonly bytes: Uint8Array; readonly tableClusters: number } {
  const { clusterBytes } = counts;
  const startCluster = ceilDivide(startBytes, clusterBytes);
  const { tableClusters, blockCount } = refcountClusters(clusterBytes, startCluster);
  const bytes = new Uint8Array((tableClusters + blockCount) * clusterBytes);
  const view = viewOf(bytes);
  for (let i = 0; i < blockCount; i++) {
    view.setBigUint64(i * 8, BigInt(startBytes + (tableClusters + i) * clusterBytes));
  }
  const endCluster = startCluster + tableClusters + blockCount;
  for (let index = 0; index < endCluster; index++) {
    const count = index < startCluster ? counts.get(index) : 1;
    view.setUint16(tableClusters * clusterBytes + index * REFCOUNT_BYTES, count);
  }
  return { bytes, tableClusters };
}
