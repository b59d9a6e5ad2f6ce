import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { measure } from '../../convert/measure.ts';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { withZerosFound } from '../../disk/zero-detection.ts';
import { memorySource } from '../../io/memory.ts';
import { viewOfLayout } from '../../view/view.ts';
import {
  assertSameBytes,
  layoutBytes,
  openBytes,
  patternDisk,
  planLayout,
  testFolder,
  tool,
  writeLayoutFile,
  writeRaw,
} from '../images.testkit.ts';
import { assertPlacementHolds } from '../placement.testkit.ts';
import { rawDisk } from '../raw/format.ts';
import { checkQcow2 } from './check.ts';
import { qcow2 } from './format.ts';
import { assertQemuReadsAs, assertReadsAs, contentDisk, contents, inFolder } from './qcow2.testkit.ts';

const TIB = 2 ** 40;

const options = fc.oneof(
  fc.record({
    compat: fc.constantFrom('1.1', '0.10'),
    cluster_size: fc.constantFrom('512', '1024', '4096', '65536', '2097152'),
  }),
  fc.record({
    extended_l2: fc.constant('on'),
    cluster_size: fc.constantFrom('16384', '65536', '2097152'),
  }),
);

/** The bytes and zeros up to a whole sector: what a qcow2 of a disk shows. */
function sectors(bytes: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil(bytes.length / 512) * 512);
  padded.set(bytes);
  return padded;
}

test('a layout reads as its disk, for us and for qemu-img, and its check is clean', async (context) => {
  const folder = await testFolder(context);
  await fc.assert(
    fc.asyncProperty(contents, options, async (content, asked) => {
      const { disk, bytes } = contentDisk(content);
      const image = await layoutBytes(await planLayout(qcow2, disk, asked), disk);
      const what = JSON.stringify({ content, asked });
      await assertReadsAs(await openBytes(qcow2, image), sectors(bytes), what);
      const report = await checkQcow2(memorySource(image), { references: denyReferences });
      assert.deepEqual(report.findings, [], what);
      await assertQemuReadsAs(folder, image, bytes, what);
    }),
    { numRuns: 25 },
  );
});

test('any range of a layout is the slice of the whole, which is as long as measured', async () => {
  await fc.assert(
    fc.asyncProperty(
      contents,
      options,
      fc.nat(),
      fc.nat({ max: 200_000 }),
      async (content, asked, at, length) => {
        const { disk } = contentDisk(content);
        const layout = await planLayout(qcow2, withZerosFound(disk), asked);
        const whole = await layoutBytes(layout, disk);
        const view = viewOfLayout(layout, disk);
        for (const from of [at % whole.length, Math.max(0, whole.length - length)]) {
          const part = new Uint8Array(Math.min(length, whole.length - from)).fill(0xee);
          await view.read(from, part);
          assertSameBytes(part, whole.subarray(from, from + part.length));
        }
        const measured = await measure(disk, { format: 'qcow2', options: asked });
        assert.deepEqual(measured, { format: 'qcow2', requiredBytes: whole.length, exact: true });
      },
    ),
    { numRuns: 40 },
  );
});

test('each data cluster of a layout stands where its placement says', async () => {
  await fc.assert(
    fc.asyncProperty(contents, options, async (content, asked) => {
      await assertPlacementHolds(qcow2, contentDisk(content).disk, asked);
    }),
    { numRuns: 60 },
  );
});

test('every byte of the tables is the same read alone', async () => {
  const { disk } = contentDisk({
    lengthBytes: 100_000,
    pieces: [{ at: 5000, length: 30_000, kind: 'text' }],
  });
  const layout = await planLayout(qcow2, disk, { cluster_size: '512' });
  const whole = await layoutBytes(layout, disk);
  const view = viewOfLayout(layout, disk);
  const byte = new Uint8Array(1);
  for (let at = 0; at < whole.length; at += at < 8192 ? 1 : 97) {
    await view.read(at, byte);
    assert.equal(byte[0], whole[at], `byte ${at}`);
  }
});

