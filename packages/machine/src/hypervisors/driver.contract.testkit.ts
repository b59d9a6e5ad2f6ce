import assert from 'node:assert/strict';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { completeMachine } from '../complete.ts';
import type { Machine, MachineDisk } from '../model.ts';
import type { DefinedMachine, HypervisorDriver } from './driver.ts';
import { bootSector } from './qemu/boot-sector.testkit.ts';

const MIB: number = 2 ** 20;

export interface DriverUnderTest {
  readonly driver: HypervisorDriver;
  /** Where the hypervisor may read and write. */
  readonly folder: string;
}

export interface ContractOptions {
  /** Whether guests really run, or their machines only look so. */
  readonly hasGuests: boolean;
  readonly hasScreen: boolean;
  readonly hasCaptures: boolean;
  /** Whether a machine that is switched off by force says so later. */
  readonly remembersForce: boolean;
  readonly diskFormat: 'raw' | 'vdi';
}

type SetUp = (context: TestContext) => Promise<DriverUnderTest>;

/** What every driver keeps, tried on it. */
export function driverContract(name: string, options: ContractOptions, setUp: SetUp): void {
  test(`${name}: what is not defined is not there`, async (t) => {
    const { driver } = await setUp(t);
    const missing = { code: 'STORE_NOT_FOUND' };
    await assert.rejects(driver.status('none'), missing);
    await assert.rejects(driver.start('none'), missing);
    await assert.rejects(driver.stop('none', { graceMs: 0 }), missing);
    await assert.rejects(driver.reset('none'), missing);
    await assert.rejects(driver.pause('none'), missing);
    await assert.rejects(driver.screenshot('none'), missing);
    await assert.rejects(driver.detachDisk('none', '/none'), missing);
    await assert.rejects(
      driver.materialize('none', () => {}),
      missing,
    );
    await driver.undefine('none');
    await assert.rejects(driver.define('../none', machineOf([])), { code: 'IMAGE_OPTION' });
  });

  test(`${name}: a machine goes through its states, each as often as it is asked for`, async (t) => {
    const { driver, folder } = await setUp(t);
    const disk = await bootDisk(folder, 'states', 'nothing', options);
    const machine = machineOf([disk], options.hasScreen ? { graphics: { kind: 'vnc' } } : {});
    await driver.check(machine);
    await driver.define('vm-1', machine);
    await driver.define('vm-1', machine);
    assert.ok((await driver.list()).includes('vm-1'));
    assert.equal((await driver.status('vm-1')).state, 'stopped');
    await assert.rejects(driver.reset('vm-1'), { code: 'STORE_REFUSED' });
    await assert.rejects(driver.pause('vm-1'), { code: 'STORE_REFUSED' });
    await assert.rejects(driver.screenshot('vm-1'), { code: 'STORE_REFUSED' });
    for (let round = 0; round < 2; round++) {
      await driver.start('vm-1');
      assert.equal((await driver.status('vm-1')).state, 'running');
    }
    await assert.rejects(driver.define('vm-1', machine), { code: 'STORE_REFUSED' });
    await driver.reset('vm-1');
    for (let round = 0; round < 2; round++) {
      await driver.pause('vm-1');
      assert.equal((await driver.status('vm-1')).state, 'paused');
    }
    await driver.start('vm-1');
    assert.equal((await driver.status('vm-1')).state, 'running');
    if (options.hasScreen) {
      const picture = await driver.screenshot('vm-1');
      assert.deepEqual([...picture.subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
    }
    assert.equal(await driver.stop('vm-1', { graceMs: 0 }), 'forced');
    assert.equal((await driver.status('vm-1')).state, 'stopped');
    if (options.remembersForce) assert.equal(await driver.stop('vm-1', { graceMs: 0 }), 'forced');
    await driver.undefine('vm-1');
    await driver.undefine('vm-1');
    assert.ok(!(await driver.list()).includes('vm-1'));
    // Its disks are not the driver's.
    assert.ok((await readFile(disk.path ?? '')).length > 0);
  });

  test(`${name}: a machine that runs is ended when it is undefined`, async (t) => {
    const { driver, folder } = await setUp(t);
    await driver.define('vm-1', machineOf([await bootDisk(folder, 'ended', 'nothing', options)]));
    await driver.start('vm-1');
    await driver.undefine('vm-1');
    await assert.rejects(driver.status('vm-1'), { code: 'STORE_NOT_FOUND' });
  });

  test(`${name}: a disk is attached once and detached once, and stays over a start`, async (t) => {
    const { driver, folder } = await setUp(t);
    const system = await bootDisk(folder, 'system', 'nothing', options);
    const data = { ...(await bootDisk(folder, 'data', 'off', options)), role: 'user' as const };
    const { bootOrder: _, ...second } = data;
    await driver.define('vm-1', machineOf([system]));
    await driver.attachDisk('vm-1', second);
    await driver.attachDisk('vm-1', second);
    await driver.start('vm-1');
    await driver.stop('vm-1', { graceMs: 0 });
    await driver.detachDisk('vm-1', second.path ?? '');
    await driver.detachDisk('vm-1', second.path ?? '');
    await driver.start('vm-1');
    assert.equal((await driver.status('vm-1')).state, 'running');
  });

  test(`${name}: a watcher hears of a start and of an end`, async (t) => {
    const { driver, folder } = await setUp(t);
    await driver.define('vm-1', machineOf([await bootDisk(folder, 'watched', 'nothing', options)]));
    const ended = new AbortController();
    t.after(() => ended.abort());
    let heard = Promise.withResolvers<void>();
    driver.watch('vm-1', () => heard.resolve(), ended.signal);
    await driver.start('vm-1');
    await heard.promise;
    heard = Promise.withResolvers<void>();
    await driver.stop('vm-1', { graceMs: 0 });
    await heard.promise;
  });

  if (options.hasGuests) guestContract(name, options, setUp);
  if (options.hasGuests && options.hasCaptures) captureContract(name, options, setUp);
}

function guestContract(name: string, options: ContractOptions, setUp: SetUp): void {
  test(`${name}: a guest is heard, and ends when it is asked to`, async (t) => {
    const { driver, folder } = await setUp(t);
    await driver.define('vm-1', machineOf([await bootDisk(folder, 'ready', 'off-by-button', options)]));
    await driver.start('vm-1');
    await until(async () => (await said(driver)) === 'ready');
    assert.equal(await driver.stop('vm-1', { graceMs: 600_000 }), 'graceful');
    assert.deepEqual(await driver.status('vm-1'), { state: 'stopped', reason: 'guest-shutdown' });
  });
}

function captureContract(name: string, options: ContractOptions, setUp: SetUp): void {
  test(`${name}: a machine is captured while it runs, and when it is stopped`, async (t) => {
    const { driver, folder } = await setUp(t);
    const disk = await bootDisk(folder, 'ready', 'off-by-button', options);
    await driver.define('vm-1', machineOf([disk]));
    const content = await readFile(disk.path ?? '');
    const seen = async (captureId: string, reboot = false) => {
      const capture = await driver.capture('vm-1', { captureId, reboot, graceMs: 600_000 });
      const [first] = capture.disks;
      const bytes = Buffer.alloc(first?.disk.virtualSizeBytes ?? 0);
      await first?.disk.read(0, bytes);
      assert.ok(bytes.equals(content));
      return capture;
    };
    const stopped = await seen('stopped');
    assert.equal(stopped.consistency, 'shutdown');
    await stopped.release();
    assert.equal((await driver.status('vm-1')).state, 'stopped');
    await driver.start('vm-1');
    await until(async () => (await said(driver)) === 'ready');
    const running = await seen('running');
    assert.equal(running.consistency, 'crash');
    assert.deepEqual(await driver.captures('vm-1'), ['running']);
    assert.equal((await seen('running')).takenAtMs, running.takenAtMs);
    await running.release();
    await driver.releaseCapture('vm-1', 'running');
    assert.deepEqual(await driver.captures('vm-1'), []);
    const rebooted = await seen('rebooted', true);
    assert.equal(rebooted.consistency, 'shutdown');
    await until(async () => /(?:ready){1,2}$/.test(await said(driver)));
    await rebooted.release();
    assert.equal((await driver.status('vm-1')).state, 'running');
  });
}

function machineOf(disks: readonly MachineDisk[], changes: Partial<Machine> = {}): DefinedMachine {
  return { ...completeMachine({ name: 'a machine', disks, nics: [] }), memoryBytes: 32 * MIB, ...changes };
}

async function bootDisk(
  folder: string,
  text: string,
  then: Parameters<typeof bootSector>[1],
  { diskFormat }: ContractOptions,
): Promise<MachineDisk> {
  const path = join(folder, `${text}.${diskFormat}`);
  await writeFile(path, Buffer.concat([bootSector(text, then), Buffer.alloc(MIB - 512)]));
  // The hypervisor may be of another user.
  await chmod(path, 0o666);
  const bus = diskFormat === 'raw' ? 'virtio' : 'sata';
  return { role: 'system', device: 'disk', path, format: diskFormat, bus, bootOrder: 1 };
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await delay(20);
}

async function said(driver: HypervisorDriver): Promise<string> {
  const { lengthBytes, read } = await driver.console('vm-1');
  return Buffer.from(await read(0, lengthBytes)).toString();
}
