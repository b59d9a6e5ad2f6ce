import zlib from 'node:zlib';
import { zstdFrameLength } from '../bytes/zstd-frame.ts';
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

/**
 * Decompresses one compressed unit into `target`. What follows its end is left alone: `usedBytes` says where that
 * was. Undefined for damaged input, and for more output than `target` takes.
 */
export function decompressInto(
  target: Uint8Array,
  kind: Compression,
  bytes: Uint8Array,
): { readonly writtenBytes: number; readonly usedBytes: number } | undefined {
  const settings = {
    maxOutputLength: target.length,
    chunkSize: Math.max(64, target.length + 64),
    finishFlush: zlib.constants.Z_SYNC_FLUSH,
    info: true,
  };
  try {
    const frame = kind === 'zstd' ? bytes.subarray(0, zstdFrameLength(bytes) ?? 0) : bytes;
    const { buffer, engine } = (kind === 'zstd'
      ? zlib.zstdDecompressSync(frame, { ...settings, finishFlush: zlib.constants.ZSTD_e_flush })
      : kind === 'zlib'
        ? zlib.inflateSync(bytes, settings)
        : zlib.inflateRawSync(bytes, settings)) as unknown as {
      buffer: Buffer;
      engine: { bytesWritten: number };
    };
    target.set(buffer);
    return { writtenBytes: buffer.length, usedBytes: kind === 'zstd' ? frame.length : engine.bytesWritten };
  } catch {
    return undefined;
  }
}
