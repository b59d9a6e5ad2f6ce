import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { convert, denyReferences, fileSink, fileSource, openDisk } from '@gantry/disk';
import { folderBytes, type ImageBody, qemuImg, ServiceProcess, temporaryFolder } from './service.testkit.ts';

const TIB = 2 ** 40;
const folder = temporaryFolder('sparse');
const file = (name: string) => join(folder.path, name);
let service: ServiceProcess;
let image: ImageBody;

before(async () => {
  qemuImg('create', '-f', 'qcow2', file('disk.qcow2'), `${TIB}`);
  const writes = [0, 3, 511, 700_000, 1_048_575].flatMap((mib) => [
    '-c',
    `write -P ${(mib % 254) + 1} ${mib}M 1M`,
  ]);
  execFileSync('qemu-io', ['-f', 'qcow2', ...writes, file('disk.qcow2')]);
  service = await ServiceProcess.start(file('data'));
  for (const name of ['incoming', 'outgoing']) await service.json('POST', '/buckets', 201, { name });
  image = await service.importBytes('sparse', readFileSync(file('disk.qcow2')));
});
after(async () => {
  await service.stop();
  folder.remove();
});

for (const format of ['raw', 'qcow2', 'vdi', 'vhd', 'vmdk']) {
  test(`a disk of 1 TiB exports as ${format} without a stored byte, and its ranges are those of the converted file`, async () => {
    const before = folderBytes(join(file('data'), 'objects'));
    const path = `/images/${image.id}/exports`;
    const { result } = await service.runJob(path, { format, bucket: 'outgoing', key: `disk.${format}` });
    assert.equal(folderBytes(join(file('data'), 'objects')), before);
    const seed = Uint8Array.fromHex(image.diskDigest.replace('disk1:', ''));
    const source = await fileSource(file('disk.qcow2'));
    const disk = await openDisk(source, { references: denyReferences, format: 'qcow2' });
    const lengthBytes = await convert(disk, await fileSink(file('converted')), { format, seed });
    await disk.close();
    await source.close();
    assert.equal(result?.lengthBytes, lengthBytes);
    const converted = await fileSource(file('converted'));
    for (let i = 0; i < 40; i++) {
      const from = Math.floor((lengthBytes * (i * i)) / 1600);
      const expected = new Uint8Array(Math.min(100_000, lengthBytes - from));
      await converted.read(from, expected);
      const range = `bytes=${from}-${from + expected.length - 1}`;
      const found = await service.bytes(`/buckets/outgoing/objects/disk.${format}`, { range });
      assert.ok(Buffer.from(found).equals(expected), `${range} of ${lengthBytes}`);
    }
    await converted.close();
  });
}
