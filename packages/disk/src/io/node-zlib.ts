import zlib from 'node:zlib';
import { startsZstdFrame, zstdFrameLength } from '../bytes/zstd-frame.ts';
import type { Compression } from './codec.ts';
import { accelerator } from './node-accelerator.ts';

// Runs in the engine's threads too: it imports little, so that a thread starts soon and stays small.

export interface CompressOptions {
  /** Of the codec in use; the tier's own for this kind of data when not given. */
  readonly level?: number | undefined;
  /** Deflate history window as a power of two, 9 to 15; 15 when not given. */
  readonly windowBits?: number | undefined;
  /** Deflate without a last block, ended by a full flush: more can follow, and needs nothing of what was before. */
  readonly openEnd?: boolean | undefined;
}

/**
 * Measured over units of 64 KiB of file systems (programs, libraries, texts), on one thread beside what
 * qemu-img 7.2 makes of them (zlib 1.2.13 level 6, about 46 MB/s). The aim is the fastest level whose output is
 * not larger than qemu-img's.
 *
 *                             level   size to qemu-img's   MB/s
 *   deflate-raw (qcow2)
 *     libdeflate 1.14             3                0.965    170   level 1 is larger for programs
 *     Node's zlib                 4                0.979    100   level 3 is larger for programs
 *     Node's zlib, window < 15    6                1.015     80   no level is as small: 9 has 1.013 at 38
 *   zlib (streamOptimized)
 *     libdeflate 1.14             5                0.996    138   level 4 has 1.010
 *     Node's zlib                 5                1.015     80   no level is as small: 9 has 1.008 at 18
 *   zstd (both tiers)             3                1.000    425   320 without the accelerator; level 2 has 1.012
 */
const LEVELS = {
  native: { 'deflate-raw': 3, zlib: 5, zstd: 3 },
  node: { 'deflate-raw': 4, zlib: 5, zstd: 3 },
  narrow: { 'deflate-raw': 6, zlib: 6 },
} as const;

const WINDOW_BITS_MAX = 15;

/** More than any of the codecs makes of incompressible input of this length. */
export function compressedBound(lengthBytes: number): number {
  return lengthBytes + Math.ceil(lengthBytes / 64) + 1024;
}

/**
 * Compresses into `target`; gives the length, or 0 when it does not fit, which cannot be where `target` has
 * `compressedBound` bytes.
 */
export function compressInto(
  target: Uint8Array,
  kind: Compression,
  bytes: Uint8Array,
  options: CompressOptions = {},
): number {
  const { level, windowBits = WINDOW_BITS_MAX, openEnd = false } = options;
  const isNarrow = kind !== 'zstd' && windowBits < WINDOW_BITS_MAX;
  // libdeflate has one window only, and ends every stream.
  const native = isNarrow || openEnd ? undefined : accelerator();
  if (native !== undefined) return native.compressInto(target, kind, bytes, level ?? LEVELS.native[kind]);
  const usual = isNarrow ? LEVELS.narrow[kind] : LEVELS.node[kind];
  const chunkBytes = compressedBound(bytes.length);
  const output = compressByNode(kind, bytes, { level: level ?? usual, windowBits, openEnd }, chunkBytes);
  const { length } = output;
  const fits = length <= target.length;
  if (fits) target.set(output);
  giveBack(output, chunkBytes);
  return fits ? length : 0;
}

function compressByNode(
  kind: Compression,
  bytes: Uint8Array,
  { level, windowBits, openEnd }: { level: number; windowBits: number; openEnd: boolean },
  chunkSize: number,
): Uint8Array {
  if (kind === 'zstd') {
    return zlib.zstdCompressSync(bytes, {
      // Known beforehand, the size keeps zstd's tables small.
      pledgedSrcSize: bytes.length,
      chunkSize,
      params: { [zlib.constants.ZSTD_c_compressionLevel]: level },
    });
  }
  const finishFlush = openEnd ? zlib.constants.Z_FULL_FLUSH : zlib.constants.Z_FINISH;
  const settings = { level, windowBits, memLevel: 9, chunkSize, finishFlush };
  return kind === 'zlib' ? zlib.deflateSync(bytes, settings) : zlib.deflateRawSync(bytes, settings);
}

