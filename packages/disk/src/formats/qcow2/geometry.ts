import { ceilDivide } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { REFCOUNT_TABLE_BYTES_MAX } from './limits.ts';

/** Refcounts are 16 bits wide in what we write (refcount_order 4). */
export const REFCOUNT_BYTES = 2;

/**
 * Where the structures of a qcow2 file that is written in one pass stand, in clusters from the start:
 * header, refcount table, refcount blocks, L1, L2 tables, data.
 */
export interface Qcow2Geometry {
  readonly clusterBytes: number;
  readonly virtualSizeBytes: number;
  readonly refcountTableClusters: number;
  readonly refcountBlockCount: number;
  readonly l1EntryCount: number;
  readonly l1Clusters: number;
  readonly l2TableCount: number;
  readonly l2EntryCount: number;
  readonly l1OffsetBytes: number;
  readonly l2OffsetBytes: number;
  readonly dataOffsetBytes: number;
}

/**
 * Finds the fixed point of "the refcount blocks also count themselves".
 * `dataClusters` is the number of host clusters that data takes, or an upper bound of it. Throws IMAGE_OPTION
 * when clusters this small would need a refcount table that no program reads.
 */
export function qcow2Geometry(
  virtualSizeBytes: number,
  clusterBytes: number,
  l2TableCount: number,
  dataClusters: number,
): Qcow2Geometry {
  const l2EntryCount = clusterBytes / 8;
  const l1EntryCount = Math.max(1, ceilDivide(virtualSizeBytes, clusterBytes * l2EntryCount));
  const l1Clusters = ceilDivide(l1EntryCount * 8, clusterBytes);
  let refcountBlockCount = 1;
  let refcountTableClusters = 1;
  for (;;) {
    const total = 1 + refcountTableClusters + refcountBlockCount + l1Clusters + l2TableCount + dataClusters;
    const blocks = ceilDivide(total, clusterBytes / REFCOUNT_BYTES);
    const tables = ceilDivide(blocks * 8, clusterBytes);
    if (blocks === refcountBlockCount && tables === refcountTableClusters) break;
    refcountBlockCount = blocks;
    refcountTableClusters = tables;
  }
  if (refcountTableClusters * clusterBytes > REFCOUNT_TABLE_BYTES_MAX) {
    throw new ImageError('IMAGE_OPTION', `clusters of ${clusterBytes} bytes are too small for so much data`, {
      structure: 'option cluster_size',
      hint: 'use larger clusters: 65536 are right for most disks',
    });
  }
  const l1OffsetBytes = (1 + refcountTableClusters + refcountBlockCount) * clusterBytes;
  const l2OffsetBytes = l1OffsetBytes + l1Clusters * clusterBytes;
  return {
    clusterBytes,
    virtualSizeBytes,
    refcountTableClusters,
    refcountBlockCount,
    l1EntryCount,
    l1Clusters,
    l2TableCount,
    l2EntryCount,
    l1OffsetBytes,
    l2OffsetBytes,
    dataOffsetBytes: l2OffsetBytes + l2TableCount * clusterBytes,
  };
}
