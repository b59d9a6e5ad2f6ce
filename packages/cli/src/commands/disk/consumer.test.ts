import assert from 'node:assert/strict';
import { readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { consumers } from '@gantry/disk';
import { gantry, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg, sampleFiles } from './images.testkit.ts';

test('the help of --for names every consumer', async () => {
  const { stdout } = await gantry(['disk', 'convert', '--help']);
  const words = stdout.replaceAll(/\s+/g, ' ');
  const names = /takes best: (.*? or \S+)/.exec(words)?.[1]?.split(/, | or /);
  assert.deepEqual(
    names,
    consumers.map(({ name }) => name),
  );
});

test('convert --for writes what the consumer takes, and check --for agrees', async (t) => {
  const folder = await temporaryFolder(t);
  const raw = join(folder, 'disk.raw');
  await writeFile(raw, new Uint8Array(70_000).fill(7));
  await truncate(raw, 21 * 1024 * 1024 + 512);
  const peers: Record<string, string> = { vdi: 'vdi', vmdk: 'vmdk', vhd: 'vpc', qcow2: 'qcow2' };
  for (const { name, forms } of consumers) {
    const format = forms[0]?.format ?? '';
    const target = join(folder, `for-${name}`);
    const written = await gantry(['disk', 'convert', '--from', 'raw', raw, target, '--for', name]);
    assert.equal(written.code, 0, `${name}: ${written.stderr}`);
    assert.match(written.stdout, new RegExp(` as ${format}:`));
    const checked = await gantry(['disk', 'check', target, '--for', name, '-o', 'json']);
    assert.equal(checked.code, 0, `${name}: ${checked.stdout}`);
    const { consumer, findings } = JSON.parse(checked.stdout);
    assert.deepEqual({ consumer, findings }, { consumer: name, findings: [] });
    const peer = peers[format];
    if (peer !== undefined && name !== 'azure') {
      await qemuImg('compare', '-f', peer, '-F', 'raw', target, raw);
    }
    const measured = await gantry(['disk', 'measure', '--from', 'raw', raw, '--for', name, '-o', 'json']);
    assert.equal(JSON.parse(measured.stdout).format, format, name);
  }
});

test('check --for names the rules that a file breaks, and ends with 3', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  const stream = join(folder, 'stream.vmdk');
  await qemuImg('convert', '-O', 'vmdk', '-o', 'subformat=streamOptimized', raw, stream);
  const { code, stdout } = await gantry(['disk', 'check', stream, '--for', 'vmware']);
  assert.equal(code, 3);
  assert.match(stdout, /^vmdk-one-directory: VMDK sparse header at 48: .* \(.*VMware.*\)$/m);
  assert.match(stdout, /^vmdk: not for VMware ESXi and vCenter: \d+ of its rules are broken$/m);
  const other = await gantry(['disk', 'check', qcow2, '--for', 'azure']);
  assert.equal(other.code, 3);
  assert.match(other.stdout, /^format: .* it takes vhd /m);
});

test('what is asked for may refine what the consumer takes, and not contradict it', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  const dryRun = (target: string, ...flags: string[]) =>
    gantry(['disk', 'convert', qcow2, join(folder, target), '--dry-run', ...flags]);
  const named = await dryRun('vm.vmdk', '--for', 'virtualbox');
  assert.match(named.stdout, / as vmdk: /);
  const refined = await dryRun('vm', '--for', 'virtualbox', '--to', 'qcow2', '--compress', 'zlib');
  assert.match(refined.stdout, / as qcow2: at most /);
  for (const [target, ...flags] of [
    ['vm.vdi', '--for', 'azure'],
    ['vm.vhd', '--for', 'azure', '-O', 'subformat=dynamic'],
    ['vm.vhd', '--for', 'azure', '--to', 'qcow2'],
    ['vm', '--for', 'oci', '--compress', 'zstd'],
    ['vm', '--for', 'nobody'],
    ['vm'],
  ] as const) {
    const { code, stderr } = await dryRun(target, ...flags);
    assert.equal(code, 2, stderr);
    assert.match(stderr, /^error\[USAGE\]: .*\n {2}do: /m, flags.join(' '));
  }
  // 8 MiB, and Azure takes 20 and more.
  const small = await dryRun('vm.vhd', '--for', 'azure');
  assert.equal(small.code, 1);
  assert.match(small.stderr, /error\[IMAGE_LIMIT\]/);
  assert.deepEqual((await readdir(folder)).sort(), ['disk.qcow2', 'disk.raw']);
});

test('check takes one wish at a time', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  const { code, stderr } = await gantry(['disk', 'check', qcow2, '--for', 'oci', '--repair', 'x']);
  assert.equal(code, 2, stderr);
});
