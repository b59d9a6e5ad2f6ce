import { utf8Bytes, viewOf } from '../../bytes/fields.ts';
import { swapGuidFields, uuidFromHash } from '../../bytes/guid.ts';
import { isPowerOfTwo, KIB, MIB, roundUp } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { sha256Of } from '../../io/node-hash.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { BlockPlacement } from '../../view/block-placement.ts';
import { usedBlocksRegion, wholeDiskRegion } from '../../view/disk-regions.ts';
import type { Layout } from '../../view/layout.ts';
import { bytesRegion, type Region, regionsLayout, tableRegion, zeroRegion } from '../../view/regions.ts';
import type { WriteRequest } from '../format.ts';
import { chosenValue } from '../options.ts';
import { STATE_FULLY_PRESENT, TABLE_ENTRY_BYTES, TableGeometry } from './block-table.ts';
import { guidBytes } from './guids.ts';
import {
  FILE_IDENTIFIER,
  HEADER_BYTES,
  HEADER_OFFSETS,
  HEADER_SECTION_BYTES,
  HEADER_SIGNATURE,
  setChecksum,
  VHDX_VERSION,
} from './header.ts';
import { BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, VIRTUAL_SIZE_BYTES_MAX } from './limits.ts';
import {
  ITEMS,
  LEAVE_BLOCKS_ALLOCATED,
  METADATA_ENTRY_BYTES,
  METADATA_SIGNATURE,
  METADATA_STRUCTURE,
  METADATA_TABLE_BYTES,
} from './metadata.ts';
import {
  BAT_REGION_GUID,
  METADATA_REGION_GUID,
  REGION_ENTRY_BYTES,
  REGION_HEADER_BYTES,
  REGION_SIGNATURE,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
} from './region-table.ts';
import { BLOCK_SIZE, LOGICAL_SECTOR_SIZE, SUBFORMAT } from './write-options.ts';

/**
 * A small block holds little that is not data: 1 MiB up to a disk of 1 TiB. Beyond it the block grows, so that
 * the table stays at 8 MiB: Hyper-V holds it in memory, and it stands in front of an image that is read while
 * it arrives. Hyper-V's own default of 32 MiB is made for disks that grow in place.
 */
const DEFAULT_BLOCK_COUNT_MAX: number = 2 ** 20;
const LOG_OFFSET_BYTES = HEADER_SECTION_BYTES;
const LOG_BYTES = MIB;
const METADATA_OFFSET_BYTES = LOG_OFFSET_BYTES + LOG_BYTES;
const METADATA_BYTES = MIB;
const TABLE_OFFSET_BYTES = METADATA_OFFSET_BYTES + METADATA_BYTES;
/** What Hyper-V says of its own disks, whatever they stand on. */
const PHYSICAL_SECTOR_BYTES = 4096;
/** Parts of a fixed disk without data are told apart at this size. */
const FIXED_UNIT_BYTES: number = 64 * KIB;

interface Geometry {
  readonly fixed: boolean;
  readonly virtualSizeBytes: number;
  readonly logicalSectorBytes: number;
  readonly table: TableGeometry;
  readonly dataOffsetBytes: number;
}

/**
 * Plans a VHDX file: headers and region tables, log (empty), metadata, block allocation table, blocks in guest
 * order. Sizes are rounded up to a logical sector. Throws IMAGE_LIMIT for an empty disk and above 64 TiB,
 * IMAGE_OPTION for a block size that there is not.
 */
export async function planVhdx(disk: Disk, request: WriteRequest): Promise<Layout> {
  const geometry = geometryOf(disk.virtualSizeBytes, request);
  const { fixed, table, dataOffsetBytes } = geometry;
  const unitBytes = fixed ? FIXED_UNIT_BYTES : table.blockBytes;
  const map = await AllocationMap.ofDisk(disk, unitBytes, { signal: request.signal });
  const entries = tableEntries(geometry, map);
  return regionsLayout('vhdx', [
    ...headerSection(geometry, request.seed),
    zeroRegion(LOG_BYTES),
    ...metadataRegion(geometry, request.seed),
    entries,
    zeroRegion(dataOffsetBytes - TABLE_OFFSET_BYTES - entries.lengthBytes),
    fixed ? wholeDiskRegion(map, table.blockCount * table.blockBytes) : usedBlocksRegion(map),
  ]);
}

