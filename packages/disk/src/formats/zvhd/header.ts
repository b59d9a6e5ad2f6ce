import { bytesEqual, hasMagic, utf8Bytes, viewOf } from '../../bytes/fields.ts';
import { uuidFromHash, uuidText } from '../../bytes/guid.ts';
import {
  ceilDivide,
  GIB,
  isPowerOfTwo,
  MIB,
  roundUp,
  SECTOR_BYTES,
  toSafeInteger,
} from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { sha256Of } from '../../io/node-hash.ts';
import { checksumOf, timeText } from '../vhd/footer.ts';
import { geometryOf } from '../vhd/geometry.ts';
import * as limits from './limits.ts';

/** A header stands at the start of a page of its own, and so does every record. */
export const PAGE_BYTES = 4096;
const HEADER_BYTES = 512;
/** What the reference driver writes, and of ZVHD the only size there is. */
export const WRITTEN_BLOCK_BYTES: number = 2 * MIB;

export type ZvhdKind = 'zvhd' | 'zvhd2';

/** The mark of each, padded: the same letters could begin a text. */
export const magics: Readonly<Record<ZvhdKind, string>> = { zvhd: 'stream\0\0', zvhd2: 'z2strm\0\0' };
export const titles: Readonly<Record<ZvhdKind, string>> = { zvhd: 'ZVHD', zvhd2: 'ZVHD2' };

const FORMAT_VERSION = 0x00010000;
const CREATOR_VERSION = 0x00010004;
/** Of older files; nothing is known to differ in them. */
const OLDER_CREATOR_VERSION = 0x00010003;
const ZVHD2_VERSION = 1;
const CHECKSUM_OFFSET = 64;
/** 2020-01-01T00:00:00Z in seconds since 2000: a file must not depend on when it is made. */
const TIME_STAMP = 631_152_000;

export const INDEX_ENTRY_BYTES = 16;
export const INDEX_SEGMENT_BYTES: number = 512 * 1024;
export const BITMAP_SEGMENT_BYTES = 4096;

/** Where a ZVHD2 file says that its blocks are; in its last page alone. */
export interface ZvhdIndexPlace {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly bitmapOffsetBytes: number;
  readonly bitmapBytes: number;
  /** Records in the file. */
  readonly recordCount: number;
  /** Entries of the index: with those for blocks that are zero, if it has them. */
  readonly entryCount: number;
}

/** A header that was checked. */
export interface ZvhdHeader {
  readonly kind: ZvhdKind;
  /** The original size. */
  readonly virtualSizeBytes: number;
  /** The current size: the original one rounded up to a GiB, for the cloud's volumes. */
  readonly currentSizeBytes: number;
  readonly timeStamp: string;
  readonly creatorVersion: number;
  readonly uuid: string;
  readonly blockBytes: number;
  readonly blockCount: number;
  readonly compression: 'zlib' | 'zstd';
}

/** A header with its place in the file, and its bytes. */
export interface ZvhdPage {
  readonly header: ZvhdHeader;
  readonly bytes: Uint8Array;
  readonly offsetBytes: number;
}

export function structureOf(kind: ZvhdKind): string {
  return `${titles[kind]} header`;
}

/** Reads and checks the header page at an offset. Throws ImageError for one that is not sound or not known. */
export async function readHeaderPage(
  source: ByteSource,
  kind: ZvhdKind,
  offsetBytes: number,
  signal?: AbortSignal,
): Promise<ZvhdPage> {
  const structure = structureOf(kind);
  const bytes = await readStructure(source, offsetBytes, PAGE_BYTES, structure, signal);
  return { header: parseHeader(bytes, kind, offsetBytes), bytes, offsetBytes };
}

function refuse(code: ImageErrorCode, kind: ZvhdKind, message: string, offsetBytes: number): never {
  throw new ImageError(code, `${titles[kind]} ${message}`, { structure: structureOf(kind), offsetBytes });
}

function parseHeader(bytes: Uint8Array, kind: ZvhdKind, offsetBytes: number): ZvhdHeader {
  const view = viewOf(bytes);
  const at = (field: number) => offsetBytes + field;
  if (!hasMagic(bytes, magics[kind])) refuse('IMAGE_MALFORMED', kind, 'mark is missing', at(0));
  if (view.getUint32(CHECKSUM_OFFSET, true) !== checksumOf(bytes.subarray(0, HEADER_BYTES), CHECKSUM_OFFSET))
    refuse('IMAGE_MALFORMED', kind, 'header has a wrong checksum', at(CHECKSUM_OFFSET));
  const version = view.getUint32(12, true);
  if (version !== FORMAT_VERSION)
    refuse('IMAGE_UNSUPPORTED', kind, `format version 0x${version.toString(16)} is not known`, at(12));
  const structure = structureOf(kind);
  const size = (field: number) =>
    toSafeInteger(view.getBigUint64(field, true), { structure, offsetBytes: at(field) });
  const virtualSizeBytes = size(40);
  if (virtualSizeBytes === 0) refuse('IMAGE_MALFORMED', kind, 'original size is 0', at(40));
  if (virtualSizeBytes > limits.VIRTUAL_SIZE_BYTES_MAX)
    refuse('IMAGE_LIMIT', kind, `original size is ${virtualSizeBytes}, more than 64 TiB`, at(40));
  const shape = kind === 'zvhd2' ? parseShape(view, virtualSizeBytes, offsetBytes) : undefined;
  const blockBytes = shape?.blockBytes ?? WRITTEN_BLOCK_BYTES;
  return {
    kind,
    virtualSizeBytes,
    currentSizeBytes: size(48),
    timeStamp: timeText(view.getUint32(24, true)),
    creatorVersion: view.getUint32(32, true),
    uuid: uuidText(bytes.subarray(68, 84)),
    blockBytes,
    blockCount: ceilDivide(virtualSizeBytes, blockBytes),
    compression: shape?.compression ?? 'zlib',
  };
}

