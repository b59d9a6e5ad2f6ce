import assert from 'node:assert/strict';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { GIB, TIB } from '../../bytes/numbers.ts';
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
} from '../images.testkit.ts';
import { assertPlacementHolds, sparseDisks } from '../placement.testkit.ts';
import { assertReadsAs, contentDisk, contents } from '../qcow2/qcow2.testkit.ts';
import { checkQcow } from './check.ts';
import { qcow } from './format.ts';

test('a layout reads as its disk, for us, qemu-img and libqcow, and its check is clean', async (context) => {
  const folder = await testFolder(context);
  const at = (name: string) => join(folder, name);
  await fc.assert(
    fc.asyncProperty(contents, async (content) => {
      fc.pre(content.lengthBytes > 0);
      const { disk, bytes } = contentDisk(content);
      const image = await layoutBytes(await planLayout(qcow, withZerosFound(disk)), disk);
      const what = JSON.stringify(content);
      const whole = new Uint8Array(Math.ceil(bytes.length / 512) * 512);
      whole.set(bytes);
      await assertReadsAs(await openBytes(qcow, image), whole, what);
      const report = await checkQcow(memorySource(image), { references: denyReferences });
      assert.deepEqual(report.findings, [], what);
      await writeFile(at('a.qcow'), image);
      await writeFile(at('a.raw'), bytes);
      await truncate(at('a.raw'), whole.length);
      const compare = ['compare', '-f', 'qcow', '-F', 'raw', at('a.qcow'), at('a.raw')];
      assert.equal(await tool('qemu-img', ...compare), 'Images are identical.\n', what);
      assert.match(await tool('qcowinfo', at('a.qcow')), new RegExp(`Media size\\s*: .*${whole.length}\\b`));
    }),
    { numRuns: 15 },
  );
});

test('any range of a layout is the slice of the whole', async () => {
  await fc.assert(
    fc.asyncProperty(contents, fc.nat(), fc.nat({ max: 200_000 }), async (content, at, length) => {
      fc.pre(content.lengthBytes > 0);
      const { disk } = contentDisk(content);
      const layout = await planLayout(qcow, disk);
      const whole = await layoutBytes(layout, disk);
      const from = at % whole.length;
      const part = new Uint8Array(Math.min(length, whole.length - from)).fill(0xee);
      await viewOfLayout(layout, disk).read(from, part);
      assertSameBytes(part, whole.subarray(from, from + part.length));
    }),
    { numRuns: 40 },
  );
});

test('every block stands where the placement says', async () => {
  await fc.assert(
    fc.asyncProperty(sparseDisks(GIB), (disk) => assertPlacementHolds(qcow, disk)),
    { numRuns: 20 },
  );
  const large = patternDisk(2 * TIB, [
    [5 * GIB, 100],
    [700 * GIB - 7, 3_000_000],
    [2 * TIB - 512, 512],
  ]);
  await assertPlacementHolds(qcow, large);
});

test('a disk of 5 TiB is laid out by its data', async (context) => {
  const folder = await testFolder(context);
  const runs = [
    [3 * 512, 100],
    [2 * TIB - 70_000, 140_000],
    [5 * TIB - 512, 512],
  ] as const;
  const disk = patternDisk(5 * TIB, runs);
  const layout = await planLayout(qcow, disk);
  assert.ok(layout.lengthBytes < 2 ** 20, `${layout.lengthBytes} bytes`);
  const image = await qcow.open(viewOfLayout(layout, disk), { references: denyReferences });
  for (const [offset, length] of runs) {
    const expected = new Uint8Array(length);
    const read = new Uint8Array(length);
    await disk.read(offset, expected);
    await image.read(offset, read);
    assertSameBytes(read, expected);
  }
  await writeLayoutFile(join(folder, 'a.qcow'), layout, disk);
  assert.match(await tool('qcowinfo', join(folder, 'a.qcow')), /\(5497558138880 bytes\)/);
  const qemuRead = ['-f', 'qcow', '-c', `read -v ${5 * TIB - 512} 16`, join(folder, 'a.qcow')];
  const tail = new Uint8Array(16);
  await disk.read(5 * TIB - 512, tail);
  assert.ok(
    (await tool('qemu-io', ...qemuRead)).includes(
      Buffer.from(tail).toString('hex').replace(/../g, '$& ').trim(),
    ),
  );
  let dataBytes = 0;
  for await (const { kind, lengthBytes } of image.extents(0, 5 * TIB))
    if (kind === 'data') dataBytes += lengthBytes;
  assert.ok(dataBytes < 400_000);
});

test('an empty disk and one above 64 TiB are refused', async () => {
  const request = { options: {}, seed: new Uint8Array(32), baseName: 'disk' };
  for (const size of [0, 64 * TIB + 1]) {
    await assert.rejects(planLayout(qcow, patternDisk(size, [])), { code: 'IMAGE_LIMIT' });
    await assert.rejects(async () => qcow.placement?.(size, request), { code: 'IMAGE_LIMIT' });
  }
});
