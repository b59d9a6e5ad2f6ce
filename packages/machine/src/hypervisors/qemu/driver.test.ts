import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { MachineDisk } from '../../model.ts';
import { driverContract } from '../driver.contract.testkit.ts';
import { bootDisk, MIB, machineOf, said, setUp, until } from './driver.testkit.ts';
import { QemuDriver } from './driver.ts';

driverContract(
  'QEMU',
  { hasGuests: true, hasScreen: true, hasCaptures: true, remembersForce: true, diskFormat: 'raw' },
  setUp,
);

test('a machine is defined, started, heard, and says how it ended', async (t) => {
  const { folder, driver } = await setUp(t);
  const disk = await bootDisk(join(folder, 'disk.raw'), 'hello', 'off');
  await assert.rejects(driver.status('vm'), { code: 'STORE_NOT_FOUND' });
  await driver.define('vm', machineOf([disk]));
  assert.deepEqual(await driver.list(), ['vm']);
  assert.deepEqual(await driver.status('vm'), { state: 'stopped' });
  await driver.start('vm');
  await until(async () => (await driver.status('vm')).state === 'stopped');
  assert.deepEqual(await driver.status('vm'), { state: 'stopped', reason: 'guest-shutdown' });
  assert.equal(await said(driver, 'vm'), 'hello');
  assert.equal(await driver.stop('vm', { graceMs: 0 }), 'graceful');
});

test('the power button ends a guest that knows it; others are ended by force', async (t) => {
  const { folder, driver } = await setUp(t);
  for (const [then, graceMs, end] of [
    ['off-by-button', 600_000, 'graceful'],
    ['nothing', 1, 'forced'],
  ] as const) {
    await driver.define('vm', machineOf([await bootDisk(join(folder, `${then}.raw`), 'ready', then)]));
    await driver.start('vm');
    await until(async () => (await said(driver, 'vm')) === 'ready');
    assert.deepEqual(await driver.status('vm'), { state: 'running' });
    assert.equal(await driver.stop('vm', { graceMs }), end);
    assert.equal((await driver.status('vm')).state, 'stopped');
  }
});

test('a machine that is killed has crashed, and starts again', async (t) => {
  const { folder, driver } = await setUp(t);
  await driver.define('vm', machineOf([await bootDisk(join(folder, 'disk.raw'), 'ready', 'nothing')]));
  await driver.start('vm');
  const pid = Number(await readFile(join(folder, 'machines/vm/pid'), 'utf8'));
  process.kill(pid, 'SIGKILL');
  await until(async () => (await driver.status('vm')).state !== 'running');
  assert.deepEqual(await driver.status('vm'), { state: 'crashed' });
  assert.equal(await driver.stop('vm', { graceMs: 0 }), 'forced');
  assert.deepEqual(await driver.status('vm'), { state: 'crashed' });
  await driver.start('vm');
  assert.deepEqual(await driver.status('vm'), { state: 'running' });
});

test('pause, reset, the screen and what is refused meanwhile', async (t) => {
  const { folder, driver } = await setUp(t);
  const disk = await bootDisk(join(folder, 'disk.raw'), 'ready', 'nothing');
  const machine = machineOf([disk], { graphics: { kind: 'vnc' } });
  await driver.define('vm', machine);
  await assert.rejects(driver.openScreen('vm'), { code: 'STORE_REFUSED' });
  await assert.rejects(driver.reset('vm'), { code: 'STORE_REFUSED' });
  await driver.start('vm');
  await assert.rejects(driver.define('vm', machine), { code: 'STORE_REFUSED' });
  await until(async () => (await said(driver, 'vm')) === 'ready');
  const console = await driver.openConsole('vm');
  const heard = new Promise<Buffer>((resolve) => console.once('data', resolve));
  await driver.reset('vm');
  await until(async () => (await said(driver, 'vm')) === 'readyready');
  assert.match((await heard).toString(), /^r/);
  console.destroy();
  await driver.pause('vm');
  assert.deepEqual(await driver.status('vm'), { state: 'paused', reason: 'paused' });
  const picture = await driver.screenshot('vm');
  assert.deepEqual([...picture.subarray(1, 4)], [...Buffer.from('PNG')]);
  const screen = await driver.openScreen('vm');
  const greeting = await new Promise<Buffer>((resolve) => screen.once('data', resolve));
  assert.match(greeting.toString(), /^RFB 003/);
  screen.destroy();
  await driver.start('vm');
  assert.deepEqual(await driver.status('vm'), { state: 'running' });
});

test('a disk comes to a guest that runs and stays there; QEMU waits for the guest to let it go', async (t) => {
  const { folder, driver } = await setUp(t);
  const system = await bootDisk(join(folder, 'disk.raw'), 'ready', 'ejecting');
  const path = join(folder, 'data.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, '64M']);
  const data: MachineDisk = { role: 'user', device: 'disk', path, format: 'qcow2', bus: 'virtio' };
  await driver.define('vm', machineOf([system]));
  await driver.start('vm');
  await until(async () => (await said(driver, 'vm')) === 'ready');
  await driver.attachDisk('vm', data);
  await driver.attachDisk('vm', data);
  await driver.stop('vm', { graceMs: 0 });
  await driver.start('vm');
  await until(async () => (await said(driver, 'vm')) === 'ready');
  await driver.detachDisk('vm', path);
  await driver.detachDisk('vm', path);
  assert.match(execFileSync('qemu-img', ['info', path]).toString(), /qcow2/);
  await driver.attachDisk('vm', { ...data, bus: 'scsi' });
});

test('what cannot be started says why in the words of QEMU', async (t) => {
  const { folder, driver } = await setUp(t);
  const disk: MachineDisk = { role: 'system', device: 'disk', path: join(folder, 'none'), format: 'raw' };
  await driver.define('vm', machineOf([disk]));
  await assert.rejects(driver.start('vm'), { code: 'STORE_IO', message: /No such file/ });
  assert.equal((await driver.status('vm')).state, 'stopped');
  await assert.rejects(driver.define('../x', machineOf([disk])), { code: 'IMAGE_OPTION' });
  assert.throws(() => new QemuDriver({ folder: `/${'x'.repeat(90)}` }), {
    code: 'STORE_REFUSED',
    message: /too long for the sockets/,
  });
});

test('a machine with UEFI starts with the installed firmware, its variables are its own', async (t) => {
  const { folder, driver } = await setUp(t);
  for (const secureBoot of [false, true]) {
    await driver.define('vm', machineOf([], { firmware: 'uefi', secureBoot, memoryBytes: 128 * MIB }));
    await driver.start('vm');
    assert.deepEqual(await driver.status('vm'), { state: 'running' });
    assert.equal((await readFile(join(folder, 'machines/vm/uefi-variables'))).length, 540_672);
    await driver.stop('vm', { graceMs: 0 });
  }
});

test('disks come one right after the other to a machine whose firmware has not counted its ports yet', async (t) => {
  const { folder, driver } = await setUp(t);
  await driver.define('vm', machineOf([], { firmware: 'uefi', memoryBytes: 128 * MIB }));
  await driver.start('vm');
  await driver.pause('vm');
  for (let index = 0; index < 8; index++)
    await driver.attachDisk('vm', await bootDisk(join(folder, `${index}.raw`), 'data', 'off'));
  const more = await bootDisk(join(folder, 'more.raw'), 'data', 'off');
  await assert.rejects(driver.attachDisk('vm', more), { code: 'STORE_REFUSED', message: /8 places/ });
});
