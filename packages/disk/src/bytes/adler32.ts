// Threads compute it too: it imports nothing.

const PRIME = 65521;
/** The sums of this many bytes stay below 2^32 without a division (zlib's NMAX). */
const RUN_BYTES = 5552;

/** The checksum of RFC 1950, section 8. */
export function adler32(bytes: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (let at = 0; at < bytes.length; at += RUN_BYTES) {
    const end = Math.min(at + RUN_BYTES, bytes.length);
    for (let i = at; i < end; i++) {
      a += bytes[i] ?? 0;
      b += a;
    }
    a %= PRIME;
    b %= PRIME;
  }
  return b * 65536 + a;
}
