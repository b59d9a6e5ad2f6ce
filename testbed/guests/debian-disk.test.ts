import assert from 'node:assert/strict';
import { copyFile, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type DiskBus, findFirmware, type MachineDisk } from '@gantry/machine';
import { DEBIAN_DISK_BYTES, debianDisk, makeDebianDisk } from './debian-disk.ts';
import { GUARD, guestMachine, startGuest, twoAtATime, wholeRun } from './running-guest.testkit.ts';
import { guestSystem } from './system.ts';

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-debian-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function rawDisk(path: string, bus: DiskBus): MachineDisk {
  return { role: 'system', device: 'disk', path, format: 'raw', bus };
}

const sectorCount = DEBIAN_DISK_BYTES / 512;

test('the disk is made the same each time', GUARD, async (t) => {
  const again = join(await temporaryFolder(t), 'disk.raw');
  await makeDebianDisk(again, await guestSystem(), 'poweroff');
  assert.ok((await readFile(await debianDisk())).equals(await readFile(again)));
});

test(
  'Linux starts from it on every bus, finds its files whole, and switches itself off',
  GUARD,
  async (t) => {
    const folder = await temporaryFolder(t);
    const path = await debianDisk();
    const before = await readFile(path);
    const buses: readonly (readonly [DiskBus, string])[] = [
      ['ide', 'sda'],
      ['sata', 'sda'],
      ['scsi', 'sda'],
      ['virtio', 'vda'],
      ['nvme', 'nvme0n1'],
      ['usb', 'sda'],
    ];
    await twoAtATime(buses, async ([bus, name]) => {
      const copy = join(folder, `${bus}.raw`);
      await copyFile(path, copy);
      const { text, end } = await wholeRun(t, guestMachine([rawDisk(copy, bus)]));
      assert.match(text, /^gantry guest: up \d\S+-amd64 .*gantry\.then=poweroff/m, bus);
      assert.ok(text.includes(`gantry guest: disk ${name} ${sectorCount}\r\n`), text);
      assert.match(text, new RegExp(`^gantry guest: files are whole on ${name}p?1\r$`, 'm'));
      assert.deepEqual(end, { reason: 'guest-shutdown' });
    });
    assert.ok(before.equals(await readFile(path)), 'the guest does not write');
  },
);

test('Linux starts from it under UEFI, and ends when the power button is pressed', GUARD, async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'disk.raw');
  await copyFile(await debianDisk('wait'), path);
  const machine = guestMachine([rawDisk(path, 'sata')], { firmware: 'uefi' });
  const firmware = await findFirmware(machine);
  assert.ok(firmware !== undefined, 'the package ovmf brings a firmware');
  const variablesPath = join(folder, 'variables.fd');
  await copyFile(firmware.templatePath, variablesPath);
  const guest = await startGuest(t, machine, { uefi: { ...firmware, variablesPath } });
  await guest.said(/waits for the power button\r\n/);
  await guest.running.qmp.execute('system_powerdown');
  const { text, end } = await guest.ended();
  assert.match(text, /^gantry guest: files are whole on sda1\r$/m);
  assert.deepEqual(end, { reason: 'guest-shutdown' });
});

test('Linux writes to all its disks until the power button is pressed', GUARD, async (t) => {
  const folder = await temporaryFolder(t);
  const paths = ['first.raw', 'second.raw'].map((name) => join(folder, name));
  for (const path of paths) await copyFile(await debianDisk('count'), path);
  const guest = await startGuest(t, guestMachine(paths.map((path) => rawDisk(path, 'virtio'))));
  await guest.said(/^gantry guest: counts\r\n/m);
  await guest.running.qmp.execute('system_powerdown');
  assert.deepEqual((await guest.ended()).end, { reason: 'guest-shutdown' });
  const counts = await Promise.all(paths.map(countOn));
  const [first = 0, second = 0] = counts;
  assert.ok(first > 0 && first - second >= 0 && first - second <= 1, counts.join());
});

async function countOn(path: string): Promise<number> {
  const file = await open(path);
  try {
    const { buffer } = await file.read(Buffer.alloc(512), 0, 512, 2047 * 512);
    return Number(/^gantry count (\d+) +$/.exec(buffer.toString('latin1'))?.[1]);
  } finally {
    await file.close();
  }
}
