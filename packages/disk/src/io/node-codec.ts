import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { zstdFrameLength } from '../bytes/zstd-frame.ts';
import { ImageError } from '../errors.ts';

const deflateRawAsync = promisify(zlib.deflateRaw) as (b: Uint8Array, o: zlib.ZlibOptions) => Promise<Buffer>;
const deflateAsync = promisify(zlib.deflate) as (b: Uint8Array, o: zlib.ZlibOptions) => Promise<Buffer>;
const inflateRawAsync = promisify(zlib.inflateRaw) as (b: Uint8Array, o: zlib.ZlibOptions) => Promise<Buffer>;
const inflateAsync = promisify(zlib.inflate) as (b: Uint8Array, o: zlib.ZlibOptions) => Promise<Buffer>;
const zstdCompressAsync = promisify(zlib.zstdCompress) as (
  b: Uint8Array,
  o: zlib.ZstdOptions,
) => Promise<Buffer>;
const zstdDecompressAsync = promisify(zlib.zstdDecompress) as (
  b: Uint8Array,
  o: zlib.ZstdOptions,
) => Promise<Buffer>;

/** `deflate-raw` is RFC 1951, `zlib` is RFC 1950 around it, `zstd` is RFC 8878. */
export type Compression = 'deflate-raw' | 'zlib' | 'zstd';

export interface CompressOptions {
  readonly level?: number;
  /** Deflate history window as a power of two, 9 to 15. */
  readonly windowBits?: number;
}

/** Compresses one buffer off the calling thread. */
export async function compress(
  kind: Compression,
  bytes: Uint8Array,
  options: CompressOptions = {},
): Promise<Uint8Array> {
  const output = await compressWhole(kind, bytes, options);
  // The output stands at the front of a buffer as large as the input, which would live as long as it does.
  return output.length * 2 < bytes.length ? Uint8Array.from(output) : output;
}

function compressWhole(kind: Compression, bytes: Uint8Array, options: CompressOptions): Promise<Buffer> {
  if (kind === 'zstd') {
    return zstdCompressAsync(bytes, {
      // Known beforehand, the size keeps zstd's tables and our output buffer small: half the time.
      pledgedSrcSize: bytes.length,
      chunkSize: bytes.length + 1024,
      params: { [zlib.constants.ZSTD_c_compressionLevel]: options.level ?? 3 },
    });
  }
  const settings = {
    level: options.level ?? 6,
    windowBits: options.windowBits ?? 15,
    memLevel: 9,
    chunkSize: bytes.length + 1024,
  };
  return kind === 'zlib' ? deflateAsync(bytes, settings) : deflateRawAsync(bytes, settings);
}

/**
 * Decompresses to exactly `lengthBytes`, off the calling thread. Input after the end of the compressed data
 * is ignored (images store it in whole sectors). More or less output than that, or damaged
 * input, throws IMAGE_MALFORMED naming `structure`.
 */
export async function decompress(
  kind: Compression,
  bytes: Uint8Array,
  lengthBytes: number,
  structure: string,
  offsetBytes?: number,
): Promise<Uint8Array> {
  let output: Uint8Array;
  try {
    if (kind === 'zstd') {
      output = await decompressZstd(bytes, lengthBytes);
    } else {
      const settings = {
        maxOutputLength: lengthBytes,
        chunkSize: Math.max(64, lengthBytes),
        finishFlush: zlib.constants.Z_SYNC_FLUSH,
      };
      output = await (kind === 'zlib' ? inflateAsync(bytes, settings) : inflateRawAsync(bytes, settings));
    }
  } catch (error) {
    throw new ImageError(
      'IMAGE_MALFORMED',
      `${structure}: ${kind} data does not decompress (${reason(error)})`,
      {
        structure,
        offsetBytes,
      },
    );
  }
  if (output.length !== lengthBytes) {
    throw new ImageError(
      'IMAGE_MALFORMED',
      `${structure}: ${kind} data gives ${output.length} bytes, not ${lengthBytes}`,
      { structure, offsetBytes },
    );
  }
  return output;
}

/** Writers make one. Each costs a stream of its own, and one can be as short as 9 bytes. */
const ZSTD_FRAME_COUNT_MAX = 64;

/** One or more frames, one after the other, that give `lengthBytes` together. */
async function decompressZstd(bytes: Uint8Array, lengthBytes: number): Promise<Uint8Array> {
  const frames: Uint8Array[] = [];
  let doneBytes = 0;
  for (let rest = bytes; doneBytes < lengthBytes; ) {
    const frameBytes = zstdFrameLength(rest);
    if (frameBytes === undefined) throw new Error('no whole zstd frame');
    if (frames.length === ZSTD_FRAME_COUNT_MAX) throw new Error('too many zstd frames');
    const limitBytes = lengthBytes - doneBytes;
    const plain = await zstdDecompressAsync(rest.subarray(0, frameBytes), {
      maxOutputLength: limitBytes,
      chunkSize: Math.max(64, limitBytes),
    });
    frames.push(plain);
    doneBytes += plain.length;
    rest = rest.subarray(frameBytes);
  }
  return frames.length === 1 && frames[0] !== undefined ? frames[0] : Buffer.concat(frames);
}

function reason(error: unknown): string {
  return error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? error.message) : String(error);
}
