import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { viewOfLayout } from '../../view/view.ts';
import { vmdk } from './format.ts';
import {
  GRAIN,
  noise,
  openBytes,
  pattern,
  planLayout,
  readAt,
  request,
  SEED,
  sparseDisk,
  written,
} from './vmdk.testkit.ts';

const MIB = 1024 * 1024;
const TIB = 1024 ** 4;

const disk = sparseDisk(
  70 * MIB + 700,
  new Map([
    [3 * GRAIN + 5, noise(2 * GRAIN)],
    [31 * MIB, pattern(3 * MIB)],
    [70 * MIB, noise(700)],
  ]),
);

test('any range of the file equals the slice of the whole', async () => {
  const layout = await planLayout(disk);
  const view = viewOfLayout(layout, disk);
  const whole = new Uint8Array(layout.lengthBytes);
  await view.read(0, whole);
  const range = fc.tuple(fc.nat(whole.length), fc.oneof(fc.nat(2000), fc.nat(MIB)));
  await fc.assert(
    fc.asyncProperty(range, async ([from, length]) => {
      const part = new Uint8Array(Math.min(length, whole.length - from)).fill(0xee);
      await view.read(from, part);
      assert.ok(Buffer.from(part).equals(whole.subarray(from, from + part.length)));
    }),
    { numRuns: 100 },
  );
});

test('a written disk reads back as it was, by any range', async () => {
  for (const subformat of ['monolithicSparse', 'streamOptimized']) {
    const read = await openBytes(await written(disk, subformat));
    const grains = Math.ceil(disk.virtualSizeBytes / GRAIN);
    const range = fc.tuple(fc.nat(grains), fc.nat(GRAIN), fc.oneof(fc.nat(2000), fc.nat(MIB)));
    await fc.assert(
      fc.asyncProperty(range, async ([grain, within, length]) => {
        const from = Math.min(grain * GRAIN + within, disk.virtualSizeBytes);
        const size = Math.min(length, disk.virtualSizeBytes - from);
        const [got, wanted] = [await readAt(read, from, size), await readAt(disk, from, size)];
        assert.ok(Buffer.from(got).equals(wanted));
      }),
      { numRuns: 100 },
    );
  }
});

test('the extents of any range cover it exactly and say where the data is', async () => {
  const read = await openBytes(await written(disk, 'monolithicSparse'));
  await fc.assert(
    fc.asyncProperty(fc.nat(disk.virtualSizeBytes), fc.nat(disk.virtualSizeBytes), async (a, b) => {
      const [from, to] = [Math.min(a, b), Math.max(a, b)];
      let at = from;
      for await (const extent of read.extents(from, to)) {
        assert.equal(extent.offsetBytes, at);
        assert.ok(extent.lengthBytes > 0);
        at += extent.lengthBytes;
        if (extent.kind === 'hole') {
          const bytes = await readAt(disk, extent.offsetBytes, extent.lengthBytes);
          assert.ok(Buffer.from(bytes).equals(new Uint8Array(bytes.length)));
        }
      }
      assert.equal(at, to);
    }),
    { numRuns: 20 },
  );
});

test('two runs give the same file, and another seed other identifiers only', async () => {
  const [first, second] = [await written(disk, 'monolithicSparse'), await written(disk, 'monolithicSparse')];
  assert.ok(Buffer.from(first).equals(second));
  const other = await vmdk.plan!(disk, request({}, { seed: SEED.map((byte) => byte + 1) }));
  assert.equal(other.kind, 'layout');
  const third = new Uint8Array(first.length);
  if (other.kind === 'layout') await viewOfLayout(other, disk).read(0, third);
  const [mine, theirs] = [(await openBytes(first)).details, (await openBytes(third)).details];
  for (const id of ['CID', 'longContentID', 'uuid.image']) assert.notEqual(mine[id], theirs[id]);
  first.fill(0, 512, 21 * 512);
  third.fill(0, 512, 21 * 512);
  assert.ok(Buffer.from(first).equals(third));
});

test('a sparse disk of 1 TiB is planned, opened and walked by its data', async () => {
  const large = sparseDisk(
    TIB,
    new Map([
      [5, pattern(100)],
      [TIB / 2, noise(3 * GRAIN)],
      [TIB - 10, pattern(10)],
    ]),
  );
  const layout = await planLayout(large);
  const view = viewOfLayout(layout, large);
  const read = await vmdk.open(view, {
    references: { resolve: async () => assert.fail('nothing to resolve') },
  });
  assert.deepEqual(await Array.fromAsync(read.extents(0, TIB)), [
    { offsetBytes: 0, lengthBytes: GRAIN, kind: 'data' },
    { offsetBytes: GRAIN, lengthBytes: TIB / 2 - GRAIN, kind: 'hole' },
    { offsetBytes: TIB / 2, lengthBytes: 3 * GRAIN, kind: 'data' },
    { offsetBytes: TIB / 2 + 3 * GRAIN, lengthBytes: TIB / 2 - 4 * GRAIN, kind: 'hole' },
    { offsetBytes: TIB - GRAIN, lengthBytes: GRAIN, kind: 'data' },
  ]);
  assert.deepEqual(await readAt(read, TIB - 10, 10), pattern(10));
});

test('planning and reading stop when they are aborted', async () => {
  const reason = new Error('enough');
  const signal = AbortSignal.abort(reason);
  const read = await openBytes(await written(disk, 'monolithicSparse'));
  await assert.rejects(Array.fromAsync(read.extents(0, MIB, signal)), reason);
  await assert.rejects(read.read(0, new Uint8Array(512), signal), reason);
});
