import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Disk, denyReferences, diskDigest, fileSource, openDisk } from '@gantry/disk';
import type { MachineDisk } from '../../model.ts';
import type { Capture } from '../driver.ts';
import { COUNTER_DISK_BYTES, counterSector, highestCount, lastCount } from './counter.testkit.ts';
import { bootDisk, machineOf, said, setUp, until } from './driver.testkit.ts';
import { QemuDriver } from './driver.ts';

/** Three disks, of two formats and buses that the BIOS knows. */
async function counterDisks(
  folder: string,
  formats: readonly ('raw' | 'qcow2')[] = ['raw', 'qcow2', 'raw'],
): Promise<MachineDisk[]> {
  const disks: MachineDisk[] = [];
  for (const [index, format] of formats.entries()) {
    const raw = join(folder, `${index}.raw`);
    await writeFile(raw, Buffer.concat([counterSector(), Buffer.alloc(COUNTER_DISK_BYTES - 512)]));
    const path = join(folder, `${index}.${format}`);
    if (format === 'qcow2') execFileSync('qemu-img', ['convert', '-q', '-O', 'qcow2', raw, path]);
    disks.push({
      role: index === 0 ? 'system' : 'user',
      device: 'disk',
      path,
      format,
      bus: index === 2 ? 'scsi' : 'virtio',
      bootOrder: index + 1,
    });
  }
  return disks;
}

async function bytesOf(disk: Disk): Promise<Uint8Array> {
  const bytes = new Uint8Array(disk.virtualSizeBytes);
  await disk.read(0, bytes);
  return bytes;
}

/** The last numbers on the disks of a capture. */
async function countsOf({ disks }: Capture): Promise<number[]> {
  return Promise.all(disks.map(async ({ disk }) => lastCount(await bytesOf(disk))));
}

/** They were written one after the other. */
function assertOneMoment(counts: readonly number[]): void {
  const [first = 0, second = 0, third = 0] = counts;
  assert.ok(first >= second && second >= third && third >= first - 1, `${counts}`);
}

/** The guest has counted on, to beyond this number, on the last of the disks: a raw file, read as it is written. */
async function untilCounted(folder: string, beyond: number): Promise<void> {
  await until(async () => highestCount(await readFile(join(folder, '2.raw'))) > beyond);
}

test('a capture of three disks is one moment, which later writes do not change', async (t) => {
  const { folder, driver } = await setUp(t);
  await driver.define('vm', machineOf(await counterDisks(folder)));
  await driver.start('vm');
  await untilCounted(folder, 80);
  const request = { captureId: 'one', reboot: false, graceMs: 0 };
  const capture = await driver.capture('vm', request);
  assert.equal(capture.consistency, 'crash');
  assert.deepEqual(
    capture.disks.map(({ index }) => index),
    [0, 1, 2],
  );
  const counts = await countsOf(capture);
  assertOneMoment(counts);
  // Every block is written anew, while another capture comes and goes.
  await untilCounted(folder, counts[0]! + 80);
  assert.deepEqual(await countsOf(capture), counts);
  const second = await driver.capture('vm', { ...request, captureId: 'two' });
  const later = await countsOf(second);
  assertOneMoment(later);
  assert.ok(later[2]! > counts[0]! + 80);
  await capture.release();
  assert.deepEqual(await countsOf(second), later);
  await second.release();
  assert.deepEqual(await driver.captures('vm'), []);
  assert.deepEqual(await readdir(join(folder, 'machines/vm/captures')), []);
  assert.deepEqual(await driver.status('vm'), { state: 'running' });
});

test('a capture of a machine that stands still, and then goes on', async (t) => {
  const { folder, driver } = await setUp(t);
  await driver.define('vm', machineOf(await counterDisks(folder)));
  await driver.start('vm');
  await untilCounted(folder, 80);
  await driver.pause('vm');
  const capture = await driver.capture('vm', { captureId: 'one', reboot: false, graceMs: 0 });
  const counts = await countsOf(capture);
  assertOneMoment(counts);
  assert.equal((await driver.status('vm')).state, 'paused');
  await driver.start('vm');
  await untilCounted(folder, counts[0]! + 80);
  assert.deepEqual(await countsOf(capture), counts);
  await capture.release();
});

test('a stopped machine is read as its files are, and cannot be started meanwhile', async (t) => {
  const { folder, driver } = await setUp(t);
  const disks = await counterDisks(folder);
  await driver.define('vm', machineOf(disks));
  await driver.start('vm');
  await untilCounted(folder, 80);
  assert.equal(await driver.stop('vm', { graceMs: 0 }), 'forced');
  const request = { captureId: 'one', reboot: true, graceMs: 0 };
  const capture = await driver.capture('vm', request);
  assert.equal(capture.consistency, 'crash');
  for (const { index, disk } of capture.disks) {
    const { path, format } = disks[index]!;
    const flat = join(folder, 'flat');
    execFileSync('qemu-img', ['convert', '-f', format!, '-O', 'raw', path!, flat]);
    const source = await fileSource(flat);
    const expected = await openDisk(source, { format: 'raw', references: denyReferences });
    assert.equal(await diskDigest(disk), await diskDigest(expected));
    await expected.close();
    await source.close();
  }
  await assert.rejects(driver.start('vm'), {
    code: 'STORE_REFUSED',
    message: /busy: its disks are being captured/,
  });
  const other = await driver.capture('vm', { ...request, captureId: 'two' });
  await capture.release();
  await assert.rejects(driver.start('vm'), { code: 'STORE_REFUSED' });
  await other.release();
  await driver.start('vm');
});

