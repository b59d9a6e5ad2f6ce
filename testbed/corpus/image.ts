import type { ByteSource, Disk, Extent } from '@gantry/disk';

/** Bytes that stand in an image, so many times one after the other (once when `count` is absent). */
export interface Patch {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
  readonly count?: number;
}

/**
 * A file, or a disk, as what is not zero in it: one of 1 TiB costs no more than its patches. A later patch
 * lies over an earlier one.
 */
export interface CorpusImage {
  readonly lengthBytes: number;
  readonly patches: readonly Patch[];
}

/** Images up to this length are laid out in memory; the source of a longer one looks at its patches. */
const LAID_OUT_BYTES = 8 * 2 ** 20;

const READS_A_TURN = 64;

export function imageOf(lengthBytes: number, ...patches: readonly Patch[]): CorpusImage {
  return { lengthBytes, patches };
}

export function imageOfBytes(bytes: Uint8Array): CorpusImage {
  return { lengthBytes: bytes.length, patches: [{ offsetBytes: 0, bytes }] };
}

const RUN_BYTES = 4096;

/** The bytes without their longer runs of zeros: a file of many MiB is sent to a child quickly so. */
export function imageWithoutZeros(bytes: Uint8Array): CorpusImage {
  const patches: Patch[] = [];
  const zeros = Buffer.alloc(RUN_BYTES);
  for (let at = 0; at < bytes.length; at += RUN_BYTES) {
    const run = bytes.subarray(at, at + RUN_BYTES);
    if (zeros.subarray(0, run.length).equals(run)) continue;
    const last = patches.at(-1);
    if (last !== undefined && last.offsetBytes + last.bytes.length === at) {
      patches[patches.length - 1] = { ...last, bytes: bytes.subarray(last.offsetBytes, at + run.length) };
    } else patches.push({ offsetBytes: at, bytes: run });
  }
  return imageOf(bytes.length, ...patches);
}

/** The image with other bytes in some places. It grows when a patch ends behind its end. */
export function bent(image: CorpusImage, ...patches: readonly Patch[]): CorpusImage {
  const ends = patches.map(({ offsetBytes, bytes, count = 1 }) => offsetBytes + bytes.length * count);
  return {
    lengthBytes: Math.max(image.lengthBytes, ...ends),
    patches: [...image.patches, ...patches],
  };
}

/** The image up to a length, or with zeros up to it. */
export function resized(image: CorpusImage, lengthBytes: number): CorpusImage {
  return { lengthBytes, patches: image.patches };
}

/** One image after the other. */
export function joined(...images: readonly CorpusImage[]): CorpusImage {
  let lengthBytes = 0;
  const patches: Patch[] = [];
  for (const image of images) {
    for (const patch of image.patches) {
      for (const part of clipped(patch, image.lengthBytes)) {
        patches.push({ ...part, offsetBytes: part.offsetBytes + lengthBytes });
      }
    }
    lengthBytes += image.lengthBytes;
  }
  return { lengthBytes, patches };
}

/** What of a patch lies before `endBytes`. */
function clipped(patch: Patch, endBytes: number): Patch[] {
  const { offsetBytes, bytes, count = 1 } = patch;
  const roomBytes = endBytes - offsetBytes;
  if (roomBytes <= 0) return [];
  if (roomBytes >= bytes.length * count) return [patch];
  const whole = Math.floor(roomBytes / bytes.length);
  const rest = bytes.subarray(0, roomBytes - whole * bytes.length);
  const parts: Patch[] = [];
  if (whole > 0) parts.push({ offsetBytes, bytes, count: whole });
  if (rest.length > 0) parts.push({ offsetBytes: offsetBytes + whole * bytes.length, bytes: rest });
  return parts;
}

/** Fills `into` with the image from `offsetBytes`. */
function readImage(image: CorpusImage, offsetBytes: number, into: Uint8Array): void {
  into.fill(0);
  for (const patch of image.patches) copyPatch(patch, offsetBytes, into);
}

