import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { diskDigest } from '../../disk/digest.ts';
import { denyReferences, suppliedReferences } from '../../disk/reference-gate.ts';
import { forwardSource } from '../../io/forward.ts';
import { memorySource } from '../../io/memory.ts';
import { fileSource } from '../../io/node-file.ts';
import { openBytes, testFolder, tool, writeRaw } from '../images.testkit.ts';
import { probeFormat } from '../probe.ts';
import { assertReadsAs } from '../qcow2/qcow2.testkit.ts';
import { rawDisk } from '../raw/format.ts';
import { qcow } from './format.ts';
import { qemuQcow, qemuRaw } from './qcow.testkit.ts';

const writes = [
  'write -P 0x11 0 64k',
  'write -P 0x22 100k 1k',
  'write -P 0x33 2047k 200k',
  'write -P 0x44 3071k 1k',
];

test('images that qemu writes read as qemu reads them', async (context) => {
  const folder = await testFolder(context);
  for (const [i, [size, commands]] of (
    [
      ['3m', writes],
      ['3m', []],
      ['512', ['write -P 1 0 512']],
      ['3146240', ['write -P 7 3145728 512']],
      ['2G', ['write -P 7 1900M 1M', 'write -P 8 1G 70k']],
    ] as const
  ).entries()) {
    const path = await qemuQcow(join(folder, `${i}.qcow`), size, commands);
    const image = await readFile(path);
    assert.equal((await probeFormat(memorySource(image))).name, 'qcow');
    const disk = await openBytes(qcow, image);
    if (disk.virtualSizeBytes < 2 ** 24) await assertReadsAs(disk, await qemuRaw(path), size);
    else {
      const raw = join(folder, 'large.raw');
      await tool('qemu-img', 'convert', '-f', 'qcow', '-O', 'raw', path, raw);
      const source = await fileSource(raw);
      context.after(() => source.close());
      assert.equal(await diskDigest(disk), await diskDigest(rawDisk(source)));
    }
  }
});

test('compressed images that qemu writes read as the disk that they were made of', async (context) => {
  const folder = await testFolder(context);
  const at = (name: string) => join(folder, name);
  await writeRaw(at('disk.raw'), 3 * 2 ** 20 + 512, [
    [0, 300_000],
    [2 ** 20, 65536],
    [3 * 2 ** 20 - 70_000, 70_512],
  ]);
  const raw = await readFile(at('disk.raw'));
  raw.set(
    Uint8Array.from(
      { length: 200_000 },
      (_, i) => (Math.imul(i ^ (i >>> 7), 2_654_435_761) >>> 13) ^ ((i * i) % 251),
    ),
    1_500_000,
  );
  await writeFile(at('disk.raw'), raw);
  // qemu-img 7.2 writes the right image and ends with status 1.
  const convert = ['convert', '-c', '-f', 'raw', '-O', 'qcow', at('disk.raw'), at('a.qcow')];
  await promisify(execFile)('qemu-img', convert).catch(() => {});
  const image = await readFile(at('a.qcow'));
  const disk = await openBytes(qcow, image);
  await assertReadsAs(disk, raw, 'compressed');
  const extents = await Array.fromAsync(disk.extents(0, disk.virtualSizeBytes));
  assert.ok(extents.some(({ compressed }) => compressed));
});

test('an overlay reads through the gate, over a backing file whose format the caller declares', async (context) => {
  const folder = await testFolder(context);
  const base = join(folder, 'base.raw');
  await writeRaw(base, 700_416, [[0, 700_416]]);
  const path = await qemuQcow(
    join(folder, 'top.qcow'),
    '900k',
    ['write -P 2 100k 10k', 'write -P 3 890k 5k'],
    base,
  );
  const image = await readFile(path);
  const source = memorySource(image, 'top');
  await assert.rejects(qcow.open(source, { references: denyReferences }), {
    code: 'IMAGE_REFERENCE',
    structure: 'qcow backing file name',
  });
  const gate = (format?: string) =>
    suppliedReferences(new Map([[base, async () => ({ source: await fileSource(base), format })]]));
  await assert.rejects(qcow.open(source, { references: gate() }), {
    code: 'IMAGE_REFERENCE',
    message: /format/,
  });
  const disk = await qcow.open(source, { references: gate('raw') });
  await assertReadsAs(disk, await qemuRaw(path), 'an overlay');
  await disk.close();
});

test('the facts are those that libqcow finds', async (context) => {
  const folder = await testFolder(context);
  const path = await qemuQcow(join(folder, 'a.qcow'), '3m', writes);
  const printed = await tool('qcowinfo', path);
  assert.match(printed, /Format version\s*: 1\b/);
  assert.match(printed, /Media size\s*: .*3145728 bytes/);
  const disk = await openBytes(qcow, await readFile(path));
  assert.equal(disk.virtualSizeBytes, 3_145_728);
  assert.deepEqual(disk.details, {
    version: 1,
    clusterSizeBytes: 4096,
    l2EntryCount: 512,
    backingFile: null,
  });
});

test('an image is decoded while it arrives', async (context) => {
  const folder = await testFolder(context);
  const path = await qemuQcow(join(folder, 'a.qcow'), '9m', ['write -P 1 0 5m', 'write -P 2 6m 2m']);
  const image = await readFile(path);
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < image.length; at += 9999) yield image.subarray(at, at + 9999);
  }
  const source = Object.defineProperty(forwardSource(pieces(), image.length, 'upload'), 'sequential', {
    value: true,
  });
  const disk = await qcow.open(source, { references: denyReferences });
  assert.equal(disk.sequential, true);
  assert.equal(await diskDigest(disk), await diskDigest(await openBytes(qcow, image)));
});
