import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide, roundUp, SECTOR_BYTES, TIB } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { BlockPlacement } from '../../view/block-placement.ts';
import type { Layout } from '../../view/layout.ts';
import { bytesRegion, regionsLayout, tableRegion, zeroRegion } from '../../view/regions.ts';
import type { WriteRequest } from '../format.ts';
import { TableRanges, usedTables } from '../qcow2/table-ranges.ts';
import { encodeHeader, HEADER_BYTES } from './header.ts';
import { VIRTUAL_SIZE_BYTES_MAX } from './limits.ts';

/** What qemu writes without a backing file. */
const CLUSTER_BITS = 12;
/** For large disks, whose L1 table and maps would have too many entries: libqcow takes no larger L2 table. */
const LARGE_CLUSTER_BITS = 15;
const LARGE_DISK_BYTES: number = TIB;

interface Geometry {
  readonly virtualSizeBytes: number;
  readonly clusterBytes: number;
  /** An L2 table is as long as a cluster. */
  readonly l2EntryCount: number;
  readonly l1EntryCount: number;
  /** Header and L1 table, padded to a cluster. */
  readonly startBytes: number;
}

/** Throws IMAGE_LIMIT for an empty disk and above 64 TiB. */
function geometryOf(diskBytes: number): Geometry {
  const virtualSizeBytes = roundUp(diskBytes, SECTOR_BYTES);
  if (virtualSizeBytes === 0 || virtualSizeBytes > VIRTUAL_SIZE_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `qcow cannot hold a disk of ${virtualSizeBytes} bytes`, {
      structure: 'qcow header',
      hint: 'qcow holds disks of 1 sector to 64 TiB',
    });
  }
  const clusterBytes = 2 ** (virtualSizeBytes > LARGE_DISK_BYTES ? LARGE_CLUSTER_BITS : CLUSTER_BITS);
  const l2EntryCount = clusterBytes / 8;
  const l1EntryCount = ceilDivide(virtualSizeBytes, clusterBytes * l2EntryCount);
  const startBytes = roundUp(HEADER_BYTES + l1EntryCount * 8, clusterBytes);
  return { virtualSizeBytes, clusterBytes, l2EntryCount, l1EntryCount, startBytes };
}

/**
 * A qcow file of version 1: header, L1 table, then for each range of an L2 table that holds data the table and
 * its clusters in guest order.
 */
export async function planQcow(disk: Disk, request: WriteRequest): Promise<Layout> {
  const geometry = geometryOf(disk.virtualSizeBytes);
  const { clusterBytes, l2EntryCount, l1EntryCount, startBytes } = geometry;
  const data = await AllocationMap.ofDisk(disk, clusterBytes, { signal: request.signal });
  const tables = usedTables(data, l2EntryCount);
  const ranges = new TableRanges({
    data,
    tables,
    startBytes,
    tableBlocks: l2EntryCount,
    table: (first, end, dataOffsetBytes) => [
      { kind: 'bytes', bytes: l2Table(data, first, end, dataOffsetBytes) },
    ],
  });
  const l1 = tableRegion(l1EntryCount, 8, (first, count, bytes) => {
    const view = viewOf(bytes);
    for (const table of tables.used(first, first + count)) {
      view.setBigUint64((table - first) * 8, BigInt(ranges.tableOffset(tables.rank(table))));
    }
  });
  return regionsLayout('qcow', [
    bytesRegion(encodeHeader(geometry)),
    l1,
    zeroRegion(startBytes - HEADER_BYTES - l1.lengthBytes),
    ranges.region(),
  ]);
}

function l2Table(data: AllocationMap, first: number, end: number, dataOffsetBytes: number): Uint8Array {
  const bytes = new Uint8Array(data.blockBytes);
  const view = viewOf(bytes);
  let offsetBytes = dataOffsetBytes;
  for (const cluster of data.used(first, end)) {
    view.setBigUint64((cluster - first) * 8, BigInt(offsetBytes));
    offsetBytes += data.blockBytes;
  }
  return bytes;
}

/** Where data goes in the layout of a disk of this size. */
export function qcowPlacement(diskBytes: number): BlockPlacement {
  const { clusterBytes, l2EntryCount, startBytes } = geometryOf(diskBytes);
  return {
    kind: 'packed',
    blockBytes: clusterBytes,
    startBytes,
    strideBytes: clusterBytes,
    groupBlocks: l2EntryCount,
    groupBytes: clusterBytes,
  };
}
