import { viewOf } from '../../bytes/fields.ts';

/** A stored block of deflate has a length of 16 bits. */
const BLOCK_BYTES_MAX = 65535;
const ADLER_PRIME = 65521;
/** The sums of this many bytes stay below 2^32 without a division (zlib's NMAX). */
const ADLER_RUN_BYTES = 5552;

/** The bytes as a zlib stream (RFC 1950) of stored blocks (RFC 1951, 3.2.4): 5 bytes for every 65535, and 6. */
export function storedZlib(plain: Uint8Array): Uint8Array {
  const blockCount = Math.max(1, Math.ceil(plain.length / BLOCK_BYTES_MAX));
  const bytes = new Uint8Array(2 + blockCount * 5 + plain.length + 4);
  const view = viewOf(bytes);
  bytes[0] = 0x78;
  bytes[1] = 0x01;
  let at = 2;
  for (let block = 0; block < blockCount; block++) {
    const part = plain.subarray(block * BLOCK_BYTES_MAX, (block + 1) * BLOCK_BYTES_MAX);
    bytes[at] = block === blockCount - 1 ? 1 : 0;
    view.setUint16(at + 1, part.length, true);
    view.setUint16(at + 3, BLOCK_BYTES_MAX - part.length, true);
    bytes.set(part, at + 5);
    at += 5 + part.length;
  }
  view.setUint32(at, adler32(plain));
  return bytes;
}

function adler32(bytes: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (let at = 0; at < bytes.length; at += ADLER_RUN_BYTES) {
    const end = Math.min(at + ADLER_RUN_BYTES, bytes.length);
    for (let i = at; i < end; i++) {
      a += bytes[i] ?? 0;
      b += a;
    }
    a %= ADLER_PRIME;
    b %= ADLER_PRIME;
  }
  return b * 65536 + a;
}
