import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { zstdFrameLength } from '../bytes/zstd-frame.ts';
import { ImageError } from '../errors.ts';
import type { Compression } from './codec.ts';
import { CodecThreads } from './node-codec-threads.ts';
import { type CompressOptions, compressedBound, compressInto } from './node-zlib.ts';

const inflateRawAsync = promisify(zlib.inflateRaw) as (b: Uint8Array, o: zlib.ZlibOptions) => Promise<Buffer>;
const inflateAsync = promisify(zlib.inflate) as (b: Uint8Array, o: zlib.ZlibOptions) => Promise<Buffer>;
const zstdDecompressAsync = promisify(zlib.zstdDecompress) as (
  b: Uint8Array,
  o: zlib.ZstdOptions,
) => Promise<Buffer>;

/** Work below this many calls ends before threads would have started. */
const CALLS_WITHOUT_THREADS = 48;
/** Shared memory that is used again: input and output of 64 KiB. Larger ones get memory of their own. */
const SLOT_BYTES: number = 64 * 1024 + compressedBound(64 * 1024);
const SLOTS_KEPT = 32;

const threads = new CodecThreads();
const freeSlots: Uint8Array[] = [];
let callCount = 0;

/** Compresses one buffer, off the calling thread where there is much to do. */
export async function compress(
  kind: Compression,
  bytes: Uint8Array,
  options: CompressOptions = {},
): Promise<Uint8Array> {
  const sizeBytes = bytes.length + compressedBound(bytes.length);
  const isKept = sizeBytes <= SLOT_BYTES;
  const slot = (isKept ? freeSlots.pop() : undefined) ?? newSlot(Math.max(sizeBytes, SLOT_BYTES));
  const input = slot.subarray(0, bytes.length);
  const output = slot.subarray(bytes.length, sizeBytes);
  input.set(bytes);
  const lengthBytes =
    ++callCount <= CALLS_WITHOUT_THREADS
      ? compressInto(output, kind, bytes, options)
      : await threads.compress({ kind, input, output, options });
  const compressed = output.slice(0, lengthBytes);
  if (isKept && freeSlots.length < SLOTS_KEPT) freeSlots.push(slot);
  return compressed;
}

function newSlot(sizeBytes: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(sizeBytes));
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
