import { promisify } from 'node:util';
import zlib from 'node:zlib';

const inflateRawAsync = promisify(zlib.inflateRaw) as (
  bytes: Uint8Array,
  settings: zlib.ZlibOptions,
) => Promise<Buffer>;

/** How far back deflate data can reach. */
export const INFLATE_WINDOW_BYTES = 32768;

/**
 * Decompresses a part of a raw deflate stream that ends at a flush, off the calling thread, to exactly
 * `lengthBytes`. `window` is what the stream gave just before, when the part may reach back to it. Undefined for
 * damaged data, more or less output, and for data that reaches further back than the window.
 */
export async function inflatePart(
  bytes: Uint8Array,
  lengthBytes: number,
  window?: Uint8Array,
): Promise<Uint8Array | undefined> {
  const settings = {
    finishFlush: zlib.constants.Z_SYNC_FLUSH,
    maxOutputLength: lengthBytes,
    // A byte of room is left, so that one chunk takes all output.
    chunkSize: lengthBytes + 1,
    ...(window !== undefined && { dictionary: window }),
  };
  try {
    const output = await inflateRawAsync(bytes, settings);
    return output.length === lengthBytes ? output : undefined;
  } catch {
    return undefined;
  }
}
