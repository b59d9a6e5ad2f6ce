import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Disk, Extent, ExtentKind } from '../../disk/disk.ts';
import { withZerosFound } from '../../disk/zero-detection.ts';
import { memorySource } from '../../io/memory.ts';
import {
  assertSameBytes,
  layoutBytes,
  patternDisk,
  planLayout,
  testFolder,
  tool,
} from '../images.testkit.ts';
import { rawDisk } from '../raw/format.ts';
import { qcow2 } from './format.ts';
import { assertReadsAs, inFolder, openWithFiles, qemuBytes } from './qcow2.testkit.ts';

const UNIT = 4096;
const backing = { backing_file: 'base.raw', backing_fmt: 'raw', backing_holes: 'backing' };

/** A disk whose units of 4 KiB are data, zeros or holes, and what it shows over a base of 0xbb. */
function deltaDisk(kinds: readonly ExtentKind[], unitBytes: number): { disk: Disk; shown: Uint8Array } {
  const bytes = new Uint8Array(kinds.length * unitBytes);
  const shown = new Uint8Array(bytes.length).fill(0xbb);
  for (const [i, kind] of kinds.entries()) {
    const at = i * unitBytes;
    if (kind === 'data') bytes.fill(1 + (i % 200), at, at + unitBytes);
    if (kind !== 'hole') shown.set(bytes.subarray(at, at + unitBytes), at);
  }
  const disk: Disk = {
    ...rawDisk(memorySource(bytes)),
    async *extents(from, to): AsyncGenerator<Extent> {
      for (let at = from; at < to; ) {
        const unit = Math.floor(at / unitBytes);
        const end = Math.min(to, (unit + 1) * unitBytes);
        yield { offsetBytes: at, lengthBytes: end - at, kind: kinds[unit] ?? 'hole' };
        at = end;
      }
    },
  };
  return { disk, shown };
}

const kinds = fc.array(
  fc
    .tuple(fc.constantFrom<ExtentKind>('data', 'zero', 'hole'), fc.integer({ min: 1, max: 40 }))
    .map(([kind, count]) => Array.from({ length: count }, () => kind)),
  { minLength: 1, maxLength: 8 },
);

test('an overlay shows data and zeros of its disk, and its backing file elsewhere, for us and for qemu', async (context) => {
  const at = inFolder(await testFolder(context));
  const options = fc.constantFrom(
    { unit: UNIT, asked: { cluster_size: '4096' } },
    { unit: UNIT, asked: { cluster_size: '512' } },
    { unit: 65536, asked: {} },
    { unit: UNIT, asked: { cluster_size: '131072', extended_l2: 'on' } },
    { unit: 512, asked: { cluster_size: '16384', extended_l2: 'on' } },
  );
  await fc.assert(
    fc.asyncProperty(kinds, options, async (runs, { unit, asked }) => {
      const { disk, shown } = deltaDisk(runs.flat(), unit);
      const layout = await planLayout(qcow2, withZerosFound(disk), { ...asked, ...backing });
      await writeFile(at('top.qcow2'), await layoutBytes(layout, disk));
      await writeFile(at('base.raw'), new Uint8Array(shown.length).fill(0xbb));
      const what = JSON.stringify({ asked, runs: runs.map((run) => [run[0], run.length]) });
      assert.match(await tool('qemu-img', 'check', '-f', 'qcow2', at('top.qcow2')), /No errors/, what);
      assertSameBytes(await qemuBytes(at('top.qcow2')), shown, what);
      const top = await openWithFiles(context, at('top.qcow2'), { 'base.raw': { path: at('base.raw') } });
      await assertReadsAs(top, shown, what);
    }),
    { numRuns: 25 },
  );
});

test('zeros that are found in data hide the backing file', async (context) => {
  const at = inFolder(await testFolder(context));
  const bytes = new Uint8Array(4 * 65536).fill(7, 65536, 2 * 65536);
  const disk = rawDisk(memorySource(bytes));
  const layout = await planLayout(qcow2, withZerosFound(disk), backing);
  await writeFile(at('top.qcow2'), await layoutBytes(layout, disk));
  await writeFile(at('base.raw'), new Uint8Array(bytes.length).fill(0xbb));
  assertSameBytes(await qemuBytes(at('top.qcow2')), bytes);
});

test('an overlay of a whole disk hides the backing file at its holes', async (context) => {
  const at = inFolder(await testFolder(context));
  const { disk } = deltaDisk(['hole', 'data', 'zero', 'hole'], 65536);
  const layout = await planLayout(qcow2, disk, { ...backing, backing_holes: 'zero' });
  await writeFile(at('top.qcow2'), await layoutBytes(layout, disk));
  await writeFile(at('base.raw'), new Uint8Array(disk.virtualSizeBytes).fill(0xbb));
  const expected = new Uint8Array(4 * 65536).fill(2, 65536, 2 * 65536);
  assertSameBytes(await qemuBytes(at('top.qcow2')), expected);
});

test('a hole that ends inside of a cluster is refused: the cluster would hide or show too much', async () => {
  for (const next of ['data', 'zero'] as const) {
    for (const order of [
      ['hole', next],
      [next, 'hole'],
    ] as const) {
      const { disk } = deltaDisk(order, UNIT);
      await assert.rejects(planLayout(qcow2, disk, backing), {
        code: 'IMAGE_OPTION',
        structure: 'option backing_file',
      });
      await planLayout(qcow2, disk, { ...backing, extended_l2: 'on', cluster_size: '131072' });
    }
  }
});

test('the overlay names its backing file and its format as qemu does', async (context) => {
  const at = inFolder(await testFolder(context));
  const disk = patternDisk(2 ** 20, [[0, 65536]]);
  const asked = { backing_file: 'base.vhd', backing_fmt: 'vhd', backing_holes: 'backing' };
  await writeFile(at('top.qcow2'), await layoutBytes(await planLayout(qcow2, disk, asked), disk));
  const info = JSON.parse(await tool('qemu-img', 'info', '--output=json', at('top.qcow2')));
  assert.deepEqual([info['backing-filename'], info['backing-filename-format']], ['base.vhd', 'vpc']);
});

test('options of an overlay that leave a question open are refused', async () => {
  const disk = patternDisk(2 ** 20, []);
  const wrong: readonly Record<string, string>[] = [
    { backing_file: 'a' },
    { backing_file: 'a', backing_fmt: 'raw' },
    { backing_file: 'a', backing_holes: 'backing' },
    { ...backing, backing_fmt: 'guess' },
    { ...backing, backing_holes: 'perhaps' },
    { ...backing, backing_file: '' },
    { ...backing, backing_file: 'a\0b' },
    { ...backing, backing_file: 'a'.repeat(1024) },
    { ...backing, backing_file: 'a'.repeat(400), cluster_size: '512' },
    { ...backing, compat: '0.10' },
    { backing_fmt: 'raw' },
    { backing_holes: 'zero' },
  ];
  for (const asked of wrong) {
    await assert.rejects(planLayout(qcow2, disk, asked), { code: 'IMAGE_OPTION' }, JSON.stringify(asked));
  }
  const request = { options: backing, seed: new Uint8Array(32), baseName: 'disk' };
  assert.equal(await qcow2.placement?.(disk.virtualSizeBytes, request), undefined);
});
