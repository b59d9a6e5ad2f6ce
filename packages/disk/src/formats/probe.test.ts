import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { denyReferences } from '../disk/reference-gate.ts';
import { memorySource } from '../io/memory.ts';
import { assertSameBytes, diskBytes, testFolder, tool, writeRaw } from './images.testkit.ts';
import { openDisk } from './open.ts';
import { probeFormat } from './probe.ts';
import { formatNamed, formats, recognisableFormats } from './registry.ts';

const references = denyReferences;
const nameOf = async (bytes: Uint8Array) => (await probeFormat(memorySource(bytes, 'file'))).name;

/** What qemu-img makes, by its name and options, and what we call it. */
const made: readonly (readonly [name: string, qemuFormat: string, options: string])[] = [
  ['raw', 'raw', ''],
  ['qcow2', 'qcow2', ''],
  ['qcow2', 'qcow2', 'compat=0.10'],
  ['qcow', 'qcow', ''],
  ['vdi', 'vdi', ''],
  ['vhd', 'vpc', ''],
  ['vhd', 'vpc', 'subformat=fixed'],
  ['vmdk', 'vmdk', ''],
  ['vmdk', 'vmdk', 'subformat=streamOptimized'],
  ['vhdx', 'vhdx', ''],
  ['qed', 'qed', ''],
];

test('each format is known by its mark', async (context) => {
  const folder = await testFolder(context);
  const original = join(folder, 'original.raw');
  await writeRaw(original, 2 ** 20, [[0, 70_000]]);
  for (const [i, [name, qemuFormat, options]] of made.entries()) {
    const path = join(folder, String(i));
    const withOptions = options === '' ? [] : ['-o', options];
    await tool('qemu-img', 'convert', '-f', 'raw', '-O', qemuFormat, ...withOptions, original, path);
    assert.equal(await nameOf(await readFile(path)), name, `${qemuFormat} ${options}`);
  }
});

test('a file without a mark, empty or tiny, is raw', async () => {
  for (let length = 0; length <= 1100; length += length < 20 ? 1 : 97) {
    assert.equal(await nameOf(new Uint8Array(length)), 'raw', `${length} zeros`);
    assert.equal(await nameOf(new Uint8Array(length).fill(0x51)), 'raw', `${length} bytes`);
  }
});

test('a mark that the file cuts off does no harm', async () => {
  const marks = [
    'QFI\xfb\0\0\0\x03',
    'KDMV\x01',
    'conectix',
    'vhdxfile',
    '# Disk DescriptorFile\nversion=1\n',
    'LUKS\xba\xbe',
  ];
  for (const mark of marks) {
    const bytes = Buffer.from(mark, 'latin1');
    for (let length = 0; length <= bytes.length; length++) await nameOf(bytes.subarray(0, length));
  }
});

test('a file with two marks is refused unless its format is declared', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'a.qcow2');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', path, '1m');
  const image = await readFile(path);
  const footer = Buffer.alloc(512);
  footer.write('conectix');
  const both = Buffer.concat([image, footer]);
  await assert.rejects(nameOf(both), { code: 'IMAGE_AMBIGUOUS', message: /qcow2 and vhd/ });
  await assert.rejects(openDisk(memorySource(both), { references }), { code: 'IMAGE_AMBIGUOUS' });
  const disk = await openDisk(memorySource(both), { format: 'qcow2', references });
  assert.equal(disk.virtualSizeBytes, 2 ** 20);
});

test('a declared format is taken at its word: a raw disk may begin with any mark', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'a.qcow2');
  await tool('qemu-img', 'create', '-q', '-f', 'qcow2', path, '1m');
  const image = await readFile(path);
  const disk = await openDisk(memorySource(image), { format: 'raw', references });
  assertSameBytes(await diskBytes(disk), image);
  for (const { name } of formats) {
    if (name === 'raw') continue;
    const wrong = openDisk(memorySource(new Uint8Array(4096)), { format: name, references });
    await assert.rejects(wrong, { name: 'ImageError' }, `zeros declared as ${name}`);
  }
});

test('a format that is known but not read is refused by name', async () => {
  for (const { name } of recognisableFormats) {
    if (formats.some((format) => format.name === name)) continue;
    const opened = openDisk(memorySource(new Uint8Array(4096)), { format: name, references });
    await assert.rejects(opened, { code: 'IMAGE_UNSUPPORTED' }, name);
  }
  assert.throws(() => formatNamed('no such format'), { code: 'IMAGE_UNSUPPORTED', hint: /raw, qcow2/ });
});

test('format names are told apart, and so are the file endings of formats that are written', () => {
  const names = recognisableFormats.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  const endings = formats.flatMap(({ extensions }) => extensions);
  assert.equal(new Set(endings).size, endings.length);
});
