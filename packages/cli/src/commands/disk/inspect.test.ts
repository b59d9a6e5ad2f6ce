import assert from 'node:assert/strict';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gantry, run, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg } from './images.testkit.ts';

const MIB = 1024 * 1024;

test('inspect says what is on a disk, and ends with 3 when nothing would start it', async (t) => {
  const folder = await temporaryFolder(t);
  const raw = join(folder, 'disk.raw');
  await writeFile(raw, '');
  await truncate(raw, 16 * MIB);
  const made = await run('sh', [
    '-c',
    `printf 'label: gpt\\nsize=4MiB, type=U\\ntype=L, name=data\\n' | /sbin/sfdisk -q ${raw}`,
  ]);
  assert.equal(made.code, 0);
  const qcow2 = join(folder, 'disk.qcow2');
  await qemuImg('convert', '-O', 'qcow2', raw, qcow2);

  const { code, stdout } = await gantry(['disk', 'inspect', qcow2]);
  assert.equal(code, 3);
  assert.match(stdout, /^partition table: gpt\npartition 1: 4 MiB at 1048576: EFI system\n/m);
  assert.match(stdout, /^boots: no$/m);
  assert.match(stdout, /^warning: a BIOS does not start it: the first sector holds no boot code$/m);

  const json = await gantry(['disk', 'inspect', qcow2, '-o', 'json']);
  assert.equal(json.code, 3);
  const report = JSON.parse(json.stdout);
  assert.equal(report.partitions[1].name, 'data');
  assert.deepEqual(report.proposal.launchOptions, { launchMode: 'PARAVIRTUALIZED', firmware: 'BIOS' });
});

test('inspect takes a disk through a pipe, and one that may start ends with 0', async (t) => {
  const folder = await temporaryFolder(t);
  const raw = join(folder, 'disk.raw');
  const sector = new Uint8Array(MIB);
  sector.set([0xfa, 0x31, 0xc0], 0);
  sector.set([0x55, 0xaa], 510);
  await writeFile(raw, sector);
  const fifo = join(folder, 'pipe');
  assert.equal((await run('mkfifo', [fifo])).code, 0);
  const [piped] = await Promise.all([
    gantry(['disk', 'inspect', fifo, '--from', 'raw', '-o', 'json']),
    run('sh', ['-c', `cat ${raw} > ${fifo}`]),
  ]);
  assert.equal(piped.code, 0, piped.stderr);
  assert.equal(JSON.parse(piped.stdout).proposal.boots, 'unknown');
});