test('the same disk gives the same file, whatever the seed and however its extents are cut', async () => {
  const { disk, bytes } = contentDisk({
    lengthBytes: 2_000_000,
    pieces: [
      { at: 1000, length: 200_000, kind: 'noise' },
      { at: 700_000, length: 400_000, kind: 'zeros' },
      { at: 900_000, length: 3000, kind: 'text' },
    ],
  });
  const file = async (shown: Disk, seed: number) =>
    layoutBytes(await planLayout(qcow2, withZerosFound(shown), {}, new Uint8Array(32).fill(seed)), shown);
  const first = await file(disk, 1);
  assertSameBytes(await file(disk, 2), first);
  assertSameBytes(await file(rawDisk(memorySource(bytes)), 3), first);
});

test('a disk of 5 TiB is laid out by its data', async (context) => {
  const at = inFolder(await testFolder(context));
  const runs = [
    [3 * 512, 100],
    [2 * TIB - 70_000, 140_000],
    [5 * TIB - 512, 512],
  ] as const;
  const disk = patternDisk(5 * TIB, runs);
  const layout = await planLayout(qcow2, disk);
  assert.ok(layout.lengthBytes < 2 * 2 ** 20, `${layout.lengthBytes} bytes`);
  await writeLayoutFile(at('a.qcow2'), layout, disk);
  await writeRaw(at('a.raw'), 5 * TIB, runs);
  const compare = ['compare', '-f', 'qcow2', '-F', 'raw', at('a.qcow2'), at('a.raw')];
  assert.equal(await tool('qemu-img', ...compare), 'Images are identical.\n');
  assert.match(await tool('qemu-img', 'check', '-f', 'qcow2', at('a.qcow2')), /No errors/);
});

test('a disk of 64 TiB is laid out, a larger one refused', async () => {
  const layout = await planLayout(qcow2, patternDisk(64 * TIB, [[64 * TIB - 1, 1]]));
  assert.ok(layout.lengthBytes < 2 * 2 ** 20);
  await assert.rejects(planLayout(qcow2, patternDisk(64 * TIB + 512, [])), { code: 'IMAGE_LIMIT' });
});

test('clusters too small for the disk are refused before anything is planned', async () => {
  const untouched: Disk = {
    ...patternDisk(0, []),
    virtualSizeBytes: 128 * 2 ** 30 + 512,
    extents: () => assert.fail('the disk is not walked'),
  };
  await assert.rejects(planLayout(qcow2, untouched, { cluster_size: '512' }), { code: 'IMAGE_OPTION' });
  const huge = { ...untouched, virtualSizeBytes: 64 * TIB };
  for (const size of ['512', '1024', '4096', '8192']) {
    await assert.rejects(planLayout(qcow2, huge, { cluster_size: size }), { code: 'IMAGE_OPTION' }, size);
  }
  // All of 127 GiB in use: the refcount table would pass 8 MiB.
  const full = patternDisk(127 * 2 ** 30, [[0, 127 * 2 ** 30]]);
  await assert.rejects(planLayout(qcow2, full, { cluster_size: '512' }), { code: 'IMAGE_OPTION' });
  await planLayout(qcow2, patternDisk(120 * 2 ** 30, [[0, 120 * 2 ** 30]]), { cluster_size: '512' });
});

test('options that qcow2 does not have are refused', async () => {
  const disk = patternDisk(2 ** 20, []);
  for (const cluster_size of [
    '256',
    '4194304',
    '65535',
    '64k',
    '',
    '-65536',
    'NaN',
    '0x10000',
    ' 65536',
    '65536.0',
  ]) {
    await assert.rejects(planLayout(qcow2, disk, { cluster_size }), { code: 'IMAGE_OPTION' }, cluster_size);
  }
  const wrong: readonly Record<string, string>[] = [
    { compat: '1.2' },
    { extended_l2: 'yes' },
    { extended_l2: 'on', compat: '0.10' },
    { extended_l2: 'on', cluster_size: '8192' },
    { deflate_window: '15' },
    { deflate_window: '13' },
  ];
  for (const asked of wrong) {
    await assert.rejects(planLayout(qcow2, disk, asked), { code: 'IMAGE_OPTION' }, JSON.stringify(asked));
    const request = { options: asked, seed: new Uint8Array(32), baseName: 'disk' };
    await assert.rejects(async () => qcow2.placement?.(disk.virtualSizeBytes, request), {
      code: 'IMAGE_OPTION',
    });
  }
});
