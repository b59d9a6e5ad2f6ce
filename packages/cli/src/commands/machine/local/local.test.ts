import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { QemuDriver } from '@gantry/machine';
import { gantry, temporaryFolder } from '../../../command.testkit.ts';
import { bootDisk, descriptorOf } from '../machine.testkit.ts';

test('a machine is defined, started, captured, stopped and undefined, a command each', async (t) => {
  const folder = await temporaryFolder(t);
  const content = bootDisk('ready', 'off-by-button');
  await writeFile(join(folder, 'root.raw'), content);
  await writeFile(join(folder, 'vm.xml'), descriptorOf('raw'));
  const machines = join(folder, 'm');
  const told = async (...args: string[]) => {
    const { code, stdout, stderr } = await gantry(['machine', ...args, '--folder', machines, '-o', 'json']);
    assert.equal(code, 0, stderr);
    return stdout === '' ? undefined : JSON.parse(stdout);
  };
  t.after(() => gantry(['machine', 'undefine', 'tug', '--folder', machines]));
  const defined = await told('define', join(folder, 'vm.xml'), '--ram', '32');
  assert.deepEqual(defined, { id: 'tug', hypervisor: 'qemu', state: 'stopped' });
  assert.equal((await told('start', 'tug')).state, 'running');
  assert.deepEqual(await told('list'), [{ id: 'tug', state: 'running', reason: null }]);
  while ((await readFile(join(machines, 'tug/serial.log'), 'utf8')) !== 'ready') await delay(20);
  const captured = await told('capture', 'tug', join(folder, 'captured'), '--format', 'raw');
  assert.equal(captured.consistency, 'crash');
  assert.ok((await readFile(captured.files[0])).equals(content));
  const over = await gantry(['machine', 'capture', 'tug', join(folder, 'captured'), '--folder', machines]);
  assert.match(over.stderr, /disk0\.raw exists already/);
  // A command that was killed lets go of nothing; the next one does, but not of what lives or is another's.
  const driver = new QemuDriver({ folder: machines });
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  for (const captureId of [`command-${dead}-x`, `command-${process.pid}-x`, 'other'])
    await driver.capture('tug', { captureId, reboot: false, graceMs: 0 });
  await told('capture', 'tug', join(folder, 'again'), '--format', 'raw');
  assert.deepEqual(await driver.captures('tug'), [`command-${process.pid}-x`, 'other']);
  for (const captureId of await driver.captures('tug')) await driver.releaseCapture('tug', captureId);
  assert.deepEqual(await told('stop', 'tug', '--grace', '600'), { id: 'tug', end: 'graceful' });
  assert.deepEqual(await told('show', 'tug'), {
    id: 'tug',
    hypervisor: 'qemu',
    state: 'stopped',
    reason: 'guest-shutdown',
  });
  await told('undefine', 'tug');
  const gone = await gantry(['machine', 'show', 'tug', '--folder', machines]);
  assert.equal(gone.code, 5);
  const odd = await gantry(['machine', 'list', '--connect', 'xen']);
  assert.equal(odd.code, 2);
  assert.match(odd.stderr, /"xen" is no hypervisor/);
});

test('machines of libvirt are listed by its address', async () => {
  const { code, stdout, stderr } = await gantry(['machine', 'list', '--connect', 'test:///default']);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^ID +STATE +REASON\ntest +running +unknown\n$/);
});
