import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from '../house/files.ts';
import { projectModule } from '../house/pages.ts';

const { bootDisk, descriptorOf } = await projectModule<{
  bootDisk(text: string, then: string): Uint8Array;
  descriptorOf(format: string): string;
}>('packages/cli/src/commands/machine/machine.testkit.ts');
const { privateLibvirt } = await projectModule<{
  privateLibvirt(): Promise<{ uri: string; folder: string; end(): Promise<void> }>;
}>('packages/machine/src/hypervisors/libvirt/libvirt.testkit.ts');

const launcher = join(root, 'packages/cli/bin/gantry.cjs');

test('run gives a machine to libvirt, which goes on with it', async (t) => {
  const { uri, folder, end } = await privateLibvirt();
  t.after(end);
  const gantry = (...args: string[]) =>
    spawnSync(process.execPath, ['--conditions=source', launcher, 'machine', ...args], { encoding: 'utf8' });
  const file = join(folder, 'vm.xml');
  writeFileSync(file, descriptorOf('raw'));
  writeFileSync(join(folder, 'root.raw'), bootDisk('ready', 'nothing'));
  // Libvirt's QEMU is another user's.
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', join(folder, 'work.qcow2'), '4M']);
  for (const name of ['root.raw', 'work.qcow2']) chmodSync(join(folder, name), 0o666);
  const odd = gantry('run', file, '--connect', uri, '--accelerator', 'tcg');
  assert.equal(odd.status, 2, odd.stderr);
  const ran = gantry('run', file, '--connect', uri, '--ram', '64', '--network', 'user', '-o', 'json');
  assert.equal(ran.status, 0, ran.stderr);
  assert.deepEqual(JSON.parse(ran.stdout), {
    id: 'tug',
    hypervisor: 'libvirt',
    state: 'running',
    reason: 'booted',
  });
  assert.match(ran.stderr, /it goes on; end it with: gantry machine stop tug --connect /);
  const state = execFileSync('virsh', ['--connect', uri, 'domstate', 'tug'], { encoding: 'utf8' });
  assert.equal(state.trim(), 'running');
  const stopped = gantry('stop', 'tug', '--connect', uri, '--grace', '0', '-o', 'json');
  assert.equal(stopped.status, 0, stopped.stderr);
  assert.equal(JSON.parse(stopped.stdout).end, 'forced');
  assert.equal(gantry('undefine', 'tug', '--connect', uri).status, 0);
});
