import { utf8Bytes, viewOf } from '../../bytes/fields.ts';
import { swapGuidFields, uuidFromHash } from '../../bytes/guid.ts';
import { ceilDivide, MIB, roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
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
import { BLOCK_FREE } from './block-map.ts';
import {
  HEADER_V1PLUS_BYTES,
  PREHEADER_BYTES,
  VDI_SIGNATURE,
  VDI_SIGNATURE_OFFSET,
  VDI_VERSION,
} from './header.ts';
import { VIRTUAL_SIZE_BYTES_MAX } from './limits.ts';
import { vdiSubformat } from './write-options.ts';

/** VirtualBox's own block size; qemu reads no other. */
const BLOCK_BYTES = MIB;
/** `VDI_DATA_ALIGN`: where the map and the data begin, and multiples of it. */
const ALIGN_BYTES = MIB;
/** What most files of VirtualBox say; for people only, but some programs compare it. */
const FILE_INFO = '<<< Oracle VM VirtualBox Disk Image >>>\n';

/**
 * Plans a VDI file as VirtualBox lays out its own: header, block map at 1 MiB, blocks of 1 MiB in guest
 * order from the next whole MiB. Sizes are rounded up to a sector. Throws IMAGE_LIMIT for an empty disk and
 * above 64 TiB.
 */
export async function planVdi(disk: Disk, request: WriteRequest): Promise<Layout> {
  const fixed = isFixed(request);
  const virtualSizeBytes = sizeOf(disk.virtualSizeBytes);
  const map = await AllocationMap.ofDisk(disk, BLOCK_BYTES, { signal: request.signal });
  const dataOffsetBytes = dataOffsetOf(map.blockCount);
  const header = makeHeader({
    type: fixed ? 2 : 1,
    virtualSizeBytes,
    dataOffsetBytes,
    blockCount: map.blockCount,
    allocatedCount: fixed ? map.blockCount : map.usedCount,
    seed: request.seed,
  });
  const table = fixed ? identityTable(map) : rankTable(map);
  return regionsLayout('vdi', [
    bytesRegion(header),
    zeroRegion(ALIGN_BYTES - header.length),
    table,
    zeroRegion(dataOffsetBytes - ALIGN_BYTES - table.lengthBytes),
    fixed ? wholeDiskRegion(map, map.blockCount * BLOCK_BYTES) : usedBlocksRegion(map),
  ]);
}

/** Where `planVdi` puts the blocks. */
export function vdiPlacement(virtualSizeBytes: number, request: WriteRequest): BlockPlacement {
  const fixed = isFixed(request);
  const blockCount = ceilDivide(sizeOf(virtualSizeBytes), BLOCK_BYTES);
  const startBytes = dataOffsetOf(blockCount);
  if (fixed) return { kind: 'identity', blockBytes: BLOCK_BYTES, startBytes };
  return { kind: 'packed', blockBytes: BLOCK_BYTES, startBytes, strideBytes: BLOCK_BYTES };
}

function isFixed(request: WriteRequest): boolean {
  return chosenValue(request, vdiSubformat) === 'fixed';
}

function sizeOf(diskSizeBytes: number): number {
  const sizeBytes = roundUp(diskSizeBytes, SECTOR_BYTES);
  if (sizeBytes > 0 && sizeBytes <= VIRTUAL_SIZE_BYTES_MAX) return sizeBytes;
  throw new ImageError('IMAGE_LIMIT', `VDI cannot hold a disk of ${sizeBytes} bytes`, {
    structure: 'VDI header',
    hint: 'VDI holds disks of 1 sector to 64 TiB',
  });
}

function dataOffsetOf(blockCount: number): number {
  return roundUp(ALIGN_BYTES + blockCount * 4, ALIGN_BYTES);
}

function identityTable(map: AllocationMap): Region {
  return tableRegion(map.blockCount, 4, (first, count, bytes) => {
    const view = viewOf(bytes);
    for (let i = 0; i < count; i++) view.setUint32(i * 4, first + i, true);
  });
}

function rankTable(map: AllocationMap): Region {
  return tableRegion(map.blockCount, 4, (first, count, bytes) => {
    const view = viewOf(bytes);
    let rank = map.rank(first);
    for (let i = 0; i < count; i++) {
      view.setUint32(i * 4, map.has(first + i) ? rank++ : BLOCK_FREE, true);
    }
  });
}

interface HeaderFields {
  readonly type: 1 | 2;
  readonly virtualSizeBytes: number;
  readonly dataOffsetBytes: number;
  readonly blockCount: number;
  readonly allocatedCount: number;
  readonly seed: Uint8Array;
}

function makeHeader(fields: HeaderFields): Uint8Array {
  const bytes = new Uint8Array(PREHEADER_BYTES + HEADER_V1PLUS_BYTES);
  const view = viewOf(bytes);
  bytes.set(utf8Bytes(FILE_INFO));
  view.setUint32(VDI_SIGNATURE_OFFSET, VDI_SIGNATURE, true);
  view.setUint32(68, VDI_VERSION, true);
  view.setUint32(72, HEADER_V1PLUS_BYTES, true);
  view.setUint32(76, fields.type, true);
  view.setUint32(340, ALIGN_BYTES, true);
  view.setUint32(344, fields.dataOffsetBytes, true);
  // Both geometries are 0 cylinders, heads and sectors, "not calculated": VirtualBox then takes the one that
  // the guest's partition table was made with. Their sector sizes must be 512 (qemu checks the first,
  // VirtualBox the second).
  view.setUint32(360, SECTOR_BYTES, true);
  view.setBigUint64(368, BigInt(fields.virtualSizeBytes), true);
  view.setUint32(376, BLOCK_BYTES, true);
  view.setUint32(384, fields.blockCount, true);
  view.setUint32(388, fields.allocatedCount, true);
  bytes.set(seededUuid(fields.seed, 'VDI uuidCreate'), 392);
  bytes.set(seededUuid(fields.seed, 'VDI uuidModify'), 408);
  view.setUint32(468, SECTOR_BYTES, true);
  return bytes;
}

function seededUuid(seed: Uint8Array, role: string): Uint8Array {
  return swapGuidFields(uuidFromHash(sha256Of(seed, utf8Bytes(role))));
}
