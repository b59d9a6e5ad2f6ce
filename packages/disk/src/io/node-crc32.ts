import { crc32 as zlibCrc32 } from 'node:zlib';

/** CRC-32 as in gzip, zip and xz; `before` is that of the bytes before. */
export function crc32(bytes: Uint8Array, before = 0): number {
  return zlibCrc32(bytes, before);
}
