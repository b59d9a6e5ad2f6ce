import { utf8Text, viewOf } from '../../bytes/fields.ts';
import { swapGuidFields, uuidText } from '../../bytes/guid.ts';
import { ceilDivide, isPowerOfTwo, SECTOR_BYTES, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import * as limits from './limits.ts';

/** `VDI_IMAGE_SIGNATURE`, at byte 64: the text before it is for people only. */
export const VDI_SIGNATURE = 0xbeda107f;
export const VDI_SIGNATURE_OFFSET = 64;
/** Version 1.1, the one that VirtualBox writes; 0.2 was before it. */
export const VDI_VERSION = 0x00010001;
/** `sizeof(VDIPREHEADER)`: text, signature and version. */
export const PREHEADER_BYTES = 72;
/** `sizeof(VDIHEADER1)` and `sizeof(VDIHEADER1PLUS)`, the values of cbHeader. */
const HEADER_V1_BYTES = 384;
export const HEADER_V1PLUS_BYTES = 400;
export const NULL_UUID = '00000000-0000-0000-0000-000000000000';

type VdiType = 'dynamic' | 'fixed' | 'differencing';

/** `VDI_IMAGE_TYPE_NORMAL`, `_FIXED` and `_DIFF`. */
const types: Readonly<Record<number, VdiType>> = { 1: 'dynamic', 2: 'fixed', 4: 'differencing' };
const TYPE_UNDO = 3;
/** `VD_VDI_IMAGE_FLAGS_ZERO_EXPAND`: new blocks are filled with zeros; nothing changes for a reader. */
const KNOWN_FLAGS = 1;

/** A VDI header that was checked; VirtualBox's field names (VDICore.h) stand beside ours. */
export interface VdiHeader {
  /** cbHeader */
  readonly headerBytes: number;
  /** u32Type */
  readonly type: VdiType;
  /** szComment */
  readonly comment: string;
  /** offBlocks */
  readonly mapOffsetBytes: number;
  /** offData */
  readonly dataOffsetBytes: number;
  /** cbDisk */
  readonly virtualSizeBytes: number;
  /** cbBlock */
  readonly blockBytes: number;
  /** cbBlockExtra: bytes before the data of every block. */
  readonly blockExtraBytes: number;
  /** cBlocks: entries of the block map. */
  readonly blockCount: number;
  /** cBlocksAllocated */
  readonly allocatedCount: number;
  readonly uuidCreate: string;
  readonly uuidModify: string;
  readonly uuidLinkage: string;
  readonly uuidParentModify: string;
  /** LCHSGeometry.cbSector, of the longer header only. */
  readonly lchsSectorBytes: number | undefined;
}

export const HEADER_STRUCTURE = 'VDI header';

function refuse(code: ImageErrorCode, message: string, offsetBytes: number, hint?: string): never {
  throw new ImageError(code, message, {
    structure: HEADER_STRUCTURE,
    offsetBytes,
    hint,
  });
}

/**
 * Reads and checks the header. Throws IMAGE_MALFORMED, IMAGE_TRUNCATED, IMAGE_LIMIT for a damaged or hostile
 * one, IMAGE_UNSUPPORTED for what is known and not read.
 */
export async function readHeader(source: ByteSource, signal?: AbortSignal): Promise<VdiHeader> {
  const start = await readStructure(source, 0, PREHEADER_BYTES + HEADER_V1_BYTES, HEADER_STRUCTURE, signal);
  const view = viewOf(start);
  requireVersion(view);
  const headerBytes = view.getUint32(72, true);
  if (headerBytes < HEADER_V1_BYTES) {
    refuse('IMAGE_MALFORMED', `VDI cbHeader is ${headerBytes}, less than ${HEADER_V1_BYTES}`, 72);
  }
  const header: VdiHeader = {
    headerBytes,
    type: parseType(view.getUint32(76, true)),
    comment: utf8Text(start.subarray(84, 340)).replace(/\0.*$/su, ''),
    mapOffsetBytes: view.getUint32(340, true),
    dataOffsetBytes: view.getUint32(344, true),
    virtualSizeBytes: toSafeInteger(view.getBigUint64(368, true), {
      structure: HEADER_STRUCTURE,
      offsetBytes: 368,
    }),
    blockBytes: view.getUint32(376, true),
    blockExtraBytes: view.getUint32(380, true),
    blockCount: view.getUint32(384, true),
    allocatedCount: view.getUint32(388, true),
    uuidCreate: diskUuidText(start, 392),
    uuidModify: diskUuidText(start, 408),
    uuidLinkage: diskUuidText(start, 424),
    uuidParentModify: diskUuidText(start, 440),
    lchsSectorBytes: await readLchsSectorBytes(source, headerBytes, signal),
  };
  requireFlags(view.getUint32(80, true));
  requireSizes(header);
  requirePlaces(header);
  return header;
}

function requireVersion(view: DataView): void {
  const signature = view.getUint32(VDI_SIGNATURE_OFFSET, true);
  if (signature !== VDI_SIGNATURE) {
    const message = 'this is not a VDI file: its signature is missing';
    refuse('IMAGE_MALFORMED', message, VDI_SIGNATURE_OFFSET, 'declare the format that it has');
  }
  const version = view.getUint32(68, true);
  if (version === VDI_VERSION) return;
  const text = `${Math.floor(version / 65536)}.${version % 65536}`;
  refuse(
    'IMAGE_UNSUPPORTED',
    `VDI version ${text} is not read, only 1.1`,
    68,
    'make a new copy with VBoxManage clonemedium first',
  );
}

function parseType(value: number): VdiType {
  if (value === TYPE_UNDO) {
    refuse('IMAGE_UNSUPPORTED', 'a VDI undo image holds only changes and is not read', 76);
  }
  return types[value] ?? refuse('IMAGE_MALFORMED', `VDI image type ${value} does not exist`, 76);
}

function requireFlags(flags: number): void {
  if (flags > KNOWN_FLAGS) {
    refuse('IMAGE_UNSUPPORTED', `VDI image flags 0x${flags.toString(16)} are not known`, 80);
  }
}

function requireSizes(header: VdiHeader): void {
  const { virtualSizeBytes, blockBytes, blockExtraBytes, blockCount, allocatedCount } = header;
  if (virtualSizeBytes === 0) refuse('IMAGE_MALFORMED', 'VDI cbDisk is 0', 368);
  if (virtualSizeBytes > limits.VIRTUAL_SIZE_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `VDI cbDisk is ${virtualSizeBytes}, more than 64 TiB`, 368);
  }
  if (!isPowerOfTwo(blockBytes)) {
    refuse('IMAGE_MALFORMED', `VDI cbBlock is ${blockBytes}, not a power of two`, 376);
  }
  if (blockBytes > limits.BLOCK_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `VDI cbBlock is ${blockBytes}, more than ${limits.BLOCK_BYTES_MAX}`, 376);
  }
  if (blockBytes < limits.BLOCK_BYTES_MIN) {
    refuse('IMAGE_UNSUPPORTED', `VDI cbBlock is ${blockBytes}, less than ${limits.BLOCK_BYTES_MIN}`, 376);
  }
  if (blockExtraBytes !== 0 && !isPowerOfTwo(blockExtraBytes)) {
    refuse('IMAGE_MALFORMED', `VDI cbBlockExtra is ${blockExtraBytes}, not a power of two`, 380);
  }
  if (blockExtraBytes > blockBytes) {
    refuse('IMAGE_LIMIT', `VDI cbBlockExtra is ${blockExtraBytes}, more than a block`, 380);
  }
  if (blockCount * 4 > limits.BLOCK_MAP_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `VDI cBlocks is ${blockCount}: the block map is too large`, 384);
  }
  if (blockCount < ceilDivide(virtualSizeBytes, blockBytes)) {
    refuse('IMAGE_MALFORMED', `VDI cBlocks is ${blockCount}, too few for ${virtualSizeBytes} bytes`, 384);
  }
  if (allocatedCount > blockCount) {
    refuse('IMAGE_MALFORMED', `VDI cBlocksAllocated is ${allocatedCount}, more than cBlocks`, 388);
  }
}

