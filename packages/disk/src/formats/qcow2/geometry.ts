import { ceilDivide, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { REFCOUNT_TABLE_BYTES_MAX } from './limits.ts';

/** Refcounts are 16 bits wide in what we write (refcount_order 4). */
export const REFCOUNT_BYTES = 2;

/** What the sizes of a disk and its clusters decide alone. */
export interface Qcow2Geometry {
  readonly clusterBytes: number;
  /** Whole sectors. */
  readonly virtualSizeBytes: number;
  readonly clusterCount: number;
  readonly l1EntryCount: number;
  /** L1 is padded to whole clusters: VirtualBox reads the padding too. */
  readonly l1Clusters: number;
  readonly l2EntryBytes: 8 | 16;
  readonly l2EntryCount: number;
}

export function qcow2Geometry(
  diskBytes: number,
  clusterBytes: number,
  l2EntryBytes: 8 | 16 = 8,
): Qcow2Geometry {
  const virtualSizeBytes = roundUp(diskBytes, SECTOR_BYTES);
  const l2EntryCount = clusterBytes / l2EntryBytes;
  const l1EntryCount = Math.max(1, ceilDivide(virtualSizeBytes, clusterBytes * l2EntryCount));
  return {
    clusterBytes,
    virtualSizeBytes,
    clusterCount: ceilDivide(virtualSizeBytes, clusterBytes),
    l1EntryCount,
    l1Clusters: ceilDivide(l1EntryCount * 8, clusterBytes),
    l2EntryBytes,
    l2EntryCount,
  };
}

/** The refcount table, which its blocks follow. */
export interface RefcountPlace {
  readonly offsetBytes: number;
  readonly tableClusters: number;
  readonly blockCount: number;
}

/**
 * What counts `otherClusters` and itself: the fixed point of "the refcount blocks also count themselves".
 * Throws IMAGE_OPTION when clusters this small would need a refcount table that no program reads.
 */
export function refcountClusters(
  clusterBytes: number,
  otherClusters: number,
): { readonly tableClusters: number; readonly blockCount: number } {
  let blockCount = 1;
  let tableClusters = 1;
  for (;;) {
    const blocks = ceilDivide(otherClusters + tableClusters + blockCount, clusterBytes / REFCOUNT_BYTES);
    const tables = ceilDivide(blocks * 8, clusterBytes);
    if (blocks === blockCount && tables === tableClusters) break;
    blockCount = blocks;
    tableClusters = tables;
  }
  if (tableClusters * clusterBytes > REFCOUNT_TABLE_BYTES_MAX) {
    throw new ImageError('IMAGE_OPTION', `clusters of ${clusterBytes} bytes are too small for so much data`, {
      structure: 'option cluster_size',
      hint: 'use larger clusters: 65536 are right for most disks',
    });
  }
  return { tableClusters, blockCount };
}