/** Where the blocks of such a file go. Throws as `planVhdx` does. */
export function placeVhdx(virtualSizeBytes: number, request: WriteRequest): BlockPlacement {
  const { fixed, table, dataOffsetBytes: startBytes } = geometryOf(virtualSizeBytes, request);
  if (fixed) return { kind: 'identity', blockBytes: FIXED_UNIT_BYTES, startBytes };
  const { blockBytes } = table;
  return { kind: 'packed', blockBytes, startBytes, strideBytes: blockBytes };
}

function geometryOf(sizeBytes: number, request: WriteRequest): Geometry {
  const logicalSectorBytes = Number(chosenValue(request, LOGICAL_SECTOR_SIZE));
  const virtualSizeBytes = roundUp(sizeBytes, logicalSectorBytes);
  if (virtualSizeBytes === 0 || virtualSizeBytes > VIRTUAL_SIZE_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `VHDX cannot hold a disk of ${virtualSizeBytes} bytes`, {
      structure: METADATA_STRUCTURE,
      hint: 'VHDX holds disks of 1 sector to 64 TiB',
    });
  }
  const blockBytes = blockSize(virtualSizeBytes, request);
  const table = new TableGeometry(virtualSizeBytes, blockBytes, logicalSectorBytes, false);
  return {
    fixed: chosenValue(request, SUBFORMAT) === 'fixed',
    virtualSizeBytes,
    logicalSectorBytes,
    table,
    dataOffsetBytes: TABLE_OFFSET_BYTES + roundUp(table.entryCount * TABLE_ENTRY_BYTES, MIB),
  };
}

function blockSize(virtualSizeBytes: number, request: WriteRequest): number {
  const text = request.options[BLOCK_SIZE.name];
  if (text === undefined) {
    let blockBytes = BLOCK_BYTES_MIN;
    while (blockBytes * DEFAULT_BLOCK_COUNT_MAX < virtualSizeBytes) blockBytes *= 2;
    return blockBytes;
  }
  const bytes = /^\d+$/.test(text) ? Number(text) : 0;
  if (isPowerOfTwo(bytes) && bytes >= BLOCK_BYTES_MIN && bytes <= BLOCK_BYTES_MAX) return bytes;
  throw new ImageError('IMAGE_OPTION', `block_size cannot be ${JSON.stringify(text)}`, {
    structure: `option ${BLOCK_SIZE.name}`,
    hint: `use a power of two from ${BLOCK_BYTES_MIN} to ${BLOCK_BYTES_MAX}`,
  });
}

/** Payload blocks in guest order; without a parent no chunk has a sector bitmap. */
function tableEntries({ fixed, table, dataOffsetBytes }: Geometry, map: AllocationMap): Region {
  const { blockBytes } = table;
  return tableRegion(table.entryCount, TABLE_ENTRY_BYTES, (first, count, bytes) => {
    const view = viewOf(bytes);
    let position = fixed ? table.blockAt(first) : map.rank(table.blockAt(first));
    for (let i = 0; i < count; i++) {
      const index = first + i;
      if (table.isBitmap(index) || (!fixed && !map.has(table.blockAt(index)))) continue;
      const placeMib = (dataOffsetBytes + position++ * blockBytes) / MIB;
      view.setUint32(i * 8, (placeMib % 4096) * MIB + STATE_FULLY_PRESENT, true);
      view.setUint32(i * 8 + 4, Math.floor(placeMib / 4096), true);
    }
  });
}

/** The first MiB: file type identifier, both headers, both copies of the region table. */
function headerSection(geometry: Geometry, seed: Uint8Array): Region[] {
  const [firstHeader, secondHeader] = HEADER_OFFSETS;
  const [firstTable, secondTable] = REGION_TABLE_OFFSETS;
  const bytes = new Uint8Array(secondTable + REGION_TABLE_BYTES);
  bytes.set(utf8Bytes(FILE_IDENTIFIER));
  const creator = 'Gantry';
  for (let i = 0; i < creator.length; i++) viewOf(bytes).setUint16(8 + i * 2, creator.charCodeAt(i), true);
  // The second header is the current one; the first one is as an update would have left it.
  bytes.set(makeHeader(1n, seed), firstHeader);
  bytes.set(makeHeader(2n, seed), secondHeader);
  const table = makeRegionTable(geometry);
  bytes.set(table, firstTable);
  bytes.set(table, secondTable);
  return [bytesRegion(bytes), zeroRegion(HEADER_SECTION_BYTES - bytes.length)];
}