test('a guest that ends for its capture starts again at once', async (t) => {
  const { folder, driver } = await setUp(t);
  for (const [then, graceMs, consistency] of [
    ['off-by-button', 600_000, 'shutdown'],
    ['nothing', 1, 'crash'],
  ] as const) {
    const disk = await bootDisk(join(folder, `${then}.raw`), 'up;', then);
    await driver.define('vm', machineOf([disk]));
    await driver.start('vm');
    await until(async () => (await said(driver, 'vm')) === 'up;');
    const capture = await driver.capture('vm', { captureId: 'one', reboot: true, graceMs });
    assert.equal(capture.consistency, consistency);
    await until(async () => (await said(driver, 'vm')) === 'up;up;');
    assert.deepEqual(Buffer.from(await bytesOf(capture.disks[0]!.disk)), await readFile(disk.path!));
    await capture.release();
    assert.equal((await driver.status('vm')).state, 'running');
    await driver.stop('vm', { graceMs: 0 });
  }
});

test('a guest may end while it is captured: what is captured stays until it is released', async (t) => {
  const { folder, driver } = await setUp(t);
  const disk = await bootDisk(join(folder, 'disk.raw'), 'up;', 'off-by-button');
  await driver.define('vm', machineOf([disk]));
  await driver.start('vm');
  await until(async () => (await said(driver, 'vm')) === 'up;');
  const capture = await driver.capture('vm', { captureId: 'one', reboot: false, graceMs: 0 });
  assert.equal(await driver.stop('vm', { graceMs: 600_000 }), 'graceful');
  assert.deepEqual(await driver.status('vm'), { state: 'stopped', reason: 'guest-shutdown' });
  await bytesOf(capture.disks[0]!.disk);
  await driver.start('vm');
  await until(async () => (await said(driver, 'vm')) === 'up;up;');
  await bytesOf(capture.disks[0]!.disk);
  await driver.stop('vm', { graceMs: 600_000 });
  await capture.release();
  assert.deepEqual(await driver.status('vm'), { state: 'stopped', reason: 'guest-shutdown' });
  await assert.rejects(readFile(join(folder, 'machines/vm/pid')), { code: 'ENOENT' });
});

test('a process that is killed leaves its capture to the next one', async (t) => {
  const { folder, driver } = await setUp(t);
  await driver.define('vm', machineOf(await counterDisks(folder)));
  await driver.start('vm');
  await untilCounted(folder, 80);
  const program = join(import.meta.dirname, 'capture-child.testkit.ts');
  const args = ['--conditions=source', program, join(folder, 'machines'), 'vm', 'one'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [said] = await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.deepEqual(await driver.captures('vm'), ['one']);
  const capture = await driver.capture('vm', { captureId: 'one', reboot: false, graceMs: 0 });
  assert.equal(capture.takenAtMs, Number(String(said)));
  const counts = await countsOf(capture);
  assertOneMoment(counts);
  await untilCounted(folder, counts[0]! + 80);
  assert.deepEqual(await countsOf(capture), counts);
  await driver.releaseCapture('vm', 'one');
  await driver.releaseCapture('vm', 'one');
  assert.deepEqual(await driver.captures('vm'), []);
  // Gone in QEMU: the disk can be taken away.
  await assert.rejects(bytesOf(capture.disks[0]!.disk));
  const again = await driver.capture('vm', { captureId: 'one', reboot: false, graceMs: 0 });
  assert.ok((await countsOf(again))[0]! > counts[0]! + 80);
  await again.release();
});

test('a capture whose file cannot grow fails, and the guest writes on', async (t) => {
  const { folder } = await setUp(t);
  // QEMU ends by the signal that comes with a file that grows too much, unless it is ignored.
  const programs = join(folder, 'programs');
  await mkdir(programs);
  const wrapper = join(programs, 'qemu-system-x86_64');
  await writeFile(
    wrapper,
    `#!/bin/sh\ntrap '' XFSZ\nPATH=${process.env.PATH}\nexec qemu-system-x86_64 "$@"\n`,
    { mode: 0o755 },
  );
  const driver = new QemuDriver({ folder: join(folder, 'machines'), accelerator: 'tcg', path: programs });
  await driver.define('vm', machineOf(await counterDisks(folder, ['raw', 'raw', 'raw'])));
  await driver.start('vm');
  await untilCounted(folder, 80);
  const capture = await driver.capture('vm', { captureId: 'one', reboot: false, graceMs: 0 });
  const pid = await readFile(join(folder, 'machines/vm/pid'), 'utf8');
  // All blocks fit on the disks, and not into the files that keep the old content, which have tables too.
  const limit = COUNTER_DISK_BYTES + 65_536;
  execFileSync('prlimit', ['--pid', pid.trim(), `--fsize=${limit}:${limit}`]);
  const counts = [highestCount(await readFile(join(folder, '2.raw')))];
  await untilCounted(folder, counts[0]! + 80);
  await driver.start('vm');
  assert.deepEqual(await driver.status('vm'), { state: 'running' });
  await assert.rejects(countsOf(capture), { name: 'StoreError' });
  await capture.release();
  await untilCounted(folder, counts[0]! + 120);
});
