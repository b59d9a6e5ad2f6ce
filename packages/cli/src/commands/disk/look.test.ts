import assert from 'node:assert/strict';
import { copyFile, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { closedPort, gantry, run, startGantry, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg, rangeServer, sampleDisk, sampleFiles } from './images.testkit.ts';

const MIB = 1024 * 1024;

test('info tells what qemu-img info tells', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  for (const file of [raw, qcow2]) {
    const peer = JSON.parse(await qemuImg('info', '--output=json', file));
    const { code, stdout } = await gantry(['disk', 'info', file, '-o', 'json']);
    assert.equal(code, 0);
    const info = JSON.parse(stdout);
    assert.equal(info.format, peer.format);
    assert.equal(info.virtualSizeBytes, peer['virtual-size']);
    assert.equal(info.fileSizeBytes, (await readFile(file)).length);
    assert.deepEqual(info.warnings, []);
  }
  const { stdout } = await gantry(['disk', 'info', qcow2]);
  assert.match(stdout, /^file: .*disk\.qcow2\nformat: qcow2\nvirtual size: 8 MiB \(8388608 bytes\)\n/);
  const { stdout: yaml } = await gantry(['disk', 'info', qcow2, '-o', 'yaml']);
  assert.match(yaml, /\nvirtualSizeBytes: 8388608\n/);
});

test('info reads an image at an http address', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  const server = await rangeServer(t, await readFile(qcow2));
  const { code, stdout, stderr } = await gantry(['disk', 'info', server.address, '-o', 'json']);
  assert.equal(code, 0, stderr);
  assert.equal(JSON.parse(stdout).virtualSizeBytes, 8 * MIB);
});

test('map covers the disk, and its data extents are those of qemu-img map', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  interface PeerExtent {
    start: number;
    length: number;
    data: boolean;
  }
  const peer: PeerExtent[] = JSON.parse(await qemuImg('map', '--output=json', qcow2));
  const { stdout } = await gantry(['disk', 'map', qcow2, '-o', 'json']);
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  let end = 0;
  for (const { offsetBytes, lengthBytes } of lines) {
    assert.equal(offsetBytes, end);
    end += lengthBytes;
  }
  assert.equal(end, 8 * MIB);
  const data = lines
    .filter(({ kind }) => kind === 'data')
    .map((line) => [line.offsetBytes, line.lengthBytes]);
  assert.deepEqual(data, joined(peer.filter((extent) => extent.data)));

  function joined(extents: PeerExtent[]): number[][] {
    const runs: number[][] = [];
    for (const { start, length } of extents) {
      const last = runs.at(-1);
      if (last !== undefined && last[0]! + last[1]! === start) last[1]! += length;
      else runs.push([start, length]);
    }
    return runs;
  }
});

test('digest is one line, the same for every format', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  const vmdk = join(folder, 'disk.vmdk');
  await qemuImg('convert', '-O', 'vmdk', raw, vmdk);
  const lines = [];
  for (const file of [raw, qcow2, vmdk]) lines.push((await gantry(['disk', 'digest', file])).stdout);
  assert.match(lines[0]!, /^disk1:[0-9a-f]{64} {2}8388608 {2}.*disk\.raw\n$/);
  assert.equal(new Set(lines.map((line) => line.split('  ')[0])).size, 1);
});

test('compare finds the same first difference as qemu-img compare, and exits with 3', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  const same = await gantry(['disk', 'compare', raw, qcow2]);
  assert.equal(same.code, 0, same.stderr);
  assert.match(same.stdout, /^the same disk: /);

  const other = join(folder, 'other.raw');
  const bytes = sampleDisk();
  bytes[5_500_000]! ^= 1;
  await writeFile(other, bytes);
  const different = await gantry(['disk', 'compare', other, qcow2, '--from', 'raw', '-o', 'json']);
  assert.equal(different.code, 3);
  const { equal, firstDifferenceBytes } = JSON.parse(different.stdout);
  assert.equal(equal, false);
  assert.equal(firstDifferenceBytes, 5_500_000);
  const peer = await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', other, qcow2]);
  assert.equal(peer.code, 1);
  // qemu-img names the sector.
  assert.match(peer.stdout, new RegExp(`offset ${5_500_000 - (5_500_000 % 512)}`));
});

test('compare takes disks of different sizes for equal when only zeros follow, and says so', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  await truncate(raw, 9 * MIB);
  const { code, stdout } = await gantry([
    'disk',
    'compare',
    raw,
    qcow2,
    '--from',
    'raw',
    '--from-b',
    'qcow2',
  ]);
  assert.equal(code, 0);
  assert.match(stdout, /\nnote: the virtual sizes differ, 9437184 and 8388608 bytes/);
});