function requirePlaces(header: VdiHeader): void {
  const { headerBytes, mapOffsetBytes, dataOffsetBytes, blockCount } = header;
  if (mapOffsetBytes < PREHEADER_BYTES + headerBytes) {
    refuse('IMAGE_MALFORMED', `VDI offBlocks is ${mapOffsetBytes}, inside the header`, 340);
  }
  if (dataOffsetBytes < mapOffsetBytes + blockCount * 4) {
    refuse('IMAGE_MALFORMED', `VDI offData is ${dataOffsetBytes}, before the end of the block map`, 344);
  }
}

/** A UUID as VirtualBox stores it, first fields little endian, in text form. */
function diskUuidText(bytes: Uint8Array, offsetBytes: number): string {
  return uuidText(swapGuidFields(bytes.subarray(offsetBytes, offsetBytes + 16)));
}

async function readLchsSectorBytes(
  source: ByteSource,
  headerBytes: number,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  if (headerBytes < HEADER_V1PLUS_BYTES) return undefined;
  const field = await readStructure(
    source,
    PREHEADER_BYTES + HEADER_V1PLUS_BYTES - 4,
    4,
    HEADER_STRUCTURE,
    signal,
  );
  return viewOf(field).getUint32(0, true);
}

/** What is odd in a header that can be read all the same, one sentence each. */
export function headerWarnings(header: VdiHeader): string[] {
  const warnings: string[] = [];
  if (header.virtualSizeBytes % SECTOR_BYTES !== 0) {
    warnings.push(`the disk size, ${header.virtualSizeBytes} bytes, is not a whole number of sectors`);
  }
  if (header.uuidCreate === NULL_UUID || header.uuidModify === NULL_UUID) {
    warnings.push('a creation or modification UUID is null; VirtualBox does not open such an image');
  }
  if (header.uuidParentModify !== NULL_UUID) {
    warnings.push('a base image names the modification UUID of a parent, which is ignored');
  }
  if (header.lchsSectorBytes !== undefined && header.lchsSectorBytes !== SECTOR_BYTES) {
    warnings.push(`the geometry has sectors of ${header.lchsSectorBytes} bytes; VirtualBox takes only 512`);
  }
  return warnings;
}
