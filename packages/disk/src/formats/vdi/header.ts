import { utf8Text, viewOf } from '../../bytes/fields.ts';
import { swapGuidFields, uuidText } from '../../bytes/guid.ts';
import { ceilDivide, isPowerOfTwo, SECTOR_BYTES, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import * as limits from './limits.ts';

/** `VDI_IMAGE_SIGNATURE`, at byte 64: the text before it is for people only. */
export const VDI_SIGNATURE = 0xbeda107f;
export const VDI_SIGNATURE_OFFSET = 64;
/** Version 1.1, the one that VirtualBox writes. */
export const VDI_VERSION = 0x00010001;
/** Version 0.2, from before it: shorter, and map and data have fixed places. */
const VDI_VERSION_0 = 0x00000002;
/** `sizeof(VDIPREHEADER)`: text, signature and version. */
export const PREHEADER_BYTES = 72;
/** `sizeof(VDIHEADER0)`. */
const HEADER_V0_BYTES = 348;
/** `sizeof(VDIHEADER1)` and `sizeof(VDIHEADER1PLUS)`, the values of cbHeader. */
const HEADER_V1_BYTES = 384;
export const HEADER_V1PLUS_BYTES = 400;
export const NULL_UUID = '00000000-0000-0000-0000-000000000000';

type VdiType = 'dynamic' | 'fixed' | 'undo' | 'differencing';

/** `VDI_IMAGE_TYPE_NORMAL`, `_FIXED`, `_UNDO` and `_DIFF`. */
const types: Readonly<Record<number, VdiType>> = { 1: 'dynamic', 2: 'fixed', 3: 'undo', 4: 'differencing' };
/** `VD_VDI_IMAGE_FLAGS_ZERO_EXPAND`: new blocks are filled with zeros; nothing changes for a reader. */
const KNOWN_FLAGS = 1;

/** Where the sizes of a header stand in the file. */
interface VdiPlaces {
  readonly cbDisk: number;
  readonly cbBlock: number;
  readonly cbBlockExtra: number;
  readonly cBlocks: number;
  readonly cBlocksAllocated: number;
  readonly uuidLinkage: number;
}

const version1Places: VdiPlaces = {
  cbDisk: 368,
  cbBlock: 376,
  cbBlockExtra: 380,
  cBlocks: 384,
  cBlocksAllocated: 388,
  uuidLinkage: 424,
};
const version0Places: VdiPlaces = {
  cbDisk: 352,
  cbBlock: 360,
  // Not in this version, where it is always 0.
  cbBlockExtra: 360,
  cBlocks: 364,
  cBlocksAllocated: 368,
  uuidLinkage: 404,
};

/** A VDI header that was checked; VirtualBox's field names (VDICore.h) stand beside ours. */
export interface VdiHeader {
  readonly version: '1.1' | '0.2';
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
  readonly places: VdiPlaces;
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
  const start = await readStructure(source, 0, PREHEADER_BYTES + HEADER_V0_BYTES, HEADER_STRUCTURE, signal);
  const version = readVersion(viewOf(start));
  const header = version === '0.2' ? parseVersion0(start) : await readVersion1(source, signal);
  requireSizes(header);
  requirePlaces(header);
  return header;
}

function readVersion(view: DataView): '1.1' | '0.2' {
  const signature = view.getUint32(VDI_SIGNATURE_OFFSET, true);
  if (signature !== VDI_SIGNATURE) {
    const message = 'this is not a VDI file: its signature is missing';
    refuse('IMAGE_MALFORMED', message, VDI_SIGNATURE_OFFSET, 'declare the format that it has');
  }
  const version = view.getUint32(68, true);
  if (version === VDI_VERSION) return '1.1';
  if (version === VDI_VERSION_0) return '0.2';
  const text = `${Math.floor(version / 65536)}.${version % 65536}`;
  const message = `VDI version ${text} is not read, only 1.1 and 0.2`;
  return refuse('IMAGE_UNSUPPORTED', message, 68, 'make a new copy with VBoxManage clonemedium first');
}

async function readVersion1(source: ByteSource, signal: AbortSignal | undefined): Promise<VdiHeader> {
  const start = await readStructure(source, 0, PREHEADER_BYTES + HEADER_V1_BYTES, HEADER_STRUCTURE, signal);
  const view = viewOf(start);
  const headerBytes = view.getUint32(72, true);
  if (headerBytes < HEADER_V1_BYTES) {
    refuse('IMAGE_MALFORMED', `VDI cbHeader is ${headerBytes}, less than ${HEADER_V1_BYTES}`, 72);
  }
  requireFlags(view.getUint32(80, true), 80);
  return {
    version: '1.1',
    headerBytes,
    type: parseType(view.getUint32(76, true), 76),
    comment: commentText(start, 84),
    mapOffsetBytes: view.getUint32(340, true),
    dataOffsetBytes: view.getUint32(344, true),
    virtualSizeBytes: diskSize(view, 368),
    blockBytes: view.getUint32(376, true),
    blockExtraBytes: view.getUint32(380, true),
    blockCount: view.getUint32(384, true),
    allocatedCount: view.getUint32(388, true),
    places: version1Places,
    uuidCreate: diskUuidText(start, 392),
    uuidModify: diskUuidText(start, 408),
    uuidLinkage: diskUuidText(start, 424),
    uuidParentModify: diskUuidText(start, 440),
    lchsSectorBytes: await readLchsSectorBytes(source, headerBytes, signal),
  };
}

/** The map follows the header, the data the map. */
function parseVersion0(start: Uint8Array): VdiHeader {
  const view = viewOf(start);
  const blockCount = view.getUint32(364, true);
  const mapOffsetBytes = PREHEADER_BYTES + HEADER_V0_BYTES;
  requireFlags(view.getUint32(76, true), 76);
  return {
    version: '0.2',
    headerBytes: HEADER_V0_BYTES,
    type: parseType(view.getUint32(72, true), 72),
    comment: commentText(start, 80),
    mapOffsetBytes,
    dataOffsetBytes: mapOffsetBytes + blockCount * 4,
    virtualSizeBytes: diskSize(view, 352),
    blockBytes: view.getUint32(360, true),
    blockExtraBytes: 0,
    blockCount,
    allocatedCount: view.getUint32(368, true),
    places: version0Places,
    uuidCreate: diskUuidText(start, 372),
    uuidModify: diskUuidText(start, 388),
    uuidLinkage: diskUuidText(start, 404),
    uuidParentModify: NULL_UUID,
    lchsSectorBytes: undefined,
  };
}

function parseType(value: number, offsetBytes: number): VdiType {
  return types[value] ?? refuse('IMAGE_MALFORMED', `VDI image type ${value} does not exist`, offsetBytes);
}

function commentText(start: Uint8Array, offsetBytes: number): string {
  return utf8Text(start.subarray(offsetBytes, offsetBytes + 256)).replace(/\0.*$/su, '');
}

function diskSize(view: DataView, offsetBytes: number): number {
  return toSafeInteger(view.getBigUint64(offsetBytes, true), { structure: HEADER_STRUCTURE, offsetBytes });
}

function requireFlags(flags: number, offsetBytes: number): void {
  if (flags > KNOWN_FLAGS) {
    refuse('IMAGE_UNSUPPORTED', `VDI image flags 0x${flags.toString(16)} are not known`, offsetBytes);
  }
}

function requireSizes(header: VdiHeader): void {
  const { places } = header;
  const { virtualSizeBytes, blockBytes, blockExtraBytes, blockCount, allocatedCount } = header;
  if (virtualSizeBytes === 0) refuse('IMAGE_MALFORMED', 'VDI cbDisk is 0', places.cbDisk);
  if (virtualSizeBytes > limits.VIRTUAL_SIZE_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `VDI cbDisk is ${virtualSizeBytes}, more than 64 TiB`, places.cbDisk);
  }
  if (!isPowerOfTwo(blockBytes)) {
    refuse('IMAGE_MALFORMED', `VDI cbBlock is ${blockBytes}, not a power of two`, places.cbBlock);
  }
  if (blockBytes > limits.BLOCK_BYTES_MAX) {
    refuse(
      'IMAGE_LIMIT',
      `VDI cbBlock is ${blockBytes}, more than ${limits.BLOCK_BYTES_MAX}`,
      places.cbBlock,
    );
  }
  if (blockBytes < limits.BLOCK_BYTES_MIN) {
    refuse(
      'IMAGE_UNSUPPORTED',
      `VDI cbBlock is ${blockBytes}, less than ${limits.BLOCK_BYTES_MIN}`,
      places.cbBlock,
    );
  }
  if (blockExtraBytes !== 0 && !isPowerOfTwo(blockExtraBytes)) {
    refuse(
      'IMAGE_MALFORMED',
      `VDI cbBlockExtra is ${blockExtraBytes}, not a power of two`,
      places.cbBlockExtra,
    );
  }
  if (blockExtraBytes > blockBytes) {
    refuse('IMAGE_LIMIT', `VDI cbBlockExtra is ${blockExtraBytes}, more than a block`, places.cbBlockExtra);
  }
  if (blockCount * 4 > limits.BLOCK_MAP_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `VDI cBlocks is ${blockCount}: the block map is too large`, places.cBlocks);
  }
  if (blockCount < ceilDivide(virtualSizeBytes, blockBytes)) {
    refuse(
      'IMAGE_MALFORMED',
      `VDI cBlocks is ${blockCount}, too few for ${virtualSizeBytes} bytes`,
      places.cBlocks,
    );
  }
  if (allocatedCount > blockCount) {
    refuse(
      'IMAGE_MALFORMED',
      `VDI cBlocksAllocated is ${allocatedCount}, more than cBlocks`,
      places.cBlocksAllocated,
    );
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
  if (header.uuidParentModify !== NULL_UUID && header.uuidLinkage === NULL_UUID) {
    warnings.push('a base image names the modification UUID of a parent, which is ignored');
  }
  if (header.lchsSectorBytes !== undefined && header.lchsSectorBytes !== SECTOR_BYTES) {
    warnings.push(`the geometry has sectors of ${header.lchsSectorBytes} bytes; VirtualBox takes only 512`);
  }
  return warnings;
}