test('check exits with 3 for damage that qemu-img check sees too, and with 0 for none', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  assert.equal((await gantry(['disk', 'check', qcow2])).code, 0);

  const leaky = join(folder, 'leaky.qcow2');
  await copyFile(qcow2, leaky);
  const file = await open(leaky, 'r+');
  // One more use of the fifth cluster than there is.
  await file.write(new Uint8Array([0, 2]), 0, 2, (await refcountBlockOffset(leaky)) + 4 * 2);
  await file.close();
  assert.notEqual((await run('qemu-img', ['check', leaky])).code, 0);
  const { code, stdout } = await gantry(['disk', 'check', leaky, '-o', 'json']);
  assert.equal(code, 3);
  const report = JSON.parse(stdout);
  assert.equal(report.corruptionCount + report.leakCount, report.findings.length);
  const table = await gantry(['disk', 'check', leaky]);
  assert.match(table.stdout, /^(?:leak|corruption): /);

  const none = await gantry(['disk', 'check', raw]);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /^error\[IMAGE_UNSUPPORTED\]: raw has no structures to check/);

  async function refcountBlockOffset(path: string): Promise<number> {
    const bytes = await readFile(path);
    const table = Number(bytes.readBigUInt64BE(48));
    return Number(bytes.readBigUInt64BE(table));
  }
});

test('measure says the most that a compressed form can take', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  const compressed = ['--compress', 'zstd'];
  const measured = await gantry(['disk', 'measure', qcow2, '--to', 'qcow2', ...compressed, '-o', 'json']);
  const { requiredBytes, exact } = JSON.parse(measured.stdout);
  assert.equal(exact, false);
  const target = join(folder, 'out.qcow2');
  await gantry(['disk', 'convert', qcow2, target, ...compressed]);
  assert.ok((await readFile(target)).length <= requiredBytes);
});

test('what is wrong with the input has its own code and exit status', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  const bytes = await readFile(qcow2);
  const cut = join(folder, 'cut.qcow2');
  await writeFile(cut, bytes.subarray(0, 90));
  const future = join(folder, 'future.qcow2');
  await writeFile(future, bytes.with(7, 9));
  for (const [args, code, mark] of [
    [['disk', 'info', join(folder, 'missing')], 5, 'STORE_NOT_FOUND'],
    [['disk', 'info', folder], 1, 'STORE_IO'],
    [['disk', 'info', '-'], 2, 'USAGE'],
    [['disk', 'info', '/dev/null'], 2, 'USAGE'],
    [['disk', 'info', cut], 1, 'IMAGE_TRUNCATED'],
    [['disk', 'info', future], 1, 'IMAGE_UNSUPPORTED'],
    [['disk', 'info', qcow2, '--from', 'floppy'], 2, 'USAGE'],
    [['disk', 'info', qcow2, '--reference', 'nonsense'], 2, 'USAGE'],
    [['disk', 'info', qcow2, '--from', 'vdi'], 1, 'IMAGE_MALFORMED'],
    [['disk', 'measure', qcow2], 2, 'USAGE'],
    [['disk', 'measure', qcow2, '--to', 'qcow2', '-O', 'nonsense=1'], 2, 'IMAGE_OPTION'],
    [['disk', 'measure', qcow2, '--to', 'qcow2', '-O', 'nonsense'], 2, 'USAGE'],
    [['disk', 'measure', qcow2, '--to', 'qcow2', '--compress', 'lzo'], 2, 'USAGE'],
    [['disk', 'convert', qcow2, 'x.raw', '--seed', '12'], 2, 'USAGE'],
    [['disk', 'digest', `http://127.0.0.1:${await closedPort()}/disk`], 1, 'STORE_UNREACHABLE'],
  ] as const) {
    const result = await gantry(args);
    assert.equal(result.code, code, `${args.join(' ')}: ${result.stderr}`);
    assert.ok(result.stderr.startsWith(`error[${mark}]: `), `${args.join(' ')}: ${result.stderr}`);
    assert.equal(result.stdout, '');
  }
});

test('a reader of the list who has seen enough ends it quietly; half an image is a failure', async (t) => {
  const folder = await temporaryFolder(t);
  const raw = join(folder, 'comb.raw');
  const bytes = new Uint8Array(256 * MIB);
  for (let at = 0; at < bytes.length; at += 128 * 1024) bytes[at] = 1;
  await writeFile(raw, bytes);
  const comb = join(folder, 'comb.qcow2');
  await qemuImg('convert', '-O', 'qcow2', '-o', 'cluster_size=65536', raw, comb);
  for (const [args, code, stderr] of [
    [['disk', 'map', comb], 0, /^$/],
    [
      ['disk', 'convert', comb, '-', '--to', 'raw'],
      1,
      /^error\[STORE_IO\]: what reads standard output went away/,
    ],
  ] as const) {
    const running = startGantry(args);
    running.child.stdout?.once('data', () => running.child.stdout?.destroy());
    const ended = await running.ended;
    assert.equal(ended.code, code, args.join(' '));
    assert.match(ended.stderr, stderr);
  }
});
