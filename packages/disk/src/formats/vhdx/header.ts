import { crc32cAround } from '../../bytes/crc32c.ts';
import { bytesEqual, hasMagic, viewOf } from '../../bytes/fields.ts';
import { KIB, MIB, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { guidAt, NULL_GUID } from './guids.ts';

export const FILE_IDENTIFIER = 'vhdxfile';
export const HEADER_STRUCTURE = 'VHDX header';
/** The identifier, the headers and the region tables stand in the first MiB; all else begins after it. */
export const HEADER_SECTION_BYTES: number = MIB;
export const HEADER_OFFSETS: readonly [number, number] = [64 * KIB, 128 * KIB];
/** What the checksum covers; the rest of the 64 KiB is reserved. */
export const HEADER_BYTES: number = 4 * KIB;
export const HEADER_SIGNATURE = 'head';
export const VHDX_VERSION = 1;
const LOG_VERSION = 0;

/** A header whose checksum is right (MS-VHDX 2.2.2). */
export interface VhdxHeader {
  readonly offsetBytes: number;
  readonly sequenceNumber: bigint;
  readonly fileWriteGuid: string;
  readonly dataWriteGuid: string;
  /** NULL_GUID when no log has to be replayed. */
  readonly logGuid: string;
  readonly logLengthBytes: number;
  readonly logOffsetBytes: number;
  /** All 4096 bytes. */
  readonly bytes: Uint8Array;
}

export interface VhdxHeaders {
  readonly current: VhdxHeader;
  /** Where a copy stands that cannot be used. */
  readonly damagedOffsetBytes: number | undefined;
  /** Both copies say the same with the same sequence number, as disk2vhd writes them. */
  readonly equal: boolean;
  readonly creator: string;
}

function refuse(code: ImageErrorCode, message: string, offsetBytes: number, hint?: string): never {
  throw new ImageError(code, message, { structure: HEADER_STRUCTURE, offsetBytes, hint });
}

/**
 * Reads the file identifier and both headers; the current one is the valid one with the greater sequence
 * number. Throws IMAGE_MALFORMED, IMAGE_TRUNCATED for damage, IMAGE_UNSUPPORTED for another version.
 */
export async function readHeaders(source: ByteSource, signal?: AbortSignal): Promise<VhdxHeaders> {
  const identifier = await readStructure(source, 0, 520, 'VHDX file type identifier', signal);
  if (!hasMagic(identifier, FILE_IDENTIFIER)) {
    throw new ImageError('IMAGE_MALFORMED', 'this is not a VHDX file: its signature is missing', {
      structure: 'VHDX file type identifier',
      offsetBytes: 0,
      hint: 'declare the format that it has',
    });
  }
  const [first, second] = [
    await readStructure(source, HEADER_OFFSETS[0], HEADER_BYTES, HEADER_STRUCTURE, signal),
    await readStructure(source, HEADER_OFFSETS[1], HEADER_BYTES, HEADER_STRUCTURE, signal),
  ];
  const current = currentCopy(first, second);
  return {
    current: parseHeader(current === 0 ? first : second, HEADER_OFFSETS[current]),
    damagedOffsetBytes: isValid(first)
      ? isValid(second)
        ? undefined
        : HEADER_OFFSETS[1]
      : HEADER_OFFSETS[0],
    equal: bytesEqual(first, second),
    creator: new TextDecoder('utf-16le').decode(identifier.subarray(8, 520)).replace(/\0.*$/su, ''),
  };
}

function isValid(bytes: Uint8Array): boolean {
  return hasMagic(bytes, HEADER_SIGNATURE) && viewOf(bytes).getUint32(4, true) === crc32cAround(bytes, 4);
}

function currentCopy(first: Uint8Array, second: Uint8Array): 0 | 1 {
  if (!isValid(first) && !isValid(second)) {
    refuse('IMAGE_MALFORMED', 'both VHDX headers are damaged', HEADER_OFFSETS[0]);
  }
  if (!isValid(second)) return 0;
  if (!isValid(first)) return 1;
  const sequences = [first, second].map((bytes) => viewOf(bytes).getBigUint64(8, true));
  const [one = 0n, two = 0n] = sequences;
  if (one === two && !bytesEqual(first, second)) {
    const message = `two different VHDX headers have the sequence number ${one}: neither is the current one`;
    refuse('IMAGE_MALFORMED', message, HEADER_OFFSETS[0] + 8);
  }
  return two > one ? 1 : 0;
}

function parseHeader(bytes: Uint8Array, offsetBytes: number): VhdxHeader {
  const view = viewOf(bytes);
  const version = view.getUint16(66, true);
  if (version !== VHDX_VERSION) {
    refuse('IMAGE_UNSUPPORTED', `VHDX version ${version} is not read, only 1`, offsetBytes + 66);
  }
  const logVersion = view.getUint16(64, true);
  if (logVersion !== LOG_VERSION) {
    refuse('IMAGE_UNSUPPORTED', `VHDX log version ${logVersion} is not known`, offsetBytes + 64);
  }
  const header: VhdxHeader = {
    offsetBytes,
    sequenceNumber: view.getBigUint64(8, true),
    fileWriteGuid: guidAt(bytes, 16),
    dataWriteGuid: guidAt(bytes, 32),
    logGuid: guidAt(bytes, 48),
    logLengthBytes: view.getUint32(68, true),
    logOffsetBytes: toSafeInteger(view.getBigUint64(72, true), {
      structure: HEADER_STRUCTURE,
      offsetBytes: offsetBytes + 72,
    }),
    bytes,
  };
  requireLogPlace(header);
  return header;
}

function requireLogPlace(header: VhdxHeader): void {
  const { logLengthBytes, logOffsetBytes, logGuid, offsetBytes } = header;
  if (logLengthBytes % MIB !== 0) {
    refuse('IMAGE_MALFORMED', `VHDX log length is ${logLengthBytes}, not whole MiB`, offsetBytes + 68);
  }
  if (logLengthBytes === 0 && logGuid === NULL_GUID) return;
  if (logOffsetBytes % MIB !== 0 || logOffsetBytes < HEADER_SECTION_BYTES) {
    refuse('IMAGE_MALFORMED', `VHDX log offset is ${logOffsetBytes}`, offsetBytes + 72);
  }
}

/** A copy of a header with these fields, its checksum set. */
export function headerWith(
  header: VhdxHeader,
  fields: {
    readonly sequenceNumber: bigint;
    readonly fileWriteGuid?: Uint8Array;
    readonly clearLog?: boolean;
  },
): Uint8Array {
  const bytes = header.bytes.slice();
  const view = viewOf(bytes);
  view.setBigUint64(8, fields.sequenceNumber, true);
  if (fields.fileWriteGuid !== undefined) bytes.set(fields.fileWriteGuid, 16);
  if (fields.clearLog === true) bytes.fill(0, 48, 64);
  setChecksum(bytes);
  return bytes;
}

/** Writes the checksum of a header or a region table that is complete otherwise. */
export function setChecksum(bytes: Uint8Array): void {
  viewOf(bytes).setUint32(4, crc32cAround(bytes, 4), true);
}
