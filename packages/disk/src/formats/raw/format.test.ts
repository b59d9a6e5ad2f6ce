import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { denyReferences } from '../../disk/reference-gate.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { memorySource } from '../../io/memory.ts';
import { viewOfLayout } from '../../view/view.ts';
import {
  assertExtentsTellTheTruth,
  assertSameBytes,
  diskBytes,
  layoutBytes,
  openBytes,
  patternDisk,
  planLayout,
} from '../images.testkit.ts';
import { sparseDisks } from '../placement.testkit.ts';
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';
import { raw } from './format.ts';

test('a raw file is its disk, to the byte', async () => {
  for (const length of [0, 1, 511, 512, 100_001]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 7) % 251);
    const disk = await openBytes(raw, bytes);
    assert.equal(disk.virtualSizeBytes, length);
    assertSameBytes(await diskBytes(disk), bytes);
    await assertExtentsTellTheTruth(disk);
  }
});

test('the holes of a source that knows them are holes, and its data is a run of it', async () => {
  const bytes = new Uint8Array(10_001);
  bytes.fill(7, 2000, 3000);
  bytes.fill(8, 9000);
  const source: ByteSource = {
    ...memorySource(bytes),
    async *allocatedRanges(from, to) {
      for (const [start, end] of [
        [2000, 3000],
        [9000, 10_001],
      ] as const) {
        if (start < to && end > from) yield { offsetBytes: start, lengthBytes: end - start };
      }
    },
  };
  const disk = await raw.open(source, { references: denyReferences });
  await assertExtentsTellTheTruth(disk);
  assert.deepEqual(
    (await Array.fromAsync(disk.extents(500, 9500))).map((extent) => [
      extent.offsetBytes,
      extent.lengthBytes,
      extent.kind,
    ]),
    [
      [500, 1500, 'hole'],
      [2000, 1000, 'data'],
      [3000, 6000, 'hole'],
      [9000, 500, 'data'],
    ],
  );
  await assertRunsTellTheTruth(disk);
  assert.deepEqual(await Array.fromAsync(disk.storedRuns?.(9500, 10_001) ?? []), [
    { kind: 'plain', offsetBytes: 9500, lengthBytes: 501, source, sourceBytes: 9500 },
  ]);
});

test('a raw disk of an arriving source says so', async () => {
  const source = { ...memorySource(new Uint8Array(10)), sequential: true };
  assert.equal((await raw.open(source, { references: denyReferences })).sequential, true);
});

test('a range of a raw disk has one extent, an empty range none', async () => {
  const disk = await openBytes(raw, new Uint8Array(1000));
  assert.deepEqual(await Array.fromAsync(disk.extents(10, 20)), [
    { offsetBytes: 10, lengthBytes: 10, kind: 'data' },
  ]);
  assert.deepEqual(await Array.fromAsync(disk.extents(10, 10)), []);
  assert.throws(() => disk.extents(0, 1001), /invariant/);
});

test('a raw layout is as long as the disk and shows it, in any range', async () => {
  await fc.assert(
    fc.asyncProperty(sparseDisks(2_000_000), fc.nat(), fc.nat({ max: 200_000 }), async (disk, at, length) => {
      const bytes = await diskBytes(disk);
      const layout = await planLayout(raw, disk);
      assertSameBytes(await layoutBytes(layout, disk), bytes);
      const from = at % bytes.length;
      const part = new Uint8Array(Math.min(length, bytes.length - from)).fill(0xee);
      await viewOfLayout(layout, disk).read(from, part);
      assertSameBytes(part, bytes.subarray(from, from + part.length));
    }),
    { numRuns: 40 },
  );
});

test('a raw layout of 60 TiB costs what its data costs', async () => {
  const disk = patternDisk(60 * 2 ** 40, [[2 ** 45, 1000]]);
  const layout = await planLayout(raw, disk);
  const pieces = [...layout.pieces(0, layout.lengthBytes)];
  assert.deepEqual(
    pieces.map(({ kind }) => kind),
    ['zero', 'disk', 'zero'],
  );
});

test('a raw disk of more than 256 TiB is refused for writing, not tried', async () => {
  await assert.rejects(planLayout(raw, patternDisk(2 ** 48 + 1, [])), { code: 'IMAGE_LIMIT' });
  const source = { ...memorySource(new Uint8Array(0)), lengthBytes: 2 ** 50 };
  assert.equal((await raw.open(source, { references: denyReferences })).virtualSizeBytes, 2 ** 50);
});