/** What only ZVHD2 says: in every one of its headers. */
function parseShape(
  view: DataView,
  virtualSizeBytes: number,
  offsetBytes: number,
): { blockBytes: number; compression: 'zlib' | 'zstd' } {
  const version = view.getUint8(87);
  if (version !== ZVHD2_VERSION)
    refuse('IMAGE_UNSUPPORTED', 'zvhd2', `version ${version} is not known, only 1`, offsetBytes + 87);
  const blockBytes = view.getUint32(88, true);
  if (!isPowerOfTwo(blockBytes) || blockBytes < limits.BLOCK_BYTES_MIN)
    refuse('IMAGE_MALFORMED', 'zvhd2', `block size is ${blockBytes}`, offsetBytes + 88);
  if (blockBytes > limits.BLOCK_BYTES_MAX)
    refuse('IMAGE_LIMIT', 'zvhd2', `block size is ${blockBytes}, more than 32 MiB`, offsetBytes + 88);
  const blockCount = view.getUint32(92, true);
  if (blockCount !== ceilDivide(virtualSizeBytes, blockBytes)) {
    const message = `block count is ${blockCount}, which is not right for ${virtualSizeBytes} bytes`;
    refuse('IMAGE_MALFORMED', 'zvhd2', message, offsetBytes + 92);
  }
  const method = view.getUint8(141);
  if (method > 1)
    refuse('IMAGE_UNSUPPORTED', 'zvhd2', `compression ${method} is not known`, offsetBytes + 141);
  return { blockBytes, compression: method === 1 ? 'zstd' : 'zlib' };
}

/** Where the last page of a ZVHD2 file says that index and bitmap are: both end before it. */
export function parseIndexPlace({ header, bytes, offsetBytes }: ZvhdPage): ZvhdIndexPlace {
  const view = viewOf(bytes);
  const place = (field: number) =>
    toSafeInteger(view.getBigUint64(field, true), {
      structure: structureOf('zvhd2'),
      offsetBytes: offsetBytes + field,
    });
  const recordCount = view.getUint32(136, true);
  const index: ZvhdIndexPlace = {
    offsetBytes: place(96),
    lengthBytes: view.getUint32(112, true),
    bitmapOffsetBytes: place(104),
    bitmapBytes: view.getUint32(116, true),
    recordCount,
    entryCount: view.getUint8(140) === 1 ? header.blockCount : recordCount,
  };
  if (index.offsetBytes === 0 && index.bitmapOffsetBytes === 0)
    refuse('IMAGE_TRUNCATED', 'zvhd2', 'file ends before its index', offsetBytes);
  if (recordCount > header.blockCount) {
    const message = `has ${recordCount} blocks with data of ${header.blockCount}`;
    refuse('IMAGE_MALFORMED', 'zvhd2', message, offsetBytes + 136);
  }
  if (recordCount > limits.RECORD_COUNT_MAX)
    refuse('IMAGE_LIMIT', 'zvhd2', `has ${recordCount} blocks with data`, offsetBytes + 136);
  if (index.entryCount * INDEX_ENTRY_BYTES > index.lengthBytes)
    refuse('IMAGE_MALFORMED', 'zvhd2', 'index is too short for its entries', offsetBytes + 112);
  if (ceilDivide(header.blockCount, 8) > index.bitmapBytes)
    refuse('IMAGE_MALFORMED', 'zvhd2', 'bitmap is too short for its blocks', offsetBytes + 116);
  if (index.offsetBytes < PAGE_BYTES || index.offsetBytes + index.lengthBytes > offsetBytes)
    refuse('IMAGE_MALFORMED', 'zvhd2', 'index lies outside of the file', offsetBytes + 96);
  if (index.bitmapOffsetBytes < PAGE_BYTES || index.bitmapOffsetBytes + index.bitmapBytes > offsetBytes)
    refuse('IMAGE_MALFORMED', 'zvhd2', 'bitmap lies outside of the file', offsetBytes + 104);
  return index;
}

