import { hasMagic, utf8Text, viewOf } from '../../bytes/fields.ts';
import { ceilDivide, SECTOR_BYTES, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure, requireInside } from '../../io/byte-source.ts';
import * as limits from './limits.ts';

/** The mark of all versions, with version 1. */
export const QCOW_MAGIC = 'QFI\xfb\0\0\0\x01';
export const HEADER_BYTES = 48;
const STRUCTURE = 'qcow header';

/** The header (`QCowHeader` of block/qcow.c of QEMU); names as there, in bytes or counts. */
export interface QcowHeader {
  readonly virtualSizeBytes: number;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  readonly l2EntryCount: number;
  readonly l2TableBytes: number;
  readonly l1OffsetBytes: number;
  /** Not stored: what the size needs. */
  readonly l1EntryCount: number;
  readonly backingName: string | undefined;
}

function refuse(code: ImageErrorCode, message: string, offsetBytes: number, hint?: string): never {
  throw new ImageError(code, message, { structure: STRUCTURE, offsetBytes, hint });
}

/** Reads and checks the header. Throws ImageError for all that could not be read right. */
export async function readHeader(source: ByteSource, signal?: AbortSignal): Promise<QcowHeader> {
  const bytes = await readStructure(source, 0, HEADER_BYTES, STRUCTURE, signal);
  if (!hasMagic(bytes, QCOW_MAGIC)) refuse('IMAGE_MALFORMED', 'this is not a qcow file of version 1', 0);
  const view = viewOf(bytes);
  const virtualSizeBytes = toSafeInteger(view.getBigUint64(24), { structure: 'qcow size', offsetBytes: 24 });
  if (virtualSizeBytes < 2) refuse('IMAGE_MALFORMED', `the virtual size is ${virtualSizeBytes} bytes`, 24);
  if (virtualSizeBytes > limits.VIRTUAL_SIZE_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `the virtual size of ${virtualSizeBytes} bytes is above 64 TiB`, 24);
  }
  const clusterBits = view.getUint8(32);
  if (clusterBits < limits.CLUSTER_BITS_MIN || clusterBits > limits.CLUSTER_BITS_MAX) {
    refuse('IMAGE_MALFORMED', `qcow cluster_bits is ${clusterBits}, not 9 to 16`, 32);
  }
  const l2Bits = view.getUint8(33);
  if (l2Bits < limits.L2_BITS_MIN || l2Bits > limits.L2_BITS_MAX) {
    refuse('IMAGE_MALFORMED', `qcow l2_bits is ${l2Bits}, not 6 to 13`, 33);
  }
  const crypt = view.getUint32(36);
  if (crypt !== 0) {
    refuse('IMAGE_UNSUPPORTED', 'the qcow image is encrypted', 36, 'decrypt it first, with qemu-img convert');
  }
  const clusterBytes = 2 ** clusterBits;
  const l2EntryCount = 2 ** l2Bits;
  const header = {
    virtualSizeBytes,
    clusterBits,
    clusterBytes,
    l2EntryCount,
    l2TableBytes: l2EntryCount * 8,
    l1OffsetBytes: toSafeInteger(view.getBigUint64(40), {
      structure: 'qcow l1_table_offset',
      offsetBytes: 40,
    }),
    l1EntryCount: ceilDivide(virtualSizeBytes, clusterBytes * l2EntryCount),
  };
  if (header.l1OffsetBytes < HEADER_BYTES) {
    refuse('IMAGE_MALFORMED', `the L1 table would stand in the header, at ${header.l1OffsetBytes}`, 40);
  }
  requireInside(source, header.l1OffsetBytes, header.l1EntryCount * 8, 'qcow L1 table');
  return { ...header, backingName: await readBackingName(source, view, signal) };
}

async function readBackingName(
  source: ByteSource,
  view: DataView,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const structure = 'qcow backing file name';
  const offsetBytes = toSafeInteger(view.getBigUint64(8), { structure, offsetBytes: 8 });
  if (offsetBytes === 0) return undefined;
  const lengthBytes = view.getUint32(16);
  if (lengthBytes > limits.BACKING_NAME_BYTES_MAX) {
    refuse('IMAGE_MALFORMED', `the backing file name of ${lengthBytes} bytes is above 1023`, 16);
  }
  return utf8Text(await readStructure(source, offsetBytes, lengthBytes, structure, signal));
}

/** What is asked of a new file's header. */
export interface NewHeader {
  readonly virtualSizeBytes: number;
  readonly clusterBytes: number;
  readonly l2EntryCount: number;
}

/** The header of a file without backing file; its L1 table follows at once, as in qemu's files. */
export function encodeHeader({ virtualSizeBytes, clusterBytes, l2EntryCount }: NewHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = viewOf(bytes);
  for (let i = 0; i < QCOW_MAGIC.length; i++) bytes[i] = QCOW_MAGIC.charCodeAt(i);
  view.setBigUint64(24, BigInt(virtualSizeBytes));
  view.setUint8(32, Math.log2(clusterBytes));
  view.setUint8(33, Math.log2(l2EntryCount));
  view.setBigUint64(40, BigInt(HEADER_BYTES));
  return bytes;
}

/** An L2 entry of a compressed cluster: bit 63, its length in the cluster_bits below, its offset in the rest. */
export function compressedPlace(
  high: number,
  low: number,
  clusterBits: number,
): { readonly hostBytes: number; readonly storedBytes: number } {
  const offsetHighValues = 2 ** (63 - clusterBits - 32);
  const fields = high % 2 ** 31;
  return {
    hostBytes: (fields % offsetHighValues) * 2 ** 32 + low,
    storedBytes: Math.floor(fields / offsetHighValues),
  };
}

/** A table's entry as a place in the file, when it may be one: 0 for none. */
export function placeOf(
  high: number,
  low: number,
  place: { structure: string; offsetBytes: number },
): number {
  if (high >= 2 ** 21) throw new ImageError('IMAGE_LIMIT', 'an entry names a place above 2^53', place);
  const hostBytes = high * 2 ** 32 + low;
  if (hostBytes % SECTOR_BYTES === 0) return hostBytes;
  throw new ImageError('IMAGE_MALFORMED', `an entry names ${hostBytes}, not a sector's start`, place);
}
