import { viewOf } from './fields.ts';

const ZSTD_MAGIC = 0xfd2fb528;
const FRAME_CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
const RLE_BLOCK = 1;
const RESERVED_BLOCK = 3;

/** True when `bytes` begins as a zstd frame does, whole or not. */
export function startsZstdFrame(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && viewOf(bytes).getUint32(0, true) === ZSTD_MAGIC;
}

/**
 * Length in bytes of the zstd frame that `bytes` starts with, found from its block headers (RFC 8878, section
 * 3.1.1). Undefined when it does not start with a whole frame. Images store frames in whole sectors, so what
 * follows one may be anything, the next cluster's frame too.
 */
export function zstdFrameLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < 6 || !startsZstdFrame(bytes)) return undefined;
  const view = viewOf(bytes);
  const descriptor = view.getUint8(4);
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentSizeFlag = descriptor >> 6;
  const contentSizeBytes =
    contentSizeFlag === 0 && singleSegment ? 1 : (FRAME_CONTENT_SIZE_BYTES[contentSizeFlag] ?? 0);
  let at = 5 + (singleSegment ? 0 : 1) + (DICTIONARY_ID_BYTES[descriptor & 3] ?? 0) + contentSizeBytes;
  for (let last = false; !last; ) {
    if (at + 3 > bytes.length) return undefined;
    const header = view.getUint16(at, true) + view.getUint8(at + 2) * 65536;
    last = (header & 1) !== 0;
    const type = (header >> 1) & 3;
    if (type === RESERVED_BLOCK) return undefined;
    at += 3 + (type === RLE_BLOCK ? 1 : header >> 3);
  }
  if ((descriptor & 0x04) !== 0) at += 4;
  return at <= bytes.length ? at : undefined;
}
