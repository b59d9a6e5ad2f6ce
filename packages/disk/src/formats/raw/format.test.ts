import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { denyReferences } from '../../disk/reference-gate.ts';
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
import { contentDisk, contents } from '../qcow2/qcow2.testkit.ts';
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

test('a range of a raw disk has one extent, an empty range none', async () => {
  const disk = await openBytes(raw, new Uint8Array(1000));
  assert.deepEqual(await Array.fromAsync(disk.extents(10, 20)), [
    { offsetBytes: 10, lengthBytes: 10, kind: 'data' },
  ]);
  assert.deepEqual(await Array.fromAsync(disk.extents(10, 10)), []);
  await assert.rejects(Array.fromAsync(disk.extents(0, 1001)), /invariant/);
});

test('a raw layout is as long as the disk and shows it, in any range', async () => {
  await fc.assert(
    fc.asyncProperty(contents, fc.nat(), fc.nat({ max: 200_000 }), async (content, at, length) => {
      const { disk, bytes } = contentDisk(content);
      const layout = await planLayout(raw, disk);
      assertSameBytes(await layoutBytes(layout, disk), bytes);
      const from = bytes.length === 0 ? 0 : at % bytes.length;
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
