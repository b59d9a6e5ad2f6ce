import { viewOf } from '../../bytes/fields.ts';
import { ceilDivide, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { AllocationMap } from '../../view/allocation-map.ts';
import type { BlockPlacement } from '../../view/block-placement.ts';
import { usedBlocksRegion } from '../../view/disk-regions.ts';
import type { Layout, Piece } from '../../view/layout.ts';
import {
  bytesRegion,
  type Region,
  recordsRegion,
  regionsLayout,
  tableRegion,
  zeroRegion,
} from '../../view/regions.ts';
import { encodeSparseHeader } from './header.ts';
import { FILE_SECTORS_MAX } from './limits.ts';
import { DESCRIPTOR_SECTORS } from './new-descriptor.ts';

/** What every writer of VMDK uses, and the only values that all readers take. */
export const GRAIN_SECTORS = 128;
export const GRAIN_BYTES: number = GRAIN_SECTORS * SECTOR_BYTES;
export const TABLE_ENTRIES = 512;
export const TABLE_SECTORS: number = (TABLE_ENTRIES * 4) / SECTOR_BYTES;

/** Grain tables that a disk of this many grains has, and the sectors of a directory of them. */
export function tableCounts(grainCount: number): { tableCount: number; directorySectors: number } {
  const tableCount = ceilDivide(grainCount, TABLE_ENTRIES);
  return { tableCount, directorySectors: ceilDivide(tableCount * 4, SECTOR_BYTES) };
}

/** Where the parts of a sparse extent stand, in sectors. */
interface SparseGeometry {
  readonly tableCount: number;
  readonly directorySectors: number;
  readonly redundantDirectorySector: number;
  readonly directorySector: number;
  readonly tablesEnd: number;
  /** overHead: where the grains begin. */
  readonly overheadSectors: number;
}

function sparseGeometry(grainCount: number, descriptorSectors: number): SparseGeometry {
  const { tableCount, directorySectors } = tableCounts(grainCount);
  const copySectors = directorySectors + tableCount * TABLE_SECTORS;
  const redundantDirectorySector = 1 + descriptorSectors;
  const directorySector = redundantDirectorySector + copySectors;
  const tablesEnd = directorySector + copySectors;
  const overheadSectors = roundUp(tablesEnd, GRAIN_SECTORS);
  return {
    tableCount,
    directorySectors,
    redundantDirectorySector,
    directorySector,
    tablesEnd,
    overheadSectors,
  };
}

/** Where the grains of a monolithicSparse file go. */
export function sparsePlacement(capacitySectors: number): BlockPlacement {
  const grainCount = ceilDivide(capacitySectors, GRAIN_SECTORS);
  const { overheadSectors } = sparseGeometry(grainCount, DESCRIPTOR_SECTORS);
  return {
    kind: 'packed',
    blockBytes: GRAIN_BYTES,
    startBytes: overheadSectors * SECTOR_BYTES,
    strideBytes: GRAIN_BYTES,
  };
}

/**
 * A sparse extent: header, descriptor (where it is the whole disk), the redundant grain directory with its
 * tables, the grain directory with its tables, padding to a grain, and the used grains in guest order, the last
 * one whole. All tables are there, in both copies, because VirtualBox compares them. Throws IMAGE_LIMIT when the
 * data does not fit into the 2 TiB that 32-bit sector numbers reach.
 */
export function sparseLayout(
  capacitySectors: number,
  map: AllocationMap,
  descriptor: Uint8Array = new Uint8Array(0),
): Layout {
  const descriptorSectors = descriptor.length / SECTOR_BYTES;
  const geometry = sparseGeometry(map.blockCount, descriptorSectors);
  const { tableCount, directorySectors, redundantDirectorySector, directorySector, overheadSectors } =
    geometry;
  if (overheadSectors + map.usedCount * GRAIN_SECTORS > FILE_SECTORS_MAX) {
    throw new ImageError(
      'IMAGE_LIMIT',
      `${map.usedCount * GRAIN_BYTES} bytes of data do not fit into a monolithicSparse VMDK: the file would be above 2 TiB`,
      {
        structure: 'VMDK sparse extent',
        hint: 'choose twoGbMaxExtentSparse, or another format, such as qcow2 or raw',
      },
    );
  }
  const header = encodeSparseHeader({
    version: 1,
    capacitySectors,
    grainSectors: GRAIN_SECTORS,
    tableEntryCount: TABLE_ENTRIES,
    descriptorSectorCount: descriptorSectors,
    redundantDirectorySector,
    directorySector,
    overheadSectors,
    compressed: false,
  });
  const tables = tablesRegion(map, tableCount, overheadSectors);
  return regionsLayout('vmdk', [
    bytesRegion(header),
    bytesRegion(descriptor),
    directoryRegion(tableCount, directorySectors, redundantDirectorySector + directorySectors),
    tables,
    directoryRegion(tableCount, directorySectors, directorySector + directorySectors),
    tables,
    zeroRegion((overheadSectors - geometry.tablesEnd) * SECTOR_BYTES),
    usedBlocksRegion(map),
  ]);
}

/** The sectors of tables that stand one after the other, padded to whole sectors. */
export function directoryRegion(
  tableCount: number,
  directorySectors: number,
  firstTableSector: number,
): Region {
  return tableRegion((directorySectors * SECTOR_BYTES) / 4, 4, (first, count, bytes) => {
    const view = viewOf(bytes);
    for (let i = 0; i < count && first + i < tableCount; i++) {
      view.setUint32(i * 4, firstTableSector + (first + i) * TABLE_SECTORS, true);
    }
  });
}

/** Every grain table; one without a used grain costs nothing to make. */
function tablesRegion(map: AllocationMap, tableCount: number, firstGrainSector: number): Region {
  return recordsRegion(tableCount, TABLE_SECTORS * SECTOR_BYTES, (index): Piece[] => {
    const firstGrain = index * TABLE_ENTRIES;
    const lengthBytes = TABLE_SECTORS * SECTOR_BYTES;
    let rank = map.rank(firstGrain);
    const endGrain = Math.min(firstGrain + TABLE_ENTRIES, map.blockCount);
    if (rank === map.rank(endGrain)) return [{ kind: 'zero', lengthBytes }];
    const bytes = new Uint8Array(lengthBytes);
    const view = viewOf(bytes);
    for (const grain of map.used(firstGrain, endGrain)) {
      view.setUint32((grain - firstGrain) * 4, firstGrainSector + rank++ * GRAIN_SECTORS, true);
    }
    return [{ kind: 'bytes', bytes }];
  });
}
