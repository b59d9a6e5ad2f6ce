import { utf8Bytes, viewOf } from '../../bytes/fields.ts';
import { uuidFromHash } from '../../bytes/guid.ts';
import { ceilDivide, KIB, MIB, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { sha256Of } from '../../io/node-hash.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { BlockPlacement } from '../../view/block-placement.ts';
import { wholeDiskRegion } from '../../view/disk-regions.ts';
import type { Layout, Piece } from '../../view/layout.ts';
import { bytesRegion, recordsRegion, regionsLayout, tableRegion, zeroRegion } from '../../view/regions.ts';
import type { WriteRequest } from '../format.ts';
import { chosenValue } from '../options.ts';
import { BLOCK_UNUSED } from './block-table.ts';
import {
  bitmapBytesOf,
  DYNAMIC_HEADER_BYTES,
  DYNAMIC_HEADER_COOKIE,
  DYNAMIC_HEADER_VERSION,
  setHeaderChecksum,
} from './dynamic-header.ts';
import {
  FILE_FORMAT_VERSION,
  FOOTER_BYTES,
  FOOTER_COOKIE,
  FOOTER_STRUCTURE,
  NO_OFFSET,
  setFooterChecksum,
} from './footer.ts';
import { geometryOf } from './geometry.ts';
import { DYNAMIC_SIZE_BYTES_MAX, FIXED_SIZE_BYTES_MAX } from './limits.ts';
import { vhdSizeAlignment, vhdSubformat } from './write-options.ts';

/** The specification's default; the other programs' too. */
const BLOCK_BYTES = 2 * MIB;
/** Where the data of blocks begins, in multiples: what disks with 4 KiB sectors read best. */
const DATA_ALIGN_BYTES = 4 * KIB;
const BITMAP_BYTES = bitmapBytesOf(BLOCK_BYTES);
/** Zeros before every bitmap, so that the data after it is aligned. */
const BLOCK_PADDING_BYTES = DATA_ALIGN_BYTES - BITMAP_BYTES;
const BLOCK_STRIDE_BYTES = DATA_ALIGN_BYTES + BLOCK_BYTES;
const TABLE_OFFSET_BYTES: number = FOOTER_BYTES + DYNAMIC_HEADER_BYTES;
/** Blocks of a fixed disk without data are told apart at this size; the file has no blocks. */
const FIXED_UNIT_BYTES = 64 * KIB;
/**
 * 2020-01-01T00:00:00Z in seconds since 2000. The time stamp is a constant, since a file must not depend on
 * when it is made; only a differencing child compares it, with what it noted of this very file.
 */
const TIME_STAMP = 631_152_000;

/**
 * Plans a VHD file. The disk size is rounded up to a sector or a MiB. Throws IMAGE_LIMIT for an empty disk
 * and above 2040 GiB (dynamic) or 64 TiB (fixed).
 */
export async function planVhd(disk: Disk, request: WriteRequest): Promise<Layout> {
  const { fixed, sizeBytes } = shapeOf(disk.virtualSizeBytes, request);
  const unitBytes = fixed ? FIXED_UNIT_BYTES : BLOCK_BYTES;
  const map = await AllocationMap.ofDisk(disk, unitBytes, { signal: request.signal });
  const footer = makeFooter(sizeBytes, fixed, request.seed);
  if (fixed) return regionsLayout('vhd', [wholeDiskRegion(map, sizeBytes), bytesRegion(footer)]);
  return dynamicLayout(map, ceilDivide(sizeBytes, BLOCK_BYTES), footer);
}

/** Where `planVhd` puts the disk's bytes: those of a block behind its sector bitmap. */
export function vhdPlacement(virtualSizeBytes: number, request: WriteRequest): BlockPlacement {
  const { fixed, sizeBytes } = shapeOf(virtualSizeBytes, request);
  if (fixed) return { kind: 'identity', blockBytes: FIXED_UNIT_BYTES, startBytes: 0 };
  return {
    kind: 'packed',
    blockBytes: BLOCK_BYTES,
    startBytes: blocksOffsetOf(ceilDivide(sizeBytes, BLOCK_BYTES)) + DATA_ALIGN_BYTES,
    strideBytes: BLOCK_STRIDE_BYTES,
  };
}

interface VhdShape {
  readonly fixed: boolean;
  /** Rounded up as asked. */
  readonly sizeBytes: number;
}

function shapeOf(diskSizeBytes: number, request: WriteRequest): VhdShape {
  const fixed = chosenValue(request, vhdSubformat) === 'fixed';
  const alignBytes = chosenValue(request, vhdSizeAlignment) === '1M' ? MIB : SECTOR_BYTES;
  const sizeBytes = roundUp(diskSizeBytes, alignBytes);
  if (sizeBytes > 0 && sizeBytes <= (fixed ? FIXED_SIZE_BYTES_MAX : DYNAMIC_SIZE_BYTES_MAX))
    return { fixed, sizeBytes };
  throw new ImageError('IMAGE_LIMIT', `VHD cannot hold a disk of ${sizeBytes} bytes`, {
    structure: FOOTER_STRUCTURE,
    hint: 'a dynamic VHD holds disks of 1 sector to 2040 GiB, a fixed one to 64 TiB; choose another format',
  });
}

/**
 * Footer copy, dynamic header, block allocation table, blocks in guest order, footer. `blockCount` is exact:
 * Azure refuses a table that is longer than the disk needs.
 */
function dynamicLayout(map: AllocationMap, blockCount: number, footer: Uint8Array): Layout {
  const tableEndBytes = tableEndOf(blockCount);
  const blocksOffsetBytes = blocksOffsetOf(blockCount);
  const tablePadding = new Uint8Array(tableEndBytes - TABLE_OFFSET_BYTES - blockCount * 4).fill(0xff);
  const bitmap = new Uint8Array(BITMAP_BYTES).fill(0xff);
  const block = (rank: number): readonly Piece[] => [
    { kind: 'zero', lengthBytes: BLOCK_PADDING_BYTES },
    { kind: 'bytes', bytes: bitmap },
    { kind: 'disk', offsetBytes: map.select(rank) * BLOCK_BYTES, lengthBytes: BLOCK_BYTES },
  ];
  return regionsLayout('vhd', [
    bytesRegion(footer),
    bytesRegion(makeDynamicHeader(blockCount)),
    tableRegion(blockCount, 4, (first, count, bytes) => {
      const view = viewOf(bytes);
      let rank = map.rank(first);
      for (let i = 0; i < count; i++) {
        const used = map.has(first + i);
        const bitmapBytes = blocksOffsetBytes + rank * BLOCK_STRIDE_BYTES + BLOCK_PADDING_BYTES;
        view.setUint32(i * 4, used ? bitmapBytes / SECTOR_BYTES : BLOCK_UNUSED);
        if (used) rank++;
      }
    }),
    bytesRegion(tablePadding),
    zeroRegion(blocksOffsetBytes - tableEndBytes),
    recordsRegion(map.usedCount, BLOCK_STRIDE_BYTES, block),
    bytesRegion(footer),
  ]);
}

function tableEndOf(blockCount: number): number {
  return roundUp(TABLE_OFFSET_BYTES + blockCount * 4, SECTOR_BYTES);
}

function blocksOffsetOf(blockCount: number): number {
  return roundUp(tableEndOf(blockCount), DATA_ALIGN_BYTES);
}

function makeFooter(sizeBytes: number, fixed: boolean, seed: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES);
  const view = viewOf(bytes);
  bytes.set(utf8Bytes(FOOTER_COOKIE));
  // Bit 1 is reserved and always set.
  view.setUint32(8, 2);
  view.setUint32(12, FILE_FORMAT_VERSION);
  view.setBigUint64(16, fixed ? NO_OFFSET : BigInt(FOOTER_BYTES));
  view.setUint32(24, TIME_STAMP);
  // Hyper-V's own mark: for creators that it does not know, qemu cuts the disk to what the geometry names.
  bytes.set(utf8Bytes('win '), 28);
  view.setUint32(32, 0x000a0000);
  bytes.set(utf8Bytes('Wi2k'), 36);
  view.setBigUint64(40, BigInt(sizeBytes));
  view.setBigUint64(48, BigInt(sizeBytes));
  const { cylinders, heads, sectorsPerTrack } = geometryOf(sizeBytes / SECTOR_BYTES);
  view.setUint16(56, cylinders);
  view.setUint8(58, heads);
  view.setUint8(59, sectorsPerTrack);
  view.setUint32(60, fixed ? 2 : 3);
  bytes.set(uuidFromHash(sha256Of(seed, utf8Bytes('VHD unique id'))), 68);
  setFooterChecksum(bytes);
  return bytes;
}

function makeDynamicHeader(blockCount: number): Uint8Array {
  const bytes = new Uint8Array(DYNAMIC_HEADER_BYTES);
  const view = viewOf(bytes);
  bytes.set(utf8Bytes(DYNAMIC_HEADER_COOKIE));
  view.setBigUint64(8, NO_OFFSET);
  view.setBigUint64(16, BigInt(TABLE_OFFSET_BYTES));
  view.setUint32(24, DYNAMIC_HEADER_VERSION);
  view.setUint32(28, blockCount);
  view.setUint32(32, BLOCK_BYTES);
  setHeaderChecksum(bytes);
  return bytes;
}
