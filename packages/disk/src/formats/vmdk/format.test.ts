import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { formatNamed } from '../registry.ts';
import { vmdk } from './format.ts';
import {
  folder,
  GRAIN,
  noise,
  openFile,
  pattern,
  readAt,
  request,
  run,
  sparseDisk,
  writeRaw,
  writeVmdk,
} from './vmdk.testkit.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** Disks that differ in size, in what a grain holds, and in how many grain tables they have. */
const disks: Record<string, Disk> = {
  empty: sparseDisk(10 * MIB, new Map()),
  'one sector': sparseDisk(512, new Map([[0, noise(512)]])),
  'odd bytes': sparseDisk(5 * MIB + 100, new Map([[5 * MIB - 70000, pattern(70100)]])),
  mixed: sparseDisk(
    6 * MIB,
    new Map([
      [0, noise(3 * GRAIN)],
      [5 * GRAIN, new Uint8Array(2 * GRAIN)],
      [7 * GRAIN + 9, pattern(20 * GRAIN)],
    ]),
  ),
  'many tables': sparseDisk(
    5 * GIB + 4096,
    new Map([
      [32 * MIB - 100, pattern(200)],
      [700 * MIB, noise(MIB)],
      [5 * GIB + 4000, pattern(96)],
    ]),
  ),
};

const forms: readonly Record<string, string>[] = [
  { subformat: 'monolithicSparse' },
  { subformat: 'streamOptimized' },
  { subformat: 'streamOptimized', tables: 'front' },
];

for (const options of forms) {
  const { subformat, tables } = options;
  for (const [name, disk] of Object.entries(disks)) {
    const form = tables === undefined ? subformat : `${subformat} with tables in ${tables}`;
    test(`qemu-img and libvmdk take a ${form} of a disk with ${name}`, async (t) => {
      const path = await folder(t);
      const raw = join(path, 'disk.raw');
      const image = join(path, 'disk.vmdk');
      await writeRaw(disk, raw);
      await writeVmdk(disk, request(options), image);
      await run('qemu-img', 'compare', '-f', 'vmdk', '-F', 'raw', image, raw);
      assert.match(await run('qemu-img', 'check', '-f', 'vmdk', image), /No errors were found/);
      const info = JSON.parse(await run('qemu-img', 'info', '--output=json', image));
      assert.equal(info['virtual-size'], Math.ceil(disk.virtualSizeBytes / 512) * 512);
      assert.equal(info['format-specific'].data['create-type'], subformat);
      const peer = await run('vmdkinfo', image);
      assert.match(peer, subformat === 'streamOptimized' ? /Stream optimized/ : /Monolithic sparse/);
      const { disk: read, source } = await openFile(t, image);
      assert.equal(read.virtualSizeBytes, info['virtual-size']);
      await assertSameContent(read, disk);
      const report = await vmdk.check!(source, { references: denyReferences });
      assert.deepEqual(report.findings, []);
    });
  }
}

test('monolithicSparse, streamOptimized and zeroed grains by qemu-img read as the raw disk', async (t) => {
  const path = await folder(t);
  for (const [name, disk] of Object.entries(disks)) {
    const raw = join(path, `${name}.raw`);
    await writeRaw(disk, raw);
    for (const option of ['subformat=monolithicSparse', 'subformat=streamOptimized', 'zeroed_grain=on']) {
      const image = join(path, `${name}.${option}.vmdk`);
      await run('qemu-img', 'convert', '-f', 'raw', '-O', 'vmdk', '-o', option, raw, image);
      const { disk: read, source } = await openFile(t, image);
      assert.deepEqual(read.warnings, []);
      assert.equal(
        read.details.createType,
        option === 'subformat=streamOptimized' ? 'streamOptimized' : 'monolithicSparse',
      );
      await assertSameContent(read, disk);
      const { corruptionCount, leakCount } = await vmdk.check!(source, { references: denyReferences });
      assert.deepEqual([corruptionCount, leakCount], [0, 0]);
    }
  }
});

test('grains that qemu-io wrote in any order, and zeroed ones, are read where they belong', async (t) => {
  const image = join(await folder(t), 'disk.vmdk');
  await run('qemu-img', 'create', '-q', '-f', 'vmdk', '-o', 'zeroed_grain=on', image, String(100 * MIB));
  const writes = [
    'write -P 1 90M 200k',
    'write -P 2 5M 64k',
    'write -P 3 5177344 1M',
    'write -P 4 40M 2M',
    'write -z 41M 128k',
  ];
  await run('qemu-io', '-f', 'vmdk', ...writes.flatMap((write) => ['-c', write]), image);
  const { disk } = await openFile(t, image);
  const bytes = await readAt(disk, 0, 100 * MIB);
  const expected = new Uint8Array(100 * MIB);
  expected.fill(1, 90 * MIB, 90 * MIB + 200 * 1024);
  expected.fill(2, 5 * MIB, 5 * MIB + 64 * 1024);
  expected.fill(3, 5177344, 5177344 + MIB);
  expected.fill(4, 40 * MIB, 42 * MIB);
  expected.fill(0, 41 * MIB, 41 * MIB + 128 * 1024);
  assert.ok(Buffer.from(bytes).equals(expected));
  const kinds = await Array.fromAsync(disk.extents(41 * MIB, 41 * MIB + 128 * 1024));
  assert.deepEqual(kinds, [{ offsetBytes: 41 * MIB, lengthBytes: 128 * 1024, kind: 'zero' }]);
});

