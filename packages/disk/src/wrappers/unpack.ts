import { ImageError } from '../errors.ts';
import { byteChunks } from '../io/byte-chunks.ts';
import type { ByteSource } from '../io/byte-source.ts';
import { openEndedSource } from '../io/forward.ts';
import { unpackStream } from '../io/node-unpack.ts';
import { FREE_OUTPUT_BYTES, OUTPUT_BYTES_MAX, OUTPUT_RATIO_MAX } from './limits.ts';
import { type UnpackEntry, type UnpackedSource, unpackedSource } from './unpacked-source.ts';
import { xzBlocks } from './xz/blocks.ts';
import { decodeXz } from './xz/decode.ts';
import { wholeFrames, zstdFrames } from './zstd-frames.ts';

export type WrapperKind = 'gzip' | 'zstd' | 'xz';

/**
 * The bytes inside a compressed file. Where that can be read at any offset their length is known: from xz's
 * index, zstd's frame headers, or by unpacking it once. Where it arrives, they arrive too. Throws ImageError for
 * damage, IMAGE_LIMIT for a file that unpacks to far more than disks do.
 */
export async function unpack(
  source: ByteSource,
  kind: WrapperKind,
  signal?: AbortSignal,
): Promise<UnpackedSource> {
  const { name } = source;
  if (source.sequential) return openEndedSource(boundedStream(kind, source, signal), name, signal);
  if (kind === 'xz') {
    const entries = await xzBlocks(source, signal);
    requireLikely(entries.lengthBytes, source.lengthBytes, name);
    return unpackedSource(name, entries.lengthBytes, entries.list, false);
  }
  const frames = kind === 'zstd' ? await zstdFrames(source, signal) : undefined;
  if (frames !== undefined) {
    requireLikely(frames.lengthBytes, source.lengthBytes, name);
    return unpackedSource(name, frames.lengthBytes, frames.list, false);
  }
  let lengthBytes = 0;
  for await (const bytes of boundedStream(kind, source, signal)) lengthBytes += bytes.length;
  const whole: UnpackEntry = { outputBytes: 0, start: (later) => boundedStream(kind, source, later) };
  return unpackedSource(name, lengthBytes, [whole], true);
}

/** All that a file unpacks to, as long as it is not out of all proportion to what was read of it. */
async function* boundedStream(
  kind: WrapperKind,
  source: ByteSource,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  let packedBytes = 0;
  let outputBytes = 0;
  async function* counted(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const bytes of byteChunks(source, 0, signal)) {
      packedBytes += bytes.length;
      yield bytes;
    }
  }
  for await (const bytes of unpackAll(kind, counted())) {
    outputBytes += bytes.length;
    requireLikely(outputBytes, packedBytes, source.name);
    yield bytes;
  }
}

/** All that chunks unpack to; see `unpackChunks`. */
export function unpackAll(
  kind: WrapperKind,
  packed: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (kind === 'xz') return decodeXz(packed);
  return unpackStream(kind, kind === 'zstd' ? wholeFrames(packed) : packed);
}

function requireLikely(outputBytes: number, packedBytes: number, name: string): void {
  if (outputBytes <= Math.min(OUTPUT_BYTES_MAX, FREE_OUTPUT_BYTES + OUTPUT_RATIO_MAX * packedBytes)) return;
  throw new ImageError('IMAGE_LIMIT', `${name} unpacks to ${outputBytes} bytes or more from ${packedBytes}`, {
    structure: 'compressed file',
    hint: 'no disk that was used is as empty; if you trust the file, decompress it first',
  });
}
