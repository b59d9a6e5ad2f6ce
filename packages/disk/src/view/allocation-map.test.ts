import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Disk, Extent } from '../disk/disk.ts';
import { AllocationMap } from './allocation-map.ts';

/** Block counts around the group of 4096 blocks, with runs of used blocks short and long. */
const sets = fc
  .record({
    blockCount: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 4080, max: 13_000 })),
    runs: fc.array(
      fc.record({
        start: fc.nat({ max: 13_000 }),
        length: fc.oneof(fc.nat({ max: 5 }), fc.nat({ max: 9000 })),
      }),
      { maxLength: 6 },
    ),
  })
  .map(({ blockCount, runs }) => {
    const used = new Set<number>();
    for (const { start, length } of runs) {
      for (let i = start; i < Math.min(start + length, blockCount); i++) used.add(i);
    }
    return { blockCount, used };
  });

function extentsDisk(virtualSizeBytes: number, extents: readonly Extent[]): Disk {
  return {
    format: 'test',
    virtualSizeBytes,
    details: {},
    warnings: [],
    async *extents() {
      yield* extents;
    },
    async read() {},
    async close() {},
  };
}

test('a map answers like a set of block indices', () => {
  fc.assert(
    fc.property(
      sets,
      fc.array(fc.nat({ max: 13_000 }), { maxLength: 20 }),
      ({ blockCount, used }, places) => {
        const map = AllocationMap.ofBlocks(512, blockCount, used);
        const sorted = [...used].sort((a, b) => a - b);
        assert.equal(map.usedCount, used.size);
        assert.deepEqual([...map.used()], sorted);
        for (const place of [0, blockCount, ...places].map((at) => Math.min(at, blockCount))) {
          const rank = sorted.filter((index) => index < place).length;
          assert.equal(map.rank(place), rank, `rank of ${place}`);
          if (rank < sorted.length) assert.equal(map.select(rank), sorted[rank], `select ${rank}`);
          if (place === blockCount) continue;
          assert.equal(map.has(place), used.has(place), `has ${place}`);
          let end = place + 1;
          while (end < blockCount && used.has(end) === used.has(place)) end++;
          assert.equal(map.runEnd(place), end, `run of ${place}`);
          const to = Math.min(place + 5000, blockCount + 10);
          assert.deepEqual(
            [...map.used(place, Math.min(to, blockCount))],
            sorted.filter((i) => i >= place && i < to),
          );
          assert.equal(
            map.hasAny(place, to),
            sorted.some((i) => i >= place && i < to),
          );
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('every rank of a map that is larger than a group leads to its block and back', () => {
  const map = AllocationMap.ofBlocks(
    512,
    20_000,
    Array.from({ length: 5000 }, (_, i) => (i * 7919) % 20_000),
  );
  for (let rank = 0; rank < map.usedCount; rank++) assert.equal(map.rank(map.select(rank)), rank);
});

test('a rank beyond the used blocks is our own mistake', () => {
  assert.throws(() => AllocationMap.ofBlocks(512, 8, [3]).select(1), /invariant/);
});

test('a block is used when any byte of it is data', async () => {
  const disk = extentsDisk(10_000, [
    { offsetBytes: 0, lengthBytes: 999, kind: 'hole' },
    { offsetBytes: 999, lengthBytes: 2, kind: 'data' },
    { offsetBytes: 1001, lengthBytes: 2999, kind: 'zero' },
    { offsetBytes: 4000, lengthBytes: 1000, kind: 'data' },
    { offsetBytes: 5000, lengthBytes: 4999, kind: 'hole' },
    { offsetBytes: 9999, lengthBytes: 1, kind: 'data' },
  ]);
  const map = await AllocationMap.ofDisk(disk, 1000);
  assert.deepEqual([map.blockCount, ...map.used()], [10, 0, 1, 4, 9]);
});

test('the scan of a disk is told as progress up to its end', async () => {
  const disk = extentsDisk(3000, [
    { offsetBytes: 0, lengthBytes: 1000, kind: 'hole' },
    { offsetBytes: 1000, lengthBytes: 2000, kind: 'data' },
  ]);
  const done: number[] = [];
  await AllocationMap.ofDisk(disk, 1000, { onProgress: (progress) => done.push(progress.doneBytes) });
  assert.deepEqual(done, [1000, 3000]);
});

test('a map of 64 TiB in 64 KiB blocks is made from two extents and knows its end', async () => {
  const virtualSizeBytes = 64 * 2 ** 40;
  const disk = extentsDisk(virtualSizeBytes, [
    { offsetBytes: 0, lengthBytes: virtualSizeBytes - 65536, kind: 'hole' },
    { offsetBytes: virtualSizeBytes - 65536, lengthBytes: 65536, kind: 'data' },
  ]);
  const map = await AllocationMap.ofDisk(disk, 65536);
  assert.deepEqual([...map.used()], [2 ** 30 - 1]);
  assert.equal(map.select(0), 2 ** 30 - 1);
  assert.equal(map.runEnd(0), 2 ** 30 - 1);
});

test('a map that would take more than half a GiB is refused before any memory is taken', async () => {
  await assert.rejects(AllocationMap.ofDisk(extentsDisk(2 ** 50, []), 65536 * 3), { code: 'IMAGE_LIMIT' });
  assert.throws(() => AllocationMap.ofBlocks(512, 2 ** 33, []), { code: 'IMAGE_LIMIT' });
});
