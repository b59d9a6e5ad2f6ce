import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { testFolder, tool } from '../images.testkit.ts';
import { qcow2 } from './format.ts';
import { assertReadsAs, inFolder, openWithFiles, qemuBytes, qemuIo } from './qcow2.testkit.ts';

const writes = ['write -P 1 0 64k', 'write -P 2 200k 70k', 'write -z 64k 64k', 'discard 0 4k'];

test('an image with an external data file reads as qemu reads it', async (context) => {
  const at = inFolder(await testFolder(context));
  for (const [i, options] of ['', ',data_file_raw=on', ',extended_l2=on', ',cluster_size=4k'].entries()) {
    const path = at(`${i}.qcow2`);
    const data = at(`${i}.data`);
    await tool('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', `data_file=${data}${options}`, path, '1m');
    await qemuIo(path, writes);
    const disk = await openWithFiles(context, path, { [data]: { path: data } });
    await assertReadsAs(disk, await qemuBytes(path), `options ${options}`);
    assert.deepEqual(
      [disk.details.externalDataFile, disk.details.externalDataFileRaw],
      [data, options.includes('raw')],
    );
  }
});

test('an external data file is opened through the gate alone, and closed with the disk', async (context) => {
  const at = inFolder(await testFolder(context));
  const create = ['create', '-q', '-f', 'qcow2', '-o', `data_file=${at('data')}`];
  await tool('qemu-img', ...create, at('a.qcow2'), '1m');
  const image = await readFile(at('a.qcow2'));
  await assert.rejects(qcow2.open(memorySource(image), { references: denyReferences }), {
    code: 'IMAGE_REFERENCE',
    structure: 'qcow2 external data file name',
  });
  let closed = 0;
  const gate = (name: string) => ({
    resolve: async () => ({
      source: { ...memorySource(new Uint8Array(2 ** 20), name), close: async () => void closed++ },
    }),
  });
  const disk = await qcow2.open(memorySource(image, 'a'), { references: gate('data') });
  assert.equal(closed, 0);
  await disk.close();
  assert.equal(closed, 1);
  await assert.rejects(qcow2.open(memorySource(image, 'a'), { references: gate('a') }), {
    code: 'IMAGE_REFERENCE',
    message: /its own/,
  });
  assert.equal(closed, 2);
  const name = image.indexOf(Buffer.from('44415441', 'hex'));
  image.writeUInt32BE(0x12345678, name);
  await assert.rejects(qcow2.open(memorySource(image), { references: gate('data') }), {
    code: 'IMAGE_REFERENCE',
    message: /does not name it/,
  });
});

test('an external data file that is too short, or would hold compressed clusters, is refused', async (context) => {
  const at = inFolder(await testFolder(context));
  const create = ['create', '-q', '-f', 'qcow2', '-o', `data_file=${at('data')}`];
  await tool('qemu-img', ...create, at('a.qcow2'), '1m');
  await qemuIo(at('a.qcow2'), writes);
  const image = await readFile(at('a.qcow2'));
  const open = (lengthBytes: number) =>
    qcow2.open(memorySource(image, 'a'), {
      references: { resolve: async () => ({ source: memorySource(new Uint8Array(lengthBytes), 'data') }) },
    });
  const short = await open(131_072);
  await assert.rejects(short.read(200 * 1024, new Uint8Array(1024)), { code: 'IMAGE_TRUNCATED' });
  const l2 = Number(image.readBigUInt64BE(Number(image.readBigUInt64BE(40))) & 0x00ff_ffff_ffff_fe00n);
  image.writeBigUInt64BE(2n ** 62n, l2);
  await assert.rejects((await open(2 ** 20)).read(0, new Uint8Array(512)), { code: 'IMAGE_MALFORMED' });
});