test('compression means streamOptimized, and only zlib is taken', async () => {
  const disk = disks['one sector'] as Disk;
  const plan = (options: Record<string, string>, compression: 'zlib' | 'zstd') =>
    vmdk.plan!(disk, request(options, { compression }));
  assert.equal((await plan({}, 'zlib')).kind, 'stream');
  assert.equal((await plan({ subformat: 'streamOptimized' }, 'zlib')).kind, 'stream');
  await assert.rejects(plan({ subformat: 'monolithicSparse' }, 'zlib'), { code: 'IMAGE_OPTION' });
  await assert.rejects(plan({}, 'zstd'), { code: 'IMAGE_OPTION' });
  await assert.rejects(vmdk.plan!(disk, request({ subformat: 'vmfsThin' })), { code: 'IMAGE_OPTION' });
  await assert.rejects(vmdk.plan!(disk, request({ adapter_type: 'nvme' })), { code: 'IMAGE_OPTION' });
  await assert.rejects(vmdk.plan!(disk, request({ tables: 'front' })), { code: 'IMAGE_OPTION' });
  await assert.rejects(plan({ tables: 'middle' }, 'zlib'), { code: 'IMAGE_OPTION' });
  for (const hwversion of ['', '2', '100', '4.0', '-4', '0x4']) {
    await assert.rejects(vmdk.plan!(disk, request({ hwversion })), { code: 'IMAGE_OPTION' });
  }
});

test('the adapter type that was asked for is in the descriptor, with its geometry', async (t) => {
  const path = await folder(t);
  const expected = {
    lsilogic: { cylinders: '10', heads: '64', sectors: '32' },
    buslogic: { cylinders: '10', heads: '64', sectors: '32' },
    pvscsi: { cylinders: '10', heads: '64', sectors: '32' },
    ide: { cylinders: '20', heads: '16', sectors: '63' },
  };
  for (const [adapter, geometry] of Object.entries(expected)) {
    const image = join(path, `${adapter}.vmdk`);
    await writeVmdk(disks.empty as Disk, request({ adapter_type: adapter, hwversion: '13' }), image);
    const { disk } = await openFile(t, image);
    assert.deepEqual([disk.details.adapterType, disk.details.virtualHWVersion], [adapter, '13']);
    assert.deepEqual(disk.details.geometry, geometry);
  }
});

test('disks that no VMDK can hold are refused before anything is written', async () => {
  const sizes = [0, 64 * 1024 * GIB + 512];
  for (const size of sizes) {
    await assert.rejects(vmdk.plan!(sparseDisk(size, new Map()), request()), { code: 'IMAGE_LIMIT' });
  }
  // 2 TiB of data and the tables before it need sector numbers above 32 bits.
  const full: Disk = {
    ...sparseDisk(2 * 1024 * GIB, new Map()),
    async *extents(from, to) {
      yield { offsetBytes: from, lengthBytes: to - from, kind: 'data' };
    },
  };
  await assert.rejects(vmdk.plan!(full, request()), { code: 'IMAGE_LIMIT' });
});

test('a VMDK is found by its mark, whichever of the subformats it is', () => {
  const recognise = (text: string) => {
    const head = Uint8Array.from(text, (char) => char.charCodeAt(0));
    return vmdk.recognise({ head, tail: head, lengthBytes: head.length });
  };
  assert.equal(formatNamed('vmdk'), vmdk);
  assert.ok(recognise('KDMV\x01\0\0\0'));
  assert.ok(recognise('COWD\x01\0\0\0'));
  assert.ok(recognise('\xbe\xba\xfe\xca\0\0\0\0'));
  assert.ok(recognise('# Disk DescriptorFile\r\nversion=1\r\n'));
  assert.ok(recognise('\n# a comment\n  # another\n\nVersion = 3\n'));
  assert.ok(!recognise('# a comment\nname=1\n'));
  assert.ok(!recognise('#!/bin/sh\necho version=1\n'));
  assert.ok(!recognise('\xbe\xba\xfe\xca\0\0\0\x01'));
  assert.ok(!recognise(''));
});

test('bytes without a mark of the format are refused when it was declared', async () => {
  const open = vmdk.open(memorySource(new Uint8Array(4096)), { references: denyReferences });
  await assert.rejects(open, { code: 'IMAGE_MALFORMED' });
});

/** Compares what is data in either, and that everything else reads as zeros where it is looked at. */
async function assertSameContent(left: Disk, right: Disk): Promise<void> {
  for (const disk of [left, right]) {
    for await (const { offsetBytes, lengthBytes, kind } of disk.extents(0, disk.virtualSizeBytes)) {
      const length = Math.min(
        lengthBytes,
        right.virtualSizeBytes - offsetBytes,
        kind === 'data' ? lengthBytes : 4096,
      );
      const [a, b] = [await readAt(left, offsetBytes, length), await readAt(right, offsetBytes, length)];
      assert.ok(Buffer.from(a).equals(b), `the same bytes from ${offsetBytes}`);
    }
  }
}
