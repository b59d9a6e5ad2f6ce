import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertExtentsTellTheTruth, diskBytes } from '../formats/images.testkit.ts';
import { rawDisk } from '../formats/raw/format.ts';
import { memorySource } from '../io/memory.ts';
import type { Disk, Extent } from './disk.ts';
import { diskMap } from './map.ts';
import { withZerosFound } from './zero-detection.ts';

const UNIT = 65536;

/** Content with runs of non-zero bytes, and its extents cut anywhere. */
const disks = fc
  .record({
    lengthBytes: fc.integer({ min: 0, max: 40 * UNIT }),
    data: fc.array(
      fc.record({ at: fc.nat({ max: 40 * UNIT }), length: fc.integer({ min: 1, max: 90_000 }) }),
      { maxLength: 4 },
    ),
    cuts: fc.array(fc.nat({ max: 40 * UNIT }), { maxLength: 6 }),
  })
  .map(({ lengthBytes, data, cuts }) => {
    const content = new Uint8Array(lengthBytes);
    for (const { at, length } of data) content.fill(9, at, at + length);
    return { content, disk: cutDisk(content, cuts) };
  });

function cutDisk(content: Uint8Array, cuts: readonly number[]): Disk {
  return {
    ...rawDisk(memorySource(content)),
    async *extents(from, to): AsyncGenerator<Extent> {
      const ends = [...cuts.filter((cut) => cut > from && cut < to), to].sort((a, b) => a - b);
      let at = from;
      for (const end of ends) {
        if (end > at) yield { offsetBytes: at, lengthBytes: end - at, kind: 'data' };
        at = Math.max(at, end);
      }
    },
  };
}

test('the extents tell where the zeros are, in units of the disk, and the bytes stay the same', async () => {
  await fc.assert(
    fc.asyncProperty(disks, async ({ content, disk }) => {
      const found = withZerosFound(disk);
      await assertExtentsTellTheTruth(found);
      assert.ok(Buffer.from(content).equals(await diskBytes(found)));
      // A unit is used exactly when a byte of it is not zero, wherever the extents were cut.
      const used = new Set<number>();
      for await (const { offsetBytes, lengthBytes, kind } of found.extents(0, content.length)) {
        if (kind !== 'data') continue;
        for (let at = offsetBytes; at < offsetBytes + lengthBytes; at++) used.add(Math.floor(at / UNIT));
      }
      const expected = Array.from({ length: Math.ceil(content.length / UNIT) }, (_, i) => i).filter((i) =>
        content.subarray(i * UNIT, (i + 1) * UNIT).some((byte) => byte !== 0),
      );
      assert.deepEqual([...used], expected);
    }),
    { numRuns: 40 },
  );
});

test('holes, known zeros and compressed data are taken as they are, unread', async () => {
  const extents: readonly Extent[] = [
    { offsetBytes: 0, lengthBytes: UNIT, kind: 'hole' },
    { offsetBytes: UNIT, lengthBytes: UNIT, kind: 'zero' },
    { offsetBytes: 2 * UNIT, lengthBytes: UNIT, kind: 'data', compressed: true },
  ];
  const disk: Disk = {
    ...rawDisk(memorySource(new Uint8Array(3 * UNIT))),
    async *extents() {
      yield* extents;
    },
    async read() {
      assert.fail('nothing is read');
    },
  };
  assert.deepEqual(await Array.fromAsync(withZerosFound(disk).extents(0, 3 * UNIT)), extents);
});

test('the scan tells its progress in order, up to the end', async () => {
  const content = new Uint8Array(5_000_000).fill(1, 2_000_000, 3_000_000);
  const done: number[] = [];
  const disk = withZerosFound(rawDisk(memorySource(content)), {
    onProgress: ({ phase, doneBytes, totalBytes }) => {
      assert.deepEqual([phase, totalBytes], ['scan', content.length]);
      done.push(doneBytes);
    },
  });
  for await (const _ of disk.extents(0, content.length));
  assert.deepEqual(
    done,
    done.toSorted((a, b) => a - b),
  );
  assert.equal(done.at(-1), content.length);
});

test('a map joins neighbours of one kind', async () => {
  const content = new Uint8Array(10 * UNIT).fill(1, 2 * UNIT, 5 * UNIT);
  const map = await Array.fromAsync(diskMap(withZerosFound(cutDisk(content, [3 * UNIT, 70_000]))));
  assert.deepEqual(map, [
    { offsetBytes: 0, lengthBytes: 2 * UNIT, kind: 'zero' },
    { offsetBytes: 2 * UNIT, lengthBytes: 3 * UNIT, kind: 'data' },
    { offsetBytes: 5 * UNIT, lengthBytes: 5 * UNIT, kind: 'zero' },
  ]);
});

test('a map keeps compressed data apart from data that is not', async () => {
  const disk: Disk = {
    ...rawDisk(memorySource(new Uint8Array(30))),
    async *extents(): AsyncGenerator<Extent> {
      yield { offsetBytes: 0, lengthBytes: 10, kind: 'data' };
      yield { offsetBytes: 10, lengthBytes: 10, kind: 'data', compressed: true };
      yield { offsetBytes: 20, lengthBytes: 10, kind: 'data', compressed: true };
    },
  };
  assert.deepEqual(await Array.fromAsync(diskMap(disk)), [
    { offsetBytes: 0, lengthBytes: 10, kind: 'data' },
    { offsetBytes: 10, lengthBytes: 20, kind: 'data', compressed: true },
  ]);
  assert.deepEqual(await Array.fromAsync(diskMap(rawDisk(memorySource(new Uint8Array(0))))), []);
});
