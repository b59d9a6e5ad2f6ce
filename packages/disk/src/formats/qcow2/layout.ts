import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import { usedBlocksRegion } from '../../view/disk-regions.ts';
import type { Layout } from '../../view/layout.ts';
import { bytesRegion, type Region, recordsRegion, regionsLayout, tableRegion } from '../../view/regions.ts';
import { type Qcow2Geometry, qcow2Geometry, REFCOUNT_BYTES } from './geometry.ts';
import { headerCluster } from './write-header.ts';

/** The COPIED flag, bit 63 of an entry: refcount is exactly one. */
export const COPIED_BIT: bigint = 1n << 63n;

export interface Qcow2LayoutOptions {
  readonly version: 2 | 3;
  readonly clusterBytes: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A qcow2 file without compression, every allocated cluster in guest order. No feature bits, no zero flags,
 * no snapshots: what VirtualBox's reader takes too.
 */
export async function qcow2Layout(disk: Disk, options: Qcow2LayoutOptions): Promise<Layout> {
  const { clusterBytes } = options;
  const map = await AllocationMap.ofDisk(disk, clusterBytes, options);
  const tables = usedTables(map, clusterBytes / 8);
  const virtualSizeBytes = roundUp(disk.virtualSizeBytes, SECTOR_BYTES);
  const geometry = qcow2Geometry(virtualSizeBytes, clusterBytes, tables.usedCount, map.usedCount);
  const clusterCount = geometry.dataOffsetBytes / clusterBytes + map.usedCount;
  return regionsLayout('qcow2', [
    bytesRegion(headerCluster(geometry, options.version, false)),
    refcountTableRegion(geometry),
    refcountBlocksRegion(geometry, (index) => (index < clusterCount ? 1 : 0)),
    l1Region(geometry, tables),
    l2Region(geometry, map, tables),
    usedBlocksRegion(map),
  ]);
}

/** Which L2 tables a map needs; its blocks are the guest ranges of one table each. */
export function usedTables(map: AllocationMap, l2EntryCount: number): AllocationMap {
  const tableCount = ceilDivide(map.blockCount, l2EntryCount);
  function* used(): Iterable<number> {
    for (let i = 0; i < tableCount; i++) if (map.hasAny(i * l2EntryCount, (i + 1) * l2EntryCount)) yield i;
  }
  return AllocationMap.ofBlocks(map.blockBytes * l2EntryCount, tableCount, used());
}

export function refcountTableRegion(geometry: Qcow2Geometry): Region {
  const { clusterBytes, refcountTableClusters, refcountBlockCount } = geometry;
  return tableRegion((refcountTableClusters * clusterBytes) / 8, 8, (first, count, bytes) => {
    const view = viewOf(bytes);
    for (let i = 0; i < count && first + i < refcountBlockCount; i++) {
      view.setBigUint64(i * 8, BigInt((1 + refcountTableClusters + first + i) * clusterBytes));
    }
  });
}

/** `countOf(index)` is the refcount of one host cluster. */
export function refcountBlocksRegion(geometry: Qcow2Geometry, countOf: (index: number) => number): Region {
  const entryCount = (geometry.refcountBlockCount * geometry.clusterBytes) / REFCOUNT_BYTES;
  return tableRegion(entryCount, REFCOUNT_BYTES, (first, count, bytes) => {
    const view = viewOf(bytes);
    for (let i = 0; i < count; i++) view.setUint16(i * REFCOUNT_BYTES, countOf(first + i));
  });
}

/** L1, padded to whole clusters: VirtualBox reads the padding too. */
export function l1Region(geometry: Qcow2Geometry, tables: AllocationMap): Region {
  const { clusterBytes, l1Clusters, l2OffsetBytes } = geometry;
  return tableRegion((l1Clusters * clusterBytes) / 8, 8, (first, count, bytes) => {
    const view = viewOf(bytes);
    for (let i = 0; i < count && first + i < tables.blockCount; i++) {
      if (!tables.has(first + i)) continue;
      const offsetBytes = l2OffsetBytes + tables.rank(first + i) * clusterBytes;
      view.setBigUint64(i * 8, BigInt(offsetBytes) | COPIED_BIT);
    }
  });
}

function l2Region(geometry: Qcow2Geometry, map: AllocationMap, tables: AllocationMap): Region {
  const { clusterBytes, l2EntryCount, dataOffsetBytes } = geometry;
  return recordsRegion(tables.usedCount, clusterBytes, (rank) => {
    const firstCluster = tables.select(rank) * l2EntryCount;
    const end = Math.min(firstCluster + l2EntryCount, map.blockCount);
    const bytes = new Uint8Array(clusterBytes);
    const view = viewOf(bytes);
    let offsetBytes = dataOffsetBytes + map.rank(firstCluster) * clusterBytes;
    for (const cluster of map.used(firstCluster, end)) {
      view.setBigUint64((cluster - firstCluster) * 8, BigInt(offsetBytes) | COPIED_BIT);
      offsetBytes += clusterBytes;
    }
    return [{ kind: 'bytes', bytes }];
  });
}