function makeHeader(sequenceNumber: bigint, seed: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  bytes.set(utf8Bytes(HEADER_SIGNATURE));
  view.setBigUint64(8, sequenceNumber, true);
  bytes.set(seededGuid(seed, 'FileWriteGuid'), 16);
  bytes.set(seededGuid(seed, 'DataWriteGuid'), 32);
  // The LogGuid stays zero: the log is empty.
  view.setUint16(66, VHDX_VERSION, true);
  view.setUint32(68, LOG_BYTES, true);
  view.setBigUint64(72, BigInt(LOG_OFFSET_BYTES), true);
  setChecksum(bytes);
  return bytes;
}

function makeRegionTable({ dataOffsetBytes }: Geometry): Uint8Array {
  const bytes = new Uint8Array(REGION_TABLE_BYTES);
  const view = viewOf(bytes);
  const regions: readonly (readonly [guid: string, offsetBytes: number, endBytes: number])[] = [
    [BAT_REGION_GUID, TABLE_OFFSET_BYTES, dataOffsetBytes],
    [METADATA_REGION_GUID, METADATA_OFFSET_BYTES, TABLE_OFFSET_BYTES],
  ];
  bytes.set(utf8Bytes(REGION_SIGNATURE));
  view.setUint32(8, regions.length, true);
  for (const [i, [guid, offsetBytes, endBytes]] of regions.entries()) {
    const at = REGION_HEADER_BYTES + i * REGION_ENTRY_BYTES;
    bytes.set(guidBytes(guid), at);
    view.setBigUint64(at + 16, BigInt(offsetBytes), true);
    view.setUint32(at + 24, endBytes - offsetBytes, true);
    // Required, as Hyper-V says.
    view.setUint32(at + 28, 1, true);
  }
  setChecksum(bytes);
  return bytes;
}

/** Flags of metadata entries: 2 is about the virtual disk, 4 required. */
const OF_FILE = 4;
const OF_DISK = 6;

function metadataRegion(geometry: Geometry, seed: Uint8Array): Region[] {
  const parameters = new Uint8Array(8);
  viewOf(parameters).setUint32(0, geometry.table.blockBytes, true);
  viewOf(parameters).setUint32(4, geometry.fixed ? LEAVE_BLOCKS_ALLOCATED : 0, true);
  const size = new Uint8Array(8);
  viewOf(size).setBigUint64(0, BigInt(geometry.virtualSizeBytes), true);
  const items: readonly (readonly [guid: string, flags: number, bytes: Uint8Array])[] = [
    [ITEMS.fileParameters.guid, OF_FILE, parameters],
    [ITEMS.virtualDiskSize.guid, OF_DISK, size],
    [ITEMS.virtualDiskId.guid, OF_DISK, seededGuid(seed, 'virtual disk id')],
    [ITEMS.logicalSectorSize.guid, OF_DISK, uint32Bytes(geometry.logicalSectorBytes)],
    [ITEMS.physicalSectorSize.guid, OF_DISK, uint32Bytes(PHYSICAL_SECTOR_BYTES)],
  ];
  const bytes = new Uint8Array(METADATA_TABLE_BYTES + KIB);
  const view = viewOf(bytes);
  bytes.set(utf8Bytes(METADATA_SIGNATURE));
  view.setUint16(10, items.length, true);
  let itemOffset = METADATA_TABLE_BYTES;
  for (const [i, [guid, flags, item]] of items.entries()) {
    const at = (i + 1) * METADATA_ENTRY_BYTES;
    bytes.set(guidBytes(guid), at);
    view.setUint32(at + 16, itemOffset, true);
    view.setUint32(at + 20, item.length, true);
    view.setUint32(at + 24, flags, true);
    bytes.set(item, itemOffset);
    itemOffset += item.length;
  }
  return [bytesRegion(bytes), zeroRegion(METADATA_BYTES - bytes.length)];
}

function uint32Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value, true);
  return bytes;
}

function seededGuid(seed: Uint8Array, role: string): Uint8Array {
  return swapGuidFields(uuidFromHash(sha256Of(seed, utf8Bytes(`VHDX ${role}`))));
}