/** Throws IMAGE_MALFORMED when two headers of a file are about different disks. */
export function requireSameDisk(first: ZvhdPage, other: ZvhdPage): void {
  for (const field of ['virtualSizeBytes', 'blockBytes', 'compression', 'uuid'] as const) {
    if (first.header[field] === other.header[field]) continue;
    const message = `header says ${field} ${other.header[field]}, but the first one ${first.header[field]}`;
    refuse('IMAGE_MALFORMED', first.header.kind, message, other.offsetBytes);
  }
}

/**
 * True for the page behind the blocks: the first one again. The reference driver fills in the number of blocks there
 * already, without a new checksum.
 */
export function isCopyOf(first: ZvhdPage, bytes: Uint8Array): boolean {
  const isSame = (from: number, to: number) => bytesEqual(first.bytes.slice(from, to), bytes.slice(from, to));
  return isSame(0, CHECKSUM_OFFSET) && isSame(CHECKSUM_OFFSET + 4, 96);
}

/** What is odd in a header that can be read all the same, one sentence each. */
export function headerWarnings(header: ZvhdHeader): string[] {
  const { creatorVersion, virtualSizeBytes, currentSizeBytes } = header;
  const warnings: string[] = [];
  if (creatorVersion === OLDER_CREATOR_VERSION) {
    warnings.push('an older version of the driver made this file; it was read like a newer one');
  } else if (creatorVersion !== CREATOR_VERSION) {
    const version = `0x${creatorVersion.toString(16)}`;
    warnings.push(
      `version ${version} of the driver, which is not known, made this file; it was read as usual`,
    );
  }
  if (virtualSizeBytes % SECTOR_BYTES !== 0) {
    warnings.push(`the disk size, ${virtualSizeBytes} bytes, is not a whole number of sectors`);
  }
  if (currentSizeBytes < virtualSizeBytes) {
    warnings.push(`the current size, ${currentSizeBytes} bytes, is less than the original size`);
  }
  return warnings;
}

export interface NewHeader {
  readonly kind: ZvhdKind;
  readonly virtualSizeBytes: number;
  readonly compression: 'zlib' | 'zstd';
  readonly seed: Uint8Array;
  /** For the last page of a ZVHD2 file. */
  readonly index?: Omit<ZvhdIndexPlace, 'entryCount'>;
}

/** A header page as the reference driver writes it. */
export function makeHeaderPage(fields: NewHeader): Uint8Array {
  const { kind, virtualSizeBytes, seed } = fields;
  const bytes = new Uint8Array(PAGE_BYTES);
  const view = viewOf(bytes);
  bytes.set(utf8Bytes(magics[kind]));
  view.setUint32(8, 2, true);
  view.setUint32(12, FORMAT_VERSION, true);
  view.setBigUint64(16, 0xffffffffffffffffn, true);
  view.setUint32(24, TIME_STAMP, true);
  bytes.set(utf8Bytes('tap\0'), 28);
  view.setUint32(32, CREATOR_VERSION, true);
  view.setBigUint64(40, BigInt(virtualSizeBytes), true);
  view.setBigUint64(48, BigInt(roundUp(virtualSizeBytes, GIB)), true);
  const { cylinders, heads, sectorsPerTrack } = geometryOf(virtualSizeBytes / SECTOR_BYTES);
  view.setUint32(56, cylinders * 65536 + heads * 256 + sectorsPerTrack, true);
  view.setUint32(60, 4, true);
  bytes.set(uuidFromHash(sha256Of(seed, utf8Bytes(`${titles[kind]} uuid`))), 68);
  if (kind === 'zvhd2') setShape(view, fields);
  view.setUint32(CHECKSUM_OFFSET, checksumOf(bytes.subarray(0, HEADER_BYTES), CHECKSUM_OFFSET), true);
  return bytes;
}

function setShape(view: DataView, { virtualSizeBytes, compression, index }: NewHeader): void {
  view.setUint8(87, ZVHD2_VERSION);
  view.setUint32(88, WRITTEN_BLOCK_BYTES, true);
  view.setUint32(92, ceilDivide(virtualSizeBytes, WRITTEN_BLOCK_BYTES), true);
  view.setUint8(141, compression === 'zstd' ? 1 : 0);
  if (index === undefined) return;
  view.setBigUint64(96, BigInt(index.offsetBytes), true);
  view.setBigUint64(104, BigInt(index.bitmapOffsetBytes), true);
  view.setUint32(112, index.lengthBytes, true);
  view.setUint32(116, index.bitmapBytes, true);
  view.setUint32(120, INDEX_SEGMENT_BYTES, true);
  view.setUint32(124, BITMAP_SEGMENT_BYTES, true);
  view.setUint32(128, index.lengthBytes / INDEX_SEGMENT_BYTES, true);
  view.setUint32(132, index.bitmapBytes / BITMAP_SEGMENT_BYTES, true);
  view.setUint32(136, index.recordCount, true);
}
