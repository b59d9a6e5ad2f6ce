import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { openBytes, testFolder, tool } from '../images.testkit.ts';
import { openDisk } from '../open.ts';
import { qcow2 } from './format.ts';
import { assertReadsAs, inFolder, openWithFiles, qemuImage, qemuIo } from './qcow2.testkit.ts';

const at = async (context: TestContext) => inFolder(await testFolder(context));

/** Two snapshots of different sizes and contents, with changes between and after. */
async function imageWithSnapshots(path: string, options: string): Promise<void> {
  await qemuImage(path, '1m', options, ['write -P 1 0 256k']);
  await tool('qemu-img', 'snapshot', '-c', 'before', path);
  await qemuIo(path, ['write -P 2 64k 64k', 'discard 128k 64k']);
  await tool('qemu-img', 'snapshot', '-c', 'after', path);
  await qemuIo(path, ['write -P 3 0 512k']);
}

async function snapshotBytes(path: string, name: string): Promise<Uint8Array> {
  await tool(
    'qemu-img',
    'convert',
    '-l',
    `snapshot.name=${name}`,
    '-f',
    'qcow2',
    '-O',
    'raw',
    path,
    `${path}.raw`,
  );
  return readFile(`${path}.raw`);
}

test('a snapshot is read by its name or its id, as qemu reads it', async (context) => {
  const file = await at(context);
  for (const [i, options] of ['cluster_size=4k', 'compat=0.10', 'extended_l2=on'].entries()) {
    const path = file(`${i}.qcow2`);
    await imageWithSnapshots(path, options);
    for (const [id, name] of [
      ['1', 'before'],
      ['2', 'after'],
    ] as const) {
      const expected = await snapshotBytes(path, name);
      await assertReadsAs(await openWithFiles(context, path, {}, name), expected, `${options}: ${name}`);
      await assertReadsAs(await openWithFiles(context, path, {}, id), expected, `${options}: ${id}`);
    }
  }
});

test('a snapshot has the size that the disk had', async (context) => {
  const file = await at(context);
  const path = file('a.qcow2');
  await qemuImage(path, '1m', '', ['write -P 1 900k 124k']);
  await tool('qemu-img', 'snapshot', '-c', 'small', path);
  // The size alone: qemu refuses to resize an image with snapshots of version 2, and takes version 3.
  await tool('qemu-img', 'resize', '-q', '-f', 'qcow2', path, '2m');
  const expected = new Uint8Array(2 ** 20).fill(1, 900 * 1024);
  await assertReadsAs(await openWithFiles(context, path, {}, 'small'), expected, 'small');
  assert.equal((await openWithFiles(context, path)).virtualSizeBytes, 2 ** 21);
});

test('the details list the snapshots as qemu-img does', async (context) => {
  const file = await at(context);
  await imageWithSnapshots(file('a.qcow2'), '');
  const info = JSON.parse(await tool('qemu-img', 'info', '--output=json', file('a.qcow2')));
  const disk = await openWithFiles(context, file('a.qcow2'));
  const expected = info.snapshots.map((snapshot: Record<string, number | string>) => ({
    id: snapshot.id,
    name: snapshot.name,
    created: new Date(
      Number(snapshot['date-sec']) * 1000 + Math.floor(Number(snapshot['date-nsec']) / 1e6),
    ).toISOString(),
    virtualSizeBytes: 2 ** 20,
    vmStateBytes: snapshot['vm-state-size'],
  }));
  assert.equal(expected.length, 2);
  assert.deepEqual(disk.details.snapshots, expected);
});

test('a snapshot that is not there, or is one of two, is refused with what there is', async (context) => {
  const file = await at(context);
  const path = file('a.qcow2');
  await imageWithSnapshots(path, '');
  await assert.rejects(openWithFiles(context, path, {}, 'never'), {
    code: 'IMAGE_OPTION',
    structure: 'snapshot',
    hint: /1 \(before\), 2 \(after\)/,
  });
  for (const name of ['left', 'also']) await tool('qemu-img', 'snapshot', '-c', name, path);
  const twice = await readFile(path);
  twice.write('left', twice.lastIndexOf('also'));
  const references = denyReferences;
  const open = (bytes: Uint8Array, snapshot: string) =>
    openDisk(memorySource(bytes), { format: 'qcow2', references, snapshot });
  await assert.rejects(open(twice, 'left'), { code: 'IMAGE_OPTION', message: /more than one/ });
  await assert.rejects(open(await readFile(await qemuImage(file('b.qcow2'), '1m', '')), 'any'), {
    code: 'IMAGE_OPTION',
    hint: /no snapshots/,
  });
});

test('snapshots that cannot be read are a warning, unless one is chosen', async (context) => {
  const file = await at(context);
  await imageWithSnapshots(file('a.qcow2'), '');
  const image = await readFile(file('a.qcow2'));
  image.writeBigUInt64BE(2n ** 40n, 64);
  const disk = await openBytes(qcow2, image);
  assert.match(disk.warnings.join(), /snapshots cannot be read/);
  const options = { format: 'qcow2', references: denyReferences, snapshot: 'before' };
  await assert.rejects(openDisk(memorySource(image), options), { code: 'IMAGE_TRUNCATED' });
});

test('a snapshot whose table lies about itself is refused', async (context) => {
  const file = await at(context);
  await imageWithSnapshots(file('a.qcow2'), 'cluster_size=4k');
  const image = await readFile(file('a.qcow2'));
  const entry = Number(image.readBigUInt64BE(64));
  const cases: readonly (readonly [(copy: Buffer) => void, string])[] = [
    [(copy) => copy.writeBigUInt64BE(2n ** 40n, entry), 'IMAGE_TRUNCATED'],
    [(copy) => copy.writeBigUInt64BE(4097n, entry), 'IMAGE_MALFORMED'],
    [(copy) => copy.writeUInt32BE(0x7fffffff, entry + 8), 'IMAGE_LIMIT'],
    [(copy) => copy.writeUInt32BE(0, entry + 8), 'IMAGE_MALFORMED'],
    [(copy) => copy.writeUInt32BE(0x7fffffff, entry + 36), 'IMAGE_LIMIT'],
    [(copy) => copy.writeBigUInt64BE(2n ** 60n, entry + 48), 'IMAGE_LIMIT'],
    [(copy) => copy.writeBigUInt64BE(2n ** 47n, entry + 48), 'IMAGE_LIMIT'],
  ];
  for (const [i, [change, code]] of cases.entries()) {
    const copy = Buffer.from(image);
    change(copy);
    const options = { format: 'qcow2', references: denyReferences, snapshot: 'before' };
    await assert.rejects(openDisk(memorySource(copy), options), { code }, `case ${i}`);
  }
});