function copyPatch({ offsetBytes, bytes, count = 1 }: Patch, fromBytes: number, into: Uint8Array): void {
  const start = Math.max(offsetBytes, fromBytes);
  const end = Math.min(offsetBytes + bytes.length * count, fromBytes + into.length);
  const target = into.subarray(start - fromBytes, Math.max(start, end) - fromBytes);
  let filled = 0;
  while (filled < Math.min(target.length, bytes.length)) {
    const within = (start - offsetBytes + filled) % bytes.length;
    const part = bytes.subarray(within, within + target.length - filled);
    target.set(part, filled);
    filled += part.length;
  }
  // The first time that it stands there is copied, then both, then all four.
  for (let done = bytes.length; done < target.length; done *= 2) target.copyWithin(done, 0, done);
}

/** All bytes of a small image. */
export function bytesOf(image: CorpusImage): Uint8Array {
  const bytes = new Uint8Array(image.lengthBytes);
  readImage(image, 0, bytes);
  return bytes;
}

/** The ranges that patches touch, in order and apart from each other. */
function touchedRanges(image: CorpusImage): { offsetBytes: number; endBytes: number }[] {
  const ranges = image.patches
    .map(({ offsetBytes, bytes, count = 1 }) => ({
      offsetBytes,
      endBytes: Math.min(offsetBytes + bytes.length * count, image.lengthBytes),
    }))
    .filter(({ offsetBytes, endBytes }) => offsetBytes < endBytes)
    .sort((a, b) => a.offsetBytes - b.offsetBytes);
  const apart: { offsetBytes: number; endBytes: number }[] = [];
  for (const range of ranges) {
    const last = apart.at(-1);
    if (last !== undefined && range.offsetBytes <= last.endBytes)
      last.endBytes = Math.max(last.endBytes, range.endBytes);
    else apart.push({ ...range });
  }
  return apart;
}

/** The image as a file that knows its holes. A read beyond it is a mistake of the reader, not of the image. */
export function corpusSource(image: CorpusImage, name: string): ByteSource {
  const laidOut = image.lengthBytes <= LAID_OUT_BYTES ? bytesOf(image) : undefined;
  let readCount = 0;
  return {
    name,
    lengthBytes: image.lengthBytes,
    async read(offsetBytes, into, signal) {
      signal?.throwIfAborted();
      const end = offsetBytes + into.length;
      if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0 || end > image.lengthBytes)
        throw new Error(`read of ${into.length} bytes at ${offsetBytes}, outside of the source`);
      // As a file does: timers have their turn.
      if (++readCount % READS_A_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
      if (laidOut !== undefined) into.set(laidOut.subarray(offsetBytes, end));
      else readImage(image, offsetBytes, into);
    },
    async close() {},
    async *allocatedRanges(fromBytes, toBytes, signal) {
      for (const { offsetBytes, endBytes } of touchedRanges(image)) {
        signal?.throwIfAborted();
        const from = Math.max(offsetBytes, fromBytes);
        const to = Math.min(endBytes, toBytes);
        if (from < to) yield { offsetBytes: from, lengthBytes: to - from };
      }
    },
  };
}

/** The image as what a guest should see: data where a patch lies, holes elsewhere. */
export function contentDisk(image: CorpusImage): Disk {
  return {
    format: 'content',
    virtualSizeBytes: image.lengthBytes,
    details: {},
    warnings: [],
    async *extents(from, to): AsyncGenerator<Extent> {
      let at = from;
      for (const { offsetBytes, endBytes } of touchedRanges(image)) {
        const start = Math.min(Math.max(offsetBytes, at), to);
        const end = Math.min(Math.max(endBytes, start), to);
        if (start > at) yield { offsetBytes: at, lengthBytes: start - at, kind: 'hole' };
        if (end > start) yield { offsetBytes: start, lengthBytes: end - start, kind: 'data' };
        at = Math.max(at, end);
      }
      if (at < to) yield { offsetBytes: at, lengthBytes: to - at, kind: 'hole' };
    },
    read: async (offsetBytes, into) => readImage(image, offsetBytes, into),
    async close() {},
  };
}
