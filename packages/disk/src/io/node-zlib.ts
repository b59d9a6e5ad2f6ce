import zlib from 'node:zlib';
import type { Compression } from './codec.ts';

// Runs in the codec's threads too: it imports nothing else, so that a thread starts soon and stays small.

export interface CompressOptions {
  readonly level?: number | undefined;
  /** Deflate history window as a power of two, 9 to 15. */
  readonly windowBits?: number | undefined;
}

/** More than any of the codecs makes of incompressible input of this length. */
export function compressedBound(lengthBytes: number): number {
  return lengthBytes + Math.ceil(lengthBytes / 64) + 1024;
}

/** Compresses into `target`, which has `compressedBound` bytes; gives the length. */
export function compressInto(
  target: Uint8Array,
  kind: Compression,
  bytes: Uint8Array,
  options: CompressOptions,
): number {
  const output = compressSync(kind, bytes, options);
  target.set(output);
  const { length, buffer } = output;
  // Given back at once: the garbage collector would let tens of MiB of such buffers gather first.
  if (buffer instanceof ArrayBuffer && buffer.byteLength === compressedBound(bytes.length))
    buffer.transfer(0);
  return length;
}

function compressSync(kind: Compression, bytes: Uint8Array, options: CompressOptions): Uint8Array {
  const chunkSize = compressedBound(bytes.length);
  if (kind === 'zstd') {
    return zlib.zstdCompressSync(bytes, {
      // Known beforehand, the size keeps zstd's tables small.
      pledgedSrcSize: bytes.length,
      chunkSize,
      params: { [zlib.constants.ZSTD_c_compressionLevel]: options.level ?? 3 },
    });
  }
  const { level = 6, windowBits = 15 } = options;
  const settings = { level, windowBits, memLevel: 9, chunkSize };
  return kind === 'zlib' ? zlib.deflateSync(bytes, settings) : zlib.deflateRawSync(bytes, settings);
}
