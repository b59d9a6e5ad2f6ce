import { viewOf } from '../../bytes/fields.ts';
import type { Disk } from '../../disk/disk.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { BlockPlacement } from '../../view/block-placement.ts';
import type { Layout, Piece } from '../../view/layout.ts';
import { bytesRegion, type Region, regionsLayout, tableRegion } from '../../view/regions.ts';
import {
  type Qcow2Geometry,
  qcow2Geometry,
  REFCOUNT_BYTES,
  type RefcountPlace,
  refcountClusters,
} from './geometry.ts';
import { overlayTables } from './overlay.ts';
import { TableRanges, usedTables } from './table-ranges.ts';
import { type BackingName, headerCluster } from './write-header.ts';

/** The COPIED flag, bit 63 of an entry: refcount is exactly one. */
export const COPIED_BIT: bigint = 1n << 63n;
const COPIED_HIGH: number = 2 ** 31;
/** An extended L2 entry's second half: all 32 subclusters are allocated. */
const ALL_SUBCLUSTERS = 0xffffffffn;

export interface Qcow2LayoutOptions {
  readonly version: 2 | 3;
  readonly clusterBytes: number;
  readonly extendedL2: boolean;
  /** Makes an overlay: holes show this file, zeros hide it. */
  readonly backing?: BackingName | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What stands in the L2 tables of a file. */
export interface TableContents {
  /** Clusters with data, each whole in the file. */
  readonly data: AllocationMap;
  /** L2 tables with any entry; a block is the guest range of one. */
  readonly tables: AllocationMap;
  /** Fills what an L2 table holds besides the places of data. */
  readonly fill?: (table: DataView, firstCluster: number) => void;
}

/**
 * A qcow2 file without compression: header, L1, then for each range of an L2 table that is used the table and
 * its data clusters in guest order, then the refcounts. Without a backing file and extended entries no feature
 * bits, no zero flags, no snapshots: what VirtualBox's reader takes too.
 */
export async function qcow2Layout(disk: Disk, options: Qcow2LayoutOptions): Promise<Layout> {
  const geometry = geometryOf(disk.virtualSizeBytes, options);
  const contents =
    options.backing === undefined
      ? await dataTables(disk, geometry, options.signal)
      : await overlayTables(disk, geometry, options.signal);
  const { clusterBytes, l1Clusters } = geometry;
  const usedClusters = 1 + l1Clusters + contents.tables.usedCount + contents.data.usedCount;
  const refcounts = {
    offsetBytes: usedClusters * clusterBytes,
    ...refcountClusters(clusterBytes, usedClusters),
  };
  const totalClusters = usedClusters + refcounts.tableClusters + refcounts.blockCount;
  const ranges = new TableRanges({
    ...contents,
    startBytes: (1 + l1Clusters) * clusterBytes,
    tableBlocks: geometry.l2EntryCount,
    table: (first, end, dataOffsetBytes) => l2Table(geometry, contents, first, end, dataOffsetBytes),
  });
  return regionsLayout('qcow2', [
    bytesRegion(headerCluster(geometry, { ...options, l1OffsetBytes: clusterBytes, refcounts })),
    l1Region(geometry, contents.tables, (rank) => ranges.tableOffset(rank)),
    ranges.region(),
    refcountTableRegion(clusterBytes, refcounts),
    refcountBlocksRegion(clusterBytes, refcounts, totalClusters, () => 1),
  ]);
}

/** Where data goes in the layout of a disk without a backing file. */
export function qcow2Placement(diskBytes: number, options: Qcow2LayoutOptions): BlockPlacement {
  const { clusterBytes, l1Clusters, l2EntryCount } = geometryOf(diskBytes, options);
  return {
    kind: 'packed',
    blockBytes: clusterBytes,
    startBytes: (1 + l1Clusters) * clusterBytes,
    strideBytes: clusterBytes,
    groupBlocks: l2EntryCount,
    groupBytes: clusterBytes,
  };
}

function geometryOf(diskBytes: number, options: Qcow2LayoutOptions): Qcow2Geometry {
  return qcow2Geometry(diskBytes, options.clusterBytes, options.extendedL2 ? 16 : 8);
}

async function dataTables(
  disk: Disk,
  geometry: Qcow2Geometry,
  signal: AbortSignal | undefined,
): Promise<TableContents> {
  const data = await AllocationMap.ofDisk(disk, geometry.clusterBytes, { signal });
  return { data, tables: usedTables(data, geometry.l2EntryCount) };
}

/** An L2 table whose data begins at a place in the file. Of a sparse disk's only the part with entries is made. */
function l2Table(
  { clusterBytes, l2EntryBytes }: Qcow2Geometry,
  { data, fill }: TableContents,
  first: number,
  end: number,
  dataOffsetBytes: number,
): readonly Piece[] {
  const used = [...data.used(first, end)];
  const from = fill === undefined ? ((used[0] ?? first) - first) * l2EntryBytes : 0;
  const to = fill === undefined ? ((used.at(-1) ?? first) + 1 - first) * l2EntryBytes : clusterBytes;
  const bytes = new Uint8Array(to - from);
  const view = viewOf(bytes);
  let offsetBytes = dataOffsetBytes;
  for (const cluster of used) {
    const at = (cluster - first) * l2EntryBytes - from;
    setCopiedEntry(view, at, offsetBytes);
    if (l2EntryBytes === 16) view.setBigUint64(at + 8, ALL_SUBCLUSTERS);
    offsetBytes += clusterBytes;
  }
  fill?.(view, first);
  return [
    { kind: 'zero', lengthBytes: from },
    { kind: 'bytes', bytes },
    { kind: 'zero', lengthBytes: clusterBytes - to },
  ];
}

/** As `BigInt(offsetBytes) | COPIED_BIT`, without making a number on the heap for each of many. */
function setCopiedEntry(view: DataView, at: number, offsetBytes: number): void {
  view.setUint32(at, COPIED_HIGH + Math.floor(offsetBytes / 2 ** 32));
  view.setUint32(at + 4, offsetBytes % 2 ** 32);
}

export function refcountTableRegion(clusterBytes: number, refcounts: RefcountPlace): Region {
  const { offsetBytes, tableClusters, blockCount } = refcounts;
  return tableRegion((tableClusters * clusterBytes) / 8, 8, (first, count, bytes) => {
    const view = viewOf(bytes);
    for (let i = 0; i < count && first + i < blockCount; i++) {
      view.setBigUint64(i * 8, BigInt(offsetBytes + (tableClusters + first + i) * clusterBytes));
    }
  });
}

/** `countOf(index)` is the refcount of one of the host clusters. */
export function refcountBlocksRegion(
  clusterBytes: number,
  refcounts: RefcountPlace,
  clusterCount: number,
  countOf: (index: number) => number,
): Region {
  const entryCount = (refcounts.blockCount * clusterBytes) / REFCOUNT_BYTES;
  return tableRegion(entryCount, REFCOUNT_BYTES, (first, count, bytes) => {
    const view = viewOf(bytes);
    const used = Math.min(count, clusterCount - first);
    for (let i = 0; i < used; i++) view.setUint16(i * REFCOUNT_BYTES, countOf(first + i));
  });
}

/** L1, padded to whole clusters; `tableOffset(rank)` is where the used L2 table of that rank stands. */
export function l1Region(
  geometry: Qcow2Geometry,
  tables: AllocationMap,
  tableOffset: (rank: number) => number,
): Region {
  const { clusterBytes, l1Clusters } = geometry;
  return tableRegion((l1Clusters * clusterBytes) / 8, 8, (first, count, bytes) => {
    const view = viewOf(bytes);
    for (const table of tables.used(first, Math.min(first + count, tables.blockCount))) {
      setCopiedEntry(view, (table - first) * 8, tableOffset(tables.rank(table)));
    }
  });
}
