import { viewOf } from '../../bytes/fields.ts';
import { roundUp } from '../../bytes/numbers.ts';
import type { AllocationMap } from '../../view/allocation-map.ts';
import type { Layout, Piece } from '../../view/layout.ts';
import {
  bytesRegion,
  cutPieces,
  type Region,
  recordsRegion,
  regionsLayout,
  tableRegion,
} from '../../view/regions.ts';
import type { StoredUnits } from '../../view/stored-units.ts';
import { placeAfter, storedEntry, touchedClusters } from './compressed-entry.ts';
import {
  type Qcow2Geometry,
  qcow2Geometry,
  REFCOUNT_BYTES,
  type RefcountPlace,
  refcountClusters,
} from './geometry.ts';
import { l1Region, refcountTableRegion } from './layout.ts';
import { usedTables } from './table-ranges.ts';
import { headerCluster } from './write-header.ts';

/** Placement is remembered for each group of this many used clusters; within one it is walked. */
const GROUP_CLUSTERS = 512;

/** Header, refcounts, L1, L2 tables, data: all tables stand first. */
interface StoredGeometry extends Qcow2Geometry {
  readonly refcounts: RefcountPlace;
  readonly dataOffsetBytes: number;
}

export interface StoredLayoutOptions {
  readonly version: 2 | 3;
  /** What the clusters are compressed with. zlib is deflate without a header. */
  readonly compression: 'zlib' | 'zstd';
}

/**
 * A qcow2 file made of clusters that are compressed already: its length is exact, and no byte is compressed or
 * decompressed to show it.
 */
export function qcow2StoredLayout(stored: StoredUnits, options: StoredLayoutOptions): Layout {
  const { version, compression } = options;
  const { map } = stored;
  const clusterBytes = map.blockBytes;
  const tables = usedTables(map, clusterBytes / 8);
  const placement = new Placement(stored);
  const dataClusters = placement.lengthBytes / clusterBytes;
  const base = qcow2Geometry(stored.virtualSizeBytes, clusterBytes);
  const contentClusters = 1 + base.l1Clusters + tables.usedCount + dataClusters;
  const refcounts = { offsetBytes: clusterBytes, ...refcountClusters(clusterBytes, contentClusters) };
  const l1OffsetBytes = (1 + refcounts.tableClusters + refcounts.blockCount) * clusterBytes;
  const l2OffsetBytes = l1OffsetBytes + base.l1Clusters * clusterBytes;
  const dataOffsetBytes = l2OffsetBytes + tables.usedCount * clusterBytes;
  const geometry = { ...base, refcounts, dataOffsetBytes };
  return regionsLayout('qcow2', [
    bytesRegion(headerCluster(geometry, { version, zstd: compression === 'zstd', l1OffsetBytes, refcounts })),
    refcountTableRegion(clusterBytes, refcounts),
    refcountsRegion(geometry, placement, dataClusters),
    l1Region(geometry, tables, (rank) => l2OffsetBytes + rank * clusterBytes),
    l2Region(geometry, stored, tables, placement),
    dataRegion(stored, placement),
  ]);
}

/** One used cluster in the data area; the offset counts from the area's start. */
interface Placed {
  readonly cluster: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly isPlain: boolean;
  /** Among the used ones. */
  readonly rank: number;
}

/** Compressed clusters follow each other to the byte; an uncompressed one starts at a host cluster. */
class Placement {
  /** Of the whole data area, padded to a host cluster. */
  readonly lengthBytes: number;
  readonly #stored: StoredUnits;
  /** Where the cluster of rank `group * GROUP_CLUSTERS` may start, before any alignment. */
  readonly #groupStarts: Float64Array;

  constructor(stored: StoredUnits) {
    this.#stored = stored;
    const { map } = stored;
    this.#groupStarts = new Float64Array(Math.ceil(map.usedCount / GROUP_CLUSTERS));
    let end = 0;
    let rank = 0;
    for (const cluster of map.used()) {
      if (rank % GROUP_CLUSTERS === 0) this.#groupStarts[rank / GROUP_CLUSTERS] = end;
      end = placeAfter(end, stored.isPlain(cluster, rank), map.blockBytes) + stored.lengthOf(cluster, rank);
      rank++;
    }
    this.lengthBytes = roundUp(end, map.blockBytes);
  }

