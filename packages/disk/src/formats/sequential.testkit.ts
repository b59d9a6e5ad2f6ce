import assert from 'node:assert/strict';
import { dataRuns } from '../disk/data-runs.ts';
import type { Disk } from '../disk/disk.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import { ImageError } from '../errors.ts';
import type { ByteSource } from '../io/byte-source.ts';
import type { Format } from './format.ts';
import { assertSameBytes } from './images.testkit.ts';

/** How much an arriving source keeps: what a test makes small enough to notice a look ahead or back. */
export interface ArrivalLimits {
  readonly headBytes: number;
  readonly windowBytes: number;
}

/** Bytes that arrive once: what is far behind is gone, what is far ahead is not there. */
export function arrivingSource(bytes: Uint8Array, limits: ArrivalLimits): ByteSource {
  let furthest = 0;
  const gone = (offsetBytes: number) =>
    new ImageError('IMAGE_NOT_SEQUENTIAL', `byte ${offsetBytes} is out of order`, {
      structure: 'order of the file',
      offsetBytes,
    });
  return {
    name: 'arriving',
    lengthBytes: bytes.length,
    sequential: true,
    async read(offset, into) {
      const end = offset + into.length;
      assert.ok(end <= bytes.length, 'a read lies inside the source');
      if (offset > furthest + limits.windowBytes) throw gone(offset);
      if (end > limits.headBytes && offset < furthest - limits.windowBytes) throw gone(offset);
      furthest = Math.max(furthest, end);
      into.set(bytes.subarray(offset, end));
    },
    async close() {},
  };
}

/** Opens a file that is arriving and reads it as a conversion does: walk and reads forward, then the end. */
export async function readArriving(
  format: Format,
  bytes: Uint8Array,
  limits: ArrivalLimits,
): Promise<{ disk: Disk; content: Uint8Array }> {
  const disk = await format.open(arrivingSource(bytes, limits), { references: denyReferences });
  assert.equal(disk.sequential, true);
  const content = new Uint8Array(disk.virtualSizeBytes);
  for await (const run of dataRuns(disk, 65536, 2 ** 20, { phase: 'test' })) {
    const end = Math.min(run.offsetBytes + run.lengthBytes, disk.virtualSizeBytes);
    await disk.read(run.offsetBytes, content.subarray(run.offsetBytes, end));
  }
  await disk.drain?.();
  await disk.close();
  return { disk, content };
}

/** Asserts that a file gives the same disk while it arrives. */
export async function assertArrivesAs(
  format: Format,
  bytes: Uint8Array,
  expected: Uint8Array,
  limits: ArrivalLimits,
): Promise<void> {
  const { content } = await readArriving(format, bytes, limits);
  assertSameBytes(content, expected, 'the disk that arrived');
}
