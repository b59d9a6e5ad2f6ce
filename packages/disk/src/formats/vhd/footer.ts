import { hasMagic, latin1Text, viewOf } from '../../bytes/fields.ts';
import { uuidText } from '../../bytes/guid.ts';
import { SECTOR_BYTES, TIB, toSafeInteger } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import type { ChsGeometry } from './geometry.ts';
import * as limits from './limits.ts';

export const FOOTER_COOKIE = 'conectix';
export const FOOTER_BYTES = 512;
export const FOOTER_STRUCTURE = 'VHD footer';
export const FILE_FORMAT_VERSION = 0x00010000;
/** Footer times count from 2000-01-01T00:00:00Z. */
const EPOCH_SECONDS = 946684800;
/** Data offset of a fixed disk. */
export const NO_OFFSET = 0xffffffffffffffffn;
const CHECKSUM_OFFSET = 64;

type VhdDiskType = 'fixed' | 'dynamic' | 'differencing';

const diskTypes: Readonly<Record<number, VhdDiskType>> = { 2: 'fixed', 3: 'dynamic', 4: 'differencing' };

/** A hard disk footer that was checked; names as in the specification. */
export interface VhdFooter {
  readonly diskType: VhdDiskType;
  /** Of the dynamic disk header; undefined for a fixed disk. */
  readonly dataOffsetBytes: number | undefined;
  readonly creatorApplication: string;
  readonly creatorVersion: string;
  readonly creatorHostOs: string;
  readonly timeStamp: string;
  readonly originalSizeBytes: number;
  readonly currentSizeBytes: number;
  readonly geometry: ChsGeometry;
  readonly uniqueId: string;
  readonly savedState: boolean;
}

function refuse(code: ImageErrorCode, message: string, offsetBytes: number): never {
  throw new ImageError(code, message, { structure: FOOTER_STRUCTURE, offsetBytes });
}

/** The one's complement of the sum of all bytes but the checksum's own four, which stand at `fieldOffset`. */
export function checksumOf(bytes: Uint8Array, fieldOffset: number): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) {
    if (i < fieldOffset || i >= fieldOffset + 4) sum += bytes[i] ?? 0;
  }
  return 0xffffffff - sum;
}

/** True when these 512 bytes carry the cookie and their own checksum. */
export function isValidFooter(bytes: Uint8Array): boolean {
  return (
    hasMagic(bytes, FOOTER_COOKIE) &&
    viewOf(bytes).getUint32(CHECKSUM_OFFSET) === checksumOf(bytes, CHECKSUM_OFFSET)
  );
}

/** Writes the checksum into a footer that is complete otherwise. */
export function setFooterChecksum(bytes: Uint8Array): void {
  viewOf(bytes).setUint32(CHECKSUM_OFFSET, checksumOf(bytes, CHECKSUM_OFFSET));
}

/** The fields of a footer with a right checksum, which stands at `offsetBytes` of the file. */
export function parseFooter(bytes: Uint8Array, offsetBytes: number): VhdFooter {
  const view = viewOf(bytes);
  const version = view.getUint32(12);
  if (version !== FILE_FORMAT_VERSION) {
    refuse(
      'IMAGE_UNSUPPORTED',
      `VHD file format version 0x${version.toString(16)} is not known`,
      offsetBytes + 12,
    );
  }
  const type = view.getUint32(60);
  const diskType = diskTypes[type];
  if (diskType === undefined)
    refuse('IMAGE_MALFORMED', `VHD disk type ${type} does not exist`, offsetBytes + 60);
  const size = (at: number) =>
    toSafeInteger(view.getBigUint64(at), { structure: FOOTER_STRUCTURE, offsetBytes: offsetBytes + at });
  return {
    diskType,
    dataOffsetBytes: parseDataOffset(view.getBigUint64(16), diskType, offsetBytes + 16),
    creatorApplication: latin1Text(bytes.subarray(28, 32)).replace(/\0+$/, ''),
    creatorVersion: `${view.getUint16(32)}.${view.getUint16(34)}`,
    creatorHostOs: latin1Text(bytes.subarray(36, 40)).replace(/\0+$/, ''),
    timeStamp: timeText(view.getUint32(24)),
    originalSizeBytes: size(40),
    currentSizeBytes: requireSize(size(48), diskType, offsetBytes + 48),
    geometry: { cylinders: view.getUint16(56), heads: view.getUint8(58), sectorsPerTrack: view.getUint8(59) },
    uniqueId: uuidText(bytes.subarray(68, 84)),
    savedState: view.getUint8(84) !== 0,
  };
}

/** A time of the format, seconds since 2000, as text. */
export function timeText(seconds: number): string {
  return new Date((EPOCH_SECONDS + seconds) * 1000).toISOString();
}

function parseDataOffset(value: bigint, diskType: VhdDiskType, offsetBytes: number): number | undefined {
  if (diskType === 'fixed') return undefined;
  if (value === NO_OFFSET) refuse('IMAGE_MALFORMED', `a ${diskType} VHD has no data offset`, offsetBytes);
  return toSafeInteger(value, { structure: FOOTER_STRUCTURE, offsetBytes });
}

function requireSize(sizeBytes: number, diskType: VhdDiskType, offsetBytes: number): number {
  if (sizeBytes === 0) refuse('IMAGE_MALFORMED', 'VHD current size is 0', offsetBytes);
  const limit = diskType === 'fixed' ? limits.FIXED_SIZE_BYTES_MAX : limits.DYNAMIC_READ_BYTES_MAX;
  if (sizeBytes > limit) {
    const message = `VHD current size is ${sizeBytes}, more than ${limit / TIB} TiB for a ${diskType} disk`;
    refuse('IMAGE_LIMIT', message, offsetBytes);
  }
  return sizeBytes;
}

/** Bytes that the geometry names: what qemu shows of files by creators that it does not know. */
export function chsSizeBytes({ geometry }: VhdFooter): number {
  return geometry.cylinders * geometry.heads * geometry.sectorsPerTrack * SECTOR_BYTES;
}

/** What `info` shows of a footer. */
export function footerDetails(footer: VhdFooter): Disk['details'] {
  const { cylinders, heads, sectorsPerTrack } = footer.geometry;
  return {
    diskType: footer.diskType,
    creatorApplication: footer.creatorApplication,
    creatorVersion: footer.creatorVersion,
    creatorHostOs: footer.creatorHostOs,
    timeStamp: footer.timeStamp,
    originalSizeBytes: footer.originalSizeBytes,
    diskGeometry: `${cylinders}/${heads}/${sectorsPerTrack}`,
    chsSizeBytes: chsSizeBytes(footer),
    uniqueId: footer.uniqueId,
  };
}

/** What is odd in a footer that can be read all the same, one sentence each. */
export function footerWarnings(footer: VhdFooter): string[] {
  const warnings: string[] = [];
  if (footer.currentSizeBytes % SECTOR_BYTES !== 0) {
    warnings.push(`the disk size, ${footer.currentSizeBytes} bytes, is not a whole number of sectors`);
  }
  if (footer.savedState) {
    warnings.push('the machine was in a saved state: the disk alone misses what was in its memory');
  }
  return warnings;
}
