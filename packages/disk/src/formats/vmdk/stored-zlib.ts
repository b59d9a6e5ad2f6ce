import { adler32 } from '../../bytes/adler32.ts';
import { viewOf } from '../../bytes/fields.ts';

/** A stored block of deflate has a length of 16 bits. */
const BLOCK_BYTES_MAX = 65535;

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
