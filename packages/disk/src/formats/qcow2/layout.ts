import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide } from '../../bytes/numbers.ts';
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
import { type BackingName, headerCluster } from './write-header.ts';

/** The COPIED flag, bit 63 of an entry: refcount is exactly one. */
export const COPIED_BIT: bigint = 1n << 63n;
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
  const ranges = new TableRanges(geometry, contents);
  return regionsLayout('qcow2', [
    bytesRegion(headerCluster(geometry, { ...options, l1OffsetBytes: clusterBytes, refcounts })),
    l1Region(geometry, contents.tables, (rank) => ranges.tableOffset(rank)),
    ranges.region(),
    refcountTableRegion(clusterBytes, refcounts),
    refcountBlocksRegion(clusterBytes, refcounts, (index) => (index < totalClusters ? 1 : 0)),
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

/** Which L2 tables a map needs; its blocks are the guest ranges of one table each. */
export function usedTables(map: AllocationMap, l2EntryCount: number): AllocationMap {
  const tableCount = ceilDivide(map.blockCount, l2EntryCount);
  function* used(): Iterable<number> {
    for (let i = 0; i < tableCount; i++) if (map.hasAny(i * l2EntryCount, (i + 1) * l2EntryCount)) yield i;
  }
  return AllocationMap.ofBlocks(map.blockBytes * l2EntryCount, tableCount, used());
}

/** The used L2 tables of a file, each before its data. Ranks count used tables. */
class TableRanges {
  readonly #geometry: Qcow2Geometry;
  readonly #contents: TableContents;
  readonly #startBytes: number;

  constructor(geometry: Qcow2Geometry, contents: TableContents) {
    this.#geometry = geometry;
    this.#contents = contents;
    this.#startBytes = (1 + geometry.l1Clusters) * geometry.clusterBytes;
  }

  /** Host offset of the table with this rank; with the count of tables, the end of them all. */
  tableOffset(rank: number): number {
    return this.#startBytes + this.#rangeStart(rank);
  }

  /** From the first range's start. */
  #rangeStart(rank: number): number {
    const { data, tables } = this.#contents;
    const first = rank < tables.usedCount ? tables.select(rank) * this.#geometry.l2EntryCount : undefined;
    const dataRank = first === undefined ? data.usedCount : data.rank(first);
    return (rank + dataRank) * this.#geometry.clusterBytes;
  }

  region(): Region {
    const { tables } = this.#contents;
    return {
      lengthBytes: this.#rangeStart(tables.usedCount),
      pieces: (from, to) => this.#pieces(from, to),
    };
  }

  *#pieces(from: number, to: number): Iterable<Piece> {
    let rank = this.#rankAt(from);
    for (let start = this.#rangeStart(rank); start < to; rank++) {
      const end = this.#rangeStart(rank + 1);
      yield* this.#range(rank, Math.max(0, from - start), Math.min(to, end) - start);
      start = end;
    }
  }

  /** The range that an offset stands in. */
  #rankAt(offsetBytes: number): number {
    let low = 0;
    let high = this.#contents.tables.usedCount;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (this.#rangeStart(middle) <= offsetBytes) low = middle;
      else high = middle;
    }
    return low;
  }

  /** The part [from, to) of a table and its data. */
  *#range(rank: number, from: number, to: number): Iterable<Piece> {
    const { clusterBytes, l2EntryCount } = this.#geometry;
    const { data, tables } = this.#contents;
    const first = tables.select(rank) * l2EntryCount;
    const end = Math.min(first + l2EntryCount, data.blockCount);
    if (from < clusterBytes) {
      yield {
        kind: 'bytes',
        bytes: this.#table(rank, first, end).subarray(from, Math.min(to, clusterBytes)),
      };
    }
    const firstRank = data.rank(first);
    for (let at = Math.max(from, clusterBytes); at < to; ) {
      const within = at % clusterBytes;
      const cluster = data.select(firstRank + (at - within) / clusterBytes - 1);
      const runBytes = (Math.min(data.runEnd(cluster), end) - cluster) * clusterBytes - within;
      const lengthBytes = Math.min(to - at, runBytes);
      yield { kind: 'disk', offsetBytes: cluster * clusterBytes + within, lengthBytes };
      at += lengthBytes;
    }
  }

  #table(rank: number, first: number, end: number): Uint8Array {
    const { clusterBytes, l2EntryBytes } = this.#geometry;
    const { data, fill } = this.#contents;
    const bytes = new Uint8Array(clusterBytes);
    const view = viewOf(bytes);
    let offsetBytes = this.tableOffset(rank) + clusterBytes;
    for (const cluster of data.used(first, end)) {
      const at = (cluster - first) * l2EntryBytes;
      view.setBigUint64(at, BigInt(offsetBytes) | COPIED_BIT);
      if (l2EntryBytes === 16) view.setBigUint64(at + 8, ALL_SUBCLUSTERS);
      offsetBytes += clusterBytes;
    }
    fill?.(view, first);
    return bytes;
  }
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

/** `countOf(index)` is the refcount of one host cluster. */
export function refcountBlocksRegion(
  clusterBytes: number,
  refcounts: RefcountPlace,
  countOf: (index: number) => number,
): Region {
  const entryCount = (refcounts.blockCount * clusterBytes) / REFCOUNT_BYTES;
  return tableRegion(entryCount, REFCOUNT_BYTES, (first, count, bytes) => {
    const view = viewOf(bytes);
    for (let i = 0; i < count; i++) view.setUint16(i * REFCOUNT_BYTES, countOf(first + i));
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
      view.setBigUint64((table - first) * 8, BigInt(tableOffset(tables.rank(table))) | COPIED_BIT);
    }
  });
}
