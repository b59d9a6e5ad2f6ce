import { viewOf } from '../../bytes/fields.ts';
import { invariant } from '../../errors.ts';

/** RFC 1951, section 3.2.4: a stored block holds up to 65535 bytes behind a head of 5. */
const DEFLATE_BLOCK_BYTES = 65535;
const DEFLATE_HEAD_BYTES = 5;

/**
 * Incompressible bytes as raw deflate data without a last block, ended by a flush: stored blocks, then the empty one
 * that is the flush's mark.
 */
export function storedDeflate(plain: Uint8Array): Uint8Array {
  const blockCount = Math.ceil(plain.length / DEFLATE_BLOCK_BYTES);
  const bytes = new Uint8Array(plain.length + (blockCount + 1) * DEFLATE_HEAD_BYTES);
  const view = viewOf(bytes);
  let at = 0;
  for (let block = 0; block <= blockCount; block++) {
    const from = block * DEFLATE_BLOCK_BYTES;
    const part = plain.subarray(from, from + DEFLATE_BLOCK_BYTES);
    view.setUint16(at + 1, part.length, true);
    view.setUint16(at + 3, 0xffff - part.length, true);
    bytes.set(part, at + DEFLATE_HEAD_BYTES);
    at += DEFLATE_HEAD_BYTES + part.length;
  }
  return bytes;
}

/** RFC 8878, section 3.1.1.2: no block is longer. */
const ZSTD_BLOCK_BYTES: number = 128 * 1024;
const ZSTD_HEAD_BYTES = 9;
const ZSTD_BLOCK_HEAD_BYTES = 3;

/** Incompressible bytes, one at least, as a zstd frame of raw blocks. */
export function storedZstd(plain: Uint8Array): Uint8Array {
  invariant(plain.length > 0, 'a frame has a block');
  const blockCount = Math.ceil(plain.length / ZSTD_BLOCK_BYTES);
  const bytes = new Uint8Array(ZSTD_HEAD_BYTES + plain.length + blockCount * ZSTD_BLOCK_HEAD_BYTES);
  const view = viewOf(bytes);
  view.setUint32(0, 0xfd2fb528, true);
  // A single segment, the length of its content in 4 bytes.
  view.setUint8(4, 0xa0);
  view.setUint32(5, plain.length, true);
  let at = ZSTD_HEAD_BYTES;
  for (let from = 0; from < plain.length; from += ZSTD_BLOCK_BYTES) {
    const part = plain.subarray(from, from + ZSTD_BLOCK_BYTES);
    const isLast = from + part.length === plain.length;
    // Its type, raw, is 0: the length stands above it and the mark of the last block.
    const head = part.length * 8 + (isLast ? 1 : 0);
    view.setUint8(at, head % 256);
    view.setUint16(at + 1, Math.floor(head / 256), true);
    bytes.set(part, at + ZSTD_BLOCK_HEAD_BYTES);
    at += ZSTD_BLOCK_HEAD_BYTES + part.length;
  }
  return bytes;
}
