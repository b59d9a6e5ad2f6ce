import { hasMagic, viewOf } from '../../bytes/fields.ts';
import { uuidText } from '../../bytes/guid.ts';
import { isPowerOfTwo, roundUp, SECTOR_BYTES, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure, requireInside } from '../../io/byte-source.ts';
import { checksumOf, FOOTER_BYTES, timeText, type VhdFooter } from './footer.ts';
import { BLOCK_TABLE_BYTES_MAX } from './limits.ts';

export const DYNAMIC_HEADER_COOKIE = 'cxsparse';
export const DYNAMIC_HEADER_BYTES = 1024;
export const DYNAMIC_HEADER_VERSION = 0x00010000;
const DYNAMIC_HEADER_STRUCTURE = 'VHD dynamic disk header';
export const TABLE_STRUCTURE = 'VHD block allocation table';
const CHECKSUM_OFFSET = 36;

/** A dynamic disk header that was checked, of a dynamic or differencing disk; names as in the specification. */
export interface VhdDynamicHeader {
  readonly offsetBytes: number;
  readonly tableOffsetBytes: number;
  readonly maxTableEntries: number;
  readonly blockBytes: number;
  /** Of the sector bitmap before every block's data: whole sectors. */
  readonly bitmapBytes: number;
  /** Of the parent of a differencing disk, as its footer has it. */
  readonly parentUniqueId: string;
  /** When the parent was last changed; undefined where the writer did not note it. */
  readonly parentTimeStamp: string | undefined;
  /** All 1024 bytes: the names of a parent are taken from them when they are needed. */
  readonly bytes: Uint8Array;
}

/** Bytes of the sector bitmap of a block: a bit a sector, in whole sectors. */
export function bitmapBytesOf(blockBytes: number): number {
  return roundUp(Math.ceil(blockBytes / SECTOR_BYTES / 8), SECTOR_BYTES);
}

export function hasHeaderChecksum(bytes: Uint8Array): boolean {
  return viewOf(bytes).getUint32(CHECKSUM_OFFSET) === checksumOf(bytes, CHECKSUM_OFFSET);
}

/** Writes the checksum into a header that is complete otherwise. */
export function setHeaderChecksum(bytes: Uint8Array): void {
  viewOf(bytes).setUint32(CHECKSUM_OFFSET, checksumOf(bytes, CHECKSUM_OFFSET));
}

/**
 * Reads and checks the header that the footer points at; its checksum may be left to the caller. Throws IMAGE_MALFORMED, IMAGE_TRUNCATED, IMAGE_LIMIT
 * for a damaged or hostile one, IMAGE_UNSUPPORTED for another version.
 */
export async function readDynamicHeader(
  source: ByteSource,
  footer: VhdFooter,
  signal?: AbortSignal,
  checksum: 'required' | 'ignored' = 'required',
): Promise<VhdDynamicHeader> {
  const offsetBytes = footer.dataOffsetBytes ?? 0;
  const bytes = await readStructure(
    source,
    offsetBytes,
    DYNAMIC_HEADER_BYTES,
    DYNAMIC_HEADER_STRUCTURE,
    signal,
  );
  const view = viewOf(bytes);
  const refuse = (code: ImageErrorCode, message: string, at: number): never => {
    throw new ImageError(code, message, {
      structure: DYNAMIC_HEADER_STRUCTURE,
      offsetBytes: offsetBytes + at,
    });
  };
  if (!hasMagic(bytes, DYNAMIC_HEADER_COOKIE)) {
    refuse('IMAGE_MALFORMED', 'the VHD footer points at no dynamic disk header', 0);
  }
  if (checksum === 'required' && !hasHeaderChecksum(bytes)) {
    refuse('IMAGE_MALFORMED', 'the checksum of the VHD dynamic disk header is wrong', CHECKSUM_OFFSET);
  }
  const version = view.getUint32(24);
  if (version !== DYNAMIC_HEADER_VERSION) {
    refuse('IMAGE_UNSUPPORTED', `VHD header version 0x${version.toString(16)} is not known`, 24);
  }
  const tableOffsetBytes = toSafeInteger(view.getBigUint64(16), {
    structure: DYNAMIC_HEADER_STRUCTURE,
    offsetBytes: offsetBytes + 16,
  });
  const parentTime = view.getUint32(56);
  const maxTableEntries = view.getUint32(28);
  const blockBytes = view.getUint32(32);
  if (!isPowerOfTwo(blockBytes) || blockBytes < SECTOR_BYTES) {
    refuse('IMAGE_MALFORMED', `VHD block size is ${blockBytes}, not a power of two of sectors`, 32);
  }
  if (maxTableEntries * 4 > BLOCK_TABLE_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `VHD max table entries is ${maxTableEntries}: the table is too large`, 28);
  }
  if (maxTableEntries * blockBytes < footer.currentSizeBytes) {
    const message = `VHD max table entries is ${maxTableEntries}, too few for ${footer.currentSizeBytes} bytes`;
    refuse('IMAGE_MALFORMED', message, 28);
  }
  requireInside(source, tableOffsetBytes, maxTableEntries * 4, TABLE_STRUCTURE);
  const header: VhdDynamicHeader = {
    offsetBytes,
    tableOffsetBytes,
    maxTableEntries,
    blockBytes,
    bitmapBytes: bitmapBytesOf(blockBytes),
    parentUniqueId: uuidText(bytes.subarray(40, 56)),
    parentTimeStamp: parentTime === 0 ? undefined : timeText(parentTime),
    bytes,
  };
  if (overlapsFront(header, tableOffsetBytes, maxTableEntries * 4)) {
    refuse('IMAGE_MALFORMED', `VHD table offset is ${tableOffsetBytes}, inside the headers`, 16);
  }
  return header;
}

/** True when [offset, offset + length) of the file touches the footer's copy or the dynamic disk header. */
export function overlapsFront(header: VhdDynamicHeader, offsetBytes: number, lengthBytes: number): boolean {
  const end = offsetBytes + lengthBytes;
  const headerEnd = header.offsetBytes + DYNAMIC_HEADER_BYTES;
  return offsetBytes < FOOTER_BYTES || (offsetBytes < headerEnd && end > header.offsetBytes);
}