export interface Decompressed {
  readonly writtenBytes: number;
  /** Where the compressed data ended. */
  readonly usedBytes: number;
  /** False when its output was whole and its end missing: such data must not be passed on as it is. */
  readonly isWhole: boolean;
}

/**
 * Decompresses one compressed unit into `target`; of zstd that is one or more frames, as many as it takes to fill
 * `target`. What follows is ignored (images store units in whole sectors), and so is that the end is missing
 * when all output was there. Throws for damaged input, and for more output than `target` takes.
 */
export function decompressInto(target: Uint8Array, kind: Compression, bytes: Uint8Array): Decompressed {
  const done = accelerator()?.decompressInto(target, kind, bytes);
  if (done !== undefined) return { ...done, isWhole: true };
  // What the accelerator refuses is decided, and explained, by the same code as without one.
  return kind === 'zstd' ? unzstdByNode(target, bytes) : inflateByNode(target, kind, bytes);
}

/** What Node's calls give with `info: true`. */
interface Inflated {
  readonly buffer: Uint8Array;
  /** `bytesWritten` counts what went into it: the compressed bytes that it used. */
  readonly engine: { readonly bytesWritten: number };
}

function inflateByNode(target: Uint8Array, kind: 'deflate-raw' | 'zlib', bytes: Uint8Array): Decompressed {
  try {
    return inflateOnce(target, kind, bytes, zlib.constants.Z_FINISH);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'Z_BUF_ERROR')) throw error;
    return inflateOnce(target, kind, bytes, zlib.constants.Z_SYNC_FLUSH);
  }
}

function inflateOnce(
  target: Uint8Array,
  kind: 'deflate-raw' | 'zlib',
  bytes: Uint8Array,
  finishFlush: number,
): Decompressed {
  const settings = { ...outputSettings(target.length), finishFlush, info: true };
  const inflate: (bytes: Uint8Array, settings: object) => unknown =
    kind === 'zlib' ? zlib.inflateSync : zlib.inflateRawSync;
  const { buffer, engine } = inflate(bytes, settings) as Inflated;
  return {
    writtenBytes: takeOutput(target, buffer),
    usedBytes: engine.bytesWritten,
    isWhole: finishFlush === zlib.constants.Z_FINISH,
  };
}

/** Writers make one. Each costs a stream of its own, and one can be as short as 9 bytes. */
const ZSTD_FRAME_COUNT_MAX = 64;

function unzstdByNode(target: Uint8Array, bytes: Uint8Array): Decompressed {
  let writtenBytes = 0;
  let usedBytes = 0;
  for (let frameCount = 0; frameCount === 0 || writtenBytes < target.length; frameCount++) {
    if (frameCount === ZSTD_FRAME_COUNT_MAX) throw new Error('too many zstd frames');
    const rest = bytes.subarray(usedBytes);
    const frameBytes = zstdFrameLength(rest);
    if (frameBytes === undefined) {
      if (frameCount > 0 && !startsZstdFrame(rest)) break;
      throw new Error('no whole zstd frame');
    }
    const room = target.subarray(writtenBytes);
    const settings = outputSettings(room.length);
    writtenBytes += takeOutput(room, zlib.zstdDecompressSync(rest.subarray(0, frameBytes), settings));
    usedBytes += frameBytes;
  }
  return { writtenBytes, usedBytes, isWhole: true };
}

/** One chunk takes all output: a byte of room is left, so that no second one is made to see the end. */
function outputSettings(lengthBytes: number): { maxOutputLength: number; chunkSize: number } {
  return { maxOutputLength: Math.max(1, lengthBytes), chunkSize: chunkBytesFor(lengthBytes) };
}

function chunkBytesFor(lengthBytes: number): number {
  return Math.max(64, lengthBytes + 1);
}

function takeOutput(target: Uint8Array, output: Uint8Array): number {
  // Of memory that was given back, it would be 0.
  const { length } = output;
  // Node takes no limit of 0.
  if (length > target.length) throw new RangeError('more output than there is room for');
  target.set(output);
  giveBack(output, chunkBytesFor(target.length));
  return length;
}

/**
 * Frees the memory of a chunk that Node made for the output. The garbage collector would let tens of MiB of them
 * gather first.
 */
function giveBack(output: Uint8Array, chunkBytes: number): void {
  const { buffer } = output;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === chunkBytes) buffer.transfer(0);
}
