import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { patternDisk } from '../formats/images.testkit.ts';
import { rawDisk } from '../formats/raw/format.ts';
import { memorySource } from '../io/memory.ts';
import { compareDisks } from './compare.ts';
import type { Disk } from './disk.ts';
import { withZerosFound } from './zero-detection.ts';

const disk = (content: Uint8Array): Disk => withZerosFound(rawDisk(memorySource(content)));

test('the first byte that differs is found, whatever is hole on either side', async () => {
  const size = 3 * 2 ** 20 + 100;
  const place = fc.record({
    at: fc.nat({ max: size - 1 }),
    length: fc.nat({ max: 200_000 }),
    value: fc.nat({ max: 2 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(place, { maxLength: 4 }),
      fc.array(place, { maxLength: 3 }),
      fc.nat({ max: 70_000 }),
      async (common, different, shorterBy) => {
        const left = new Uint8Array(size);
        for (const { at, length, value } of common) left.fill(value, at, at + length);
        const right = left.slice(0, size - shorterBy);
        for (const { at, length, value } of different) right.fill(value, at, at + length);
        const extended = new Uint8Array(size);
        extended.set(right);
        const first =
          Buffer.compare(left, extended) === 0 ? -1 : left.findIndex((byte, i) => byte !== extended[i]);
        const expected = {
          equal: first === -1,
          firstDifferenceBytes: first === -1 ? null : first,
          sizesDiffer: shorterBy > 0,
        };
        assert.deepEqual(await compareDisks(disk(left), disk(right)), expected);
        assert.deepEqual(await compareDisks(disk(right), disk(left)), expected);
      },
    ),
    { numRuns: 40 },
  );
});

test('disks of 60 TiB are compared by their data', async () => {
  const size = 60 * 2 ** 40;
  const left = patternDisk(size, [[30 * 2 ** 40, 5000]]);
  assert.equal((await compareDisks(left, patternDisk(size + 512, [[30 * 2 ** 40, 5000]]))).equal, true);
  const right = patternDisk(size, [
    [30 * 2 ** 40, 5000],
    [50 * 2 ** 40, 1],
  ]);
  assert.equal((await compareDisks(left, right)).firstDifferenceBytes, 50 * 2 ** 40);
});

test('two empty disks are equal', async () => {
  assert.deepEqual(await compareDisks(patternDisk(0, []), patternDisk(0, [])), {
    equal: true,
    firstDifferenceBytes: null,
    sizesDiffer: false,
  });
});

test('progress never goes back and ends at the longer disk', async () => {
  const content = new Uint8Array(20_000_000).fill(1);
  const done: number[] = [];
  await compareDisks(disk(content), disk(content.subarray(0, 15_000_000).slice()), {
    onProgress: ({ doneBytes }) => done.push(doneBytes),
  });
  assert.deepEqual(
    done,
    done.toSorted((a, b) => a - b),
  );
  const equal = disk(new Uint8Array(20_000_000));
  await compareDisks(equal, disk(new Uint8Array(0)), {
    onProgress: ({ phase, doneBytes, totalBytes }) => {
      assert.deepEqual([phase, doneBytes, totalBytes], ['compare', 20_000_000, 20_000_000]);
    },
  });
});

test('a failed read of either disk ends the comparison with its error', async () => {
  const broken: Disk = {
    ...disk(new Uint8Array(5_000_000).fill(1)),
    async read() {
      throw new Error('broken');
    },
  };
  const whole = disk(new Uint8Array(5_000_000).fill(1));
  await assert.rejects(compareDisks(broken, whole), /broken/);
  await assert.rejects(compareDisks(whole, broken), /broken/);
  await assert.rejects(compareDisks(broken, broken), /broken/);
});

test('an aborted comparison throws the reason', async () => {
  const reason = new Error('enough');
  const whole = disk(new Uint8Array(5_000_000).fill(1));
  await assert.rejects(compareDisks(whole, whole, { signal: AbortSignal.abort(reason) }), reason);
});