  /** The used clusters from this rank on, in order. */
  *fromRank(rank: number): Iterable<Placed> {
    const { map } = this.#stored;
    if (rank >= map.usedCount) return;
    const group = Math.floor(rank / GROUP_CLUSTERS);
    let end = this.#groupStarts[group] ?? 0;
    let at = group * GROUP_CLUSTERS;
    for (const cluster of map.used(map.select(at))) {
      const lengthBytes = this.#stored.lengthOf(cluster, at);
      const isPlain = this.#stored.isPlain(cluster, at);
      const offsetBytes = placeAfter(end, isPlain, map.blockBytes);
      end = offsetBytes + lengthBytes;
      if (at >= rank) yield { cluster, rank: at, offsetBytes, lengthBytes, isPlain };
      at++;
    }
  }

  /** The used clusters in order, from one that starts at or before this offset. */
  *fromOffset(offsetBytes: number): Iterable<Placed> {
    let low = 0;
    let high = this.#groupStarts.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((this.#groupStarts[middle] ?? 0) <= offsetBytes) low = middle;
      else high = middle;
    }
    // The last cluster of the group before may reach into this one's first sector.
    yield* this.fromRank(Math.max(0, low * GROUP_CLUSTERS - 1));
  }
}

function dataRegion(stored: StoredUnits, placement: Placement): Region {
  function* piecesFrom(from: number, to: number): Iterable<Piece> {
    let at = from;
    for (const { cluster, rank, offsetBytes, lengthBytes } of placement.fromOffset(from)) {
      const end = offsetBytes + lengthBytes;
      if (end <= at) continue;
      if (offsetBytes >= to) break;
      if (offsetBytes > at) yield { kind: 'zero', lengthBytes: offsetBytes - at };
      yield* cutPieces(stored.pieces(cluster, rank), Math.max(0, at - offsetBytes), lengthBytes);
      at = end;
    }
    if (at < to) yield { kind: 'zero', lengthBytes: to - at };
  }
  return {
    lengthBytes: placement.lengthBytes,
    pieces: (from, to) => cutPieces(piecesFrom(from, to), 0, to - from),
  };
}

function refcountsRegion(geometry: StoredGeometry, placement: Placement, dataClusters: number): Region {
  const { clusterBytes } = geometry;
  const frontClusters = geometry.dataOffsetBytes / clusterBytes;
  const entryCount = (geometry.refcounts.blockCount * clusterBytes) / REFCOUNT_BYTES;
  return tableRegion(entryCount, REFCOUNT_BYTES, (first, count, bytes) => {
    const counts = new Uint16Array(count);
    if (first < frontClusters) counts.fill(1, 0, Math.min(count, frontClusters - first));
    const end = Math.min(first + count, frontClusters + dataClusters);
    if (end > frontClusters) {
      const fromBytes = Math.max(0, first - frontClusters) * clusterBytes;
      for (const placed of placement.fromOffset(fromBytes)) {
        const offsetBytes = geometry.dataOffsetBytes + placed.offsetBytes;
        const touched = touchedClusters(offsetBytes, placed.lengthBytes, clusterBytes);
        if (touched.first >= end) break;
        for (let host = Math.max(first, touched.first); host <= touched.last && host < end; host++) {
          counts[host - first] = (counts[host - first] ?? 0) + 1;
        }
      }
    }
    const view = viewOf(bytes);
    for (let i = 0; i < count; i++) view.setUint16(i * REFCOUNT_BYTES, counts[i] ?? 0);
  });
}

function l2Region(
  geometry: StoredGeometry,
  stored: StoredUnits,
  tables: AllocationMap,
  placement: Placement,
): Region {
  const { clusterBytes, l2EntryCount, dataOffsetBytes } = geometry;
  return recordsRegion(tables.usedCount, clusterBytes, (tableRank) => {
    const first = tables.select(tableRank) * l2EntryCount;
    const bytes = new Uint8Array(clusterBytes);
    const view = viewOf(bytes);
    for (const placed of placement.fromRank(stored.map.rank(first))) {
      if (placed.cluster >= first + l2EntryCount) break;
      const offsetBytes = dataOffsetBytes + placed.offsetBytes;
      const entry = storedEntry(offsetBytes, placed.lengthBytes, placed.isPlain, clusterBytes);
      view.setBigUint64((placed.cluster - first) * 8, entry);
    }
    return [{ kind: 'bytes', bytes }];
  });
}
