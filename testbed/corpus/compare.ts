import { type ByteSource, type Disk, isZero } from '@gantry/disk';
import { contentDisk } from './image.ts';
import type { Attempt } from './ways.ts';

const PIECE_BYTES = 2 ** 20;

/** Tells what a disk should read as; undefined where that is not known. */
type Reference = ((offsetBytes: number, lengthBytes: number) => Promise<Uint8Array>) | undefined;

/** What the disk should read as: what the case says, or what the way `whole` read. */
function referenceOf(attempt: Attempt): Reference {
  const { reads } = attempt.hostile.expected;
  const { bytes } = attempt.kept;
  if (reads === undefined && bytes === undefined) return undefined;
  const content = reads === undefined ? undefined : contentDisk(reads);
  return async (offsetBytes, lengthBytes) => {
    if (content === undefined) return (bytes as Uint8Array).subarray(offsetBytes, offsetBytes + lengthBytes);
    const expected = new Uint8Array(lengthBytes);
    await content.read(offsetBytes, expected);
    return expected;
  };
}

function requireSame(actual: Uint8Array, expected: Uint8Array, offsetBytes: number, what: string): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  throw new Error(`${what} at ${offsetBytes} reads differently from byte ${at} of ${actual.length} on`);
}

function requireInside(source: ByteSource, offsetBytes: number, lengthBytes: number, what: string): void {
  if (offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= source.lengthBytes) return;
  throw new Error(`a ${what} of ${lengthBytes} bytes at ${offsetBytes} lies outside of its source`);
}

/** What the fast copy is built on: runs that cover the disk and lie inside their sources. */
export async function requireSoundStoredRuns(disk: Disk, { signal, kept }: Attempt): Promise<void> {
  if (disk.storedRuns === undefined) return;
  let at = 0;
  for await (const run of disk.storedRuns(0, disk.virtualSizeBytes, signal)) {
    if (run.offsetBytes !== at) throw new Error(`the stored runs do not follow each other at ${at}`);
    at += run.lengthBytes;
    if (run.kind === 'packed') {
      requireInside(run.source, run.sourceBytes, run.storedBytes, 'packed run');
    } else if (run.kind === 'plain') {
      requireInside(run.source, run.sourceBytes, run.lengthBytes, 'plain run');
      if (kept.bytes === undefined) continue;
      const bytes = new Uint8Array(run.lengthBytes);
      await run.source.read(run.sourceBytes, bytes, signal);
      requireSame(bytes, kept.bytes.subarray(run.offsetBytes, at), run.offsetBytes, 'the stored run');
    }
  }
  if (at < disk.virtualSizeBytes) throw new Error(`the stored runs end at ${at}`);
}

/** All bytes of a small disk; its extents have to cover it, in order, with zeros where they say so. */
export async function readSmall(disk: Disk, { signal }: Attempt): Promise<Uint8Array> {
  const bytes = new Uint8Array(disk.virtualSizeBytes).fill(0xee);
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    await disk.read(at, bytes.subarray(at, Math.min(at + PIECE_BYTES, bytes.length)), signal);
  }
  let at = 0;
  for await (const { offsetBytes, lengthBytes, kind } of disk.extents(0, bytes.length, signal)) {
    if (offsetBytes !== at || lengthBytes <= 0)
      throw new Error(`the extents do not follow each other at ${at}`);
    at += lengthBytes;
    if (kind !== 'data' && !isZero(bytes.subarray(offsetBytes, at)))
      throw new Error(`the ${kind} at ${offsetBytes} is not zero`);
  }
  if (at !== bytes.length) throw new Error(`the extents end at ${at}`);
  return bytes;
}

/** Reads ranges and compares them with what they should be, where that is known. */
export async function readCompared(
  disk: Disk,
  ranges: readonly { offsetBytes: number; lengthBytes: number }[],
  attempt: Attempt,
): Promise<void> {
  const { signal } = attempt;
  const reference = referenceOf(attempt);
  let difference: unknown;
  for (const { offsetBytes, lengthBytes } of ranges) {
    const bytes = new Uint8Array(lengthBytes).fill(0xee);
    await disk.read(offsetBytes, bytes, signal);
    if (reference === undefined || difference !== undefined) continue;
    const expected = await reference(offsetBytes, lengthBytes);
    try {
      requireSame(bytes, expected, offsetBytes, `a range of ${lengthBytes} bytes`);
    } catch (error) {
      difference = error;
    }
  }
  // A checksum that stands behind the data is seen last.
  await disk.drain?.(signal);
  if (difference !== undefined) throw difference;
}
