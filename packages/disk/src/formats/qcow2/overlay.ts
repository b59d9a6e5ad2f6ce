import { ceilDivide } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { Qcow2Geometry } from './geometry.ts';
import type { TableContents } from './layout.ts';

/** A cluster of extended L2 entries has this many subclusters. */
const SUBCLUSTER_COUNT = 32;
/** Bit 0 of a standard L2 entry: the cluster reads as zeros. */
const ZERO_FLAG = 1n;

/**
 * The tables of an overlay: data is stored, `zero` extents hide the backing file, holes show it. The unit of
 * all three is the cluster, or the subcluster of extended entries. Throws IMAGE_OPTION where a hole ends inside
 * of a unit: what the unit shows there could not be said without reading the backing file.
 */
export async function overlayTables(
  disk: Disk,
  geometry: Qcow2Geometry,
  signal: AbortSignal | undefined,
): Promise<TableContents> {
  const { clusterBytes, clusterCount, l2EntryBytes, l2EntryCount, l1EntryCount } = geometry;
  const unitsEach = l2EntryBytes === 16 ? SUBCLUSTER_COUNT : 1;
  const { data, zeros } = await unitMaps(disk, clusterBytes / unitsEach, signal);
  const hasUnit = (map: AllocationMap, first: number, count: number) =>
    map.hasAny(first * unitsEach, (first + count) * unitsEach);
  function* indexes(count: number, clustersEach: number, maps: readonly AllocationMap[]): Iterable<number> {
    for (let i = 0; i < count; i++) {
      if (maps.some((map) => hasUnit(map, i * clustersEach, clustersEach))) yield i;
    }
  }
  const fill =
    unitsEach === 1
      ? (table: DataView, firstCluster: number) => fillZeroFlags(table, firstCluster, data, zeros)
      : (table: DataView, firstCluster: number) => fillSubclusters(table, firstCluster, data, zeros);
  return {
    data:
      unitsEach === 1
        ? data
        : AllocationMap.ofBlocks(clusterBytes, clusterCount, indexes(clusterCount, 1, [data])),
    tables: AllocationMap.ofBlocks(
      clusterBytes * l2EntryCount,
      l1EntryCount,
      indexes(l1EntryCount, l2EntryCount, [data, zeros]),
    ),
    fill,
  };
}

function fillZeroFlags(
  table: DataView,
  firstCluster: number,
  data: AllocationMap,
  zeros: AllocationMap,
): void {
  const end = Math.min(firstCluster + table.byteLength / 8, zeros.blockCount);
  for (const cluster of zeros.used(firstCluster, end)) {
    if (!data.has(cluster)) table.setBigUint64((cluster - firstCluster) * 8, ZERO_FLAG);
  }
}

/** Extended entries: allocated bits below, zero bits above them, the first subcluster lowest. */
function fillSubclusters(
  table: DataView,
  firstCluster: number,
  data: AllocationMap,
  zeros: AllocationMap,
): void {
  const setBits = (map: AllocationMap, fieldOffset: number, isSet: (unit: number) => boolean) => {
    const first = firstCluster * SUBCLUSTER_COUNT;
    const end = Math.min(first + (table.byteLength / 16) * SUBCLUSTER_COUNT, map.blockCount);
    for (let at = 0; at < table.byteLength; at += 16) table.setUint32(at + fieldOffset, 0);
    for (const unit of map.used(first, end)) {
      if (!isSet(unit)) continue;
      const at = Math.floor((unit - first) / SUBCLUSTER_COUNT) * 16 + fieldOffset;
      table.setUint32(at, table.getUint32(at) + 2 ** (unit % SUBCLUSTER_COUNT));
    }
  };
  setBits(zeros, 8, (unit) => !data.has(unit));
  setBits(data, 12, () => true);
}

/** Which units hold data, and which zeros; a unit may hold both, and then none of a hole. */
async function unitMaps(
  disk: Disk,
  unitBytes: number,
  signal: AbortSignal | undefined,
): Promise<{ readonly data: AllocationMap; readonly zeros: AllocationMap }> {
  const unitCount = ceilDivide(disk.virtualSizeBytes, unitBytes);
  AllocationMap.requireCount(unitBytes, unitCount);
  const bits = {
    data: new Uint8Array(ceilDivide(unitCount, 8)),
    zero: new Uint8Array(ceilDivide(unitCount, 8)),
  };
  /** Units before this one were met as holes, or as something else. */
  let holeEnd = 0;
  for await (const { kind, offsetBytes, lengthBytes } of disk.extents(0, disk.virtualSizeBytes, signal)) {
    signal?.throwIfAborted();
    const endBytes = offsetBytes + lengthBytes;
    const first = Math.floor(offsetBytes / unitBytes);
    const end = ceilDivide(endBytes, unitBytes);
    if (kind === 'hole') {
      if (has(bits.data, first) || has(bits.zero, first)) refuseMixedUnit(offsetBytes, unitBytes);
      holeEnd = end;
    } else {
      if (holeEnd > first) refuseMixedUnit(offsetBytes, unitBytes);
      for (let unit = first; unit < end; unit++) set(bits[kind], unit);
    }
  }
  return {
    data: AllocationMap.ofBits(unitBytes, unitCount, bits.data),
    zeros: AllocationMap.ofBits(unitBytes, unitCount, bits.zero),
  };
}

function has(bits: Uint8Array, index: number): boolean {
  return ((bits[Math.floor(index / 8)] ?? 0) & (1 << (index % 8))) !== 0;
}

function set(bits: Uint8Array, index: number): void {
  const byte = Math.floor(index / 8);
  bits[byte] = (bits[byte] ?? 0) | (1 << (index % 8));
}

function refuseMixedUnit(offsetBytes: number, unitBytes: number): never {
  throw new ImageError(
    'IMAGE_OPTION',
    `a hole of the disk meets what is no hole at ${offsetBytes}, inside of ${unitBytes} bytes that an overlay shows as one`,
    {
      structure: 'option backing_file',
      hint: 'use smaller clusters (cluster_size), or subclusters (extended_l2=on)',
    },
  );
}

/** The same disk without holes: what was never written is zero, whatever a backing file holds there. */
export function withHolesAsZeros(disk: Disk): Disk {
  return {
    format: disk.format,
    virtualSizeBytes: disk.virtualSizeBytes,
    details: disk.details,
    warnings: disk.warnings,
    async *extents(from, to, signal) {
      for await (const extent of disk.extents(from, to, signal)) {
        yield extent.kind === 'hole' ? { ...extent, kind: 'zero' } : extent;
      }
    },
    read: (offset, into, signal) => disk.read(offset, into, signal),
    close: () => disk.close(),
  };
}
