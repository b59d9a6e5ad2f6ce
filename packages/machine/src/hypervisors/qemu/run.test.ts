import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { completeMachine } from '../../complete.ts';
import type { Machine, MachineDisk } from '../../model.ts';
import { bootSector } from './boot-sector.testkit.ts';
import { type RunningMachine, startMachine } from './run.ts';

const MIB: number = 2 ** 20;

async function temporaryFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-run-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function machineOf(disks: readonly MachineDisk[], changes: Partial<Machine> = {}): Machine {
  return { ...completeMachine({ name: 'a, b="c"', disks }), memoryBytes: 32 * MIB, ...changes };
}

/** What the guest writes, to its end; the end of the machine is waited for. */
async function serialOf({ serial, ended }: RunningMachine): Promise<string> {
  const text = await textOf(serial);
  await ended;
  return text;
}

/** The sector on a disk of 1 MiB: no BIOS starts from a smaller one. */
function bootDisk(...sector: Parameters<typeof bootSector>): Uint8Array {
  return Buffer.concat([bootSector(...sector), Buffer.alloc(MIB - 512)]);
}

async function textOf(serial: Readable | undefined): Promise<string> {
  assert.ok(serial);
  let text = '';
  for await (const chunk of serial.setEncoding('utf8')) text += chunk;
  return text;
}

test('a machine starts from a raw and from a qcow2 disk, on every bus, and ends when its guest does', async (t) => {
  const folder = join(await temporaryFolder(t), 'a, b {"c": "d"}=e');
  await mkdir(folder);
  const raw = join(folder, 'disk,read-only=on.raw');
  const qcow2 = join(folder, 'disk.qcow2');
  await writeFile(raw, bootDisk('hello from the guest', 'off'));
  execFileSync('qemu-img', ['convert', '-q', '-O', 'qcow2', `file:${raw}`, `file:${qcow2}`]);
  for (const [bus, path, format] of [
    ['ide', raw, 'raw'],
    ['virtio', qcow2, 'qcow2'],
    ['sata', raw, 'raw'],
    ['scsi', qcow2, 'qcow2'],
    ['usb', raw, 'raw'],
    ['nvme', qcow2, 'qcow2'],
  ] as const) {
    const disk: MachineDisk = { role: 'system', device: 'disk', path, format, bus, bootOrder: 1 };
    const running = await startMachine(machineOf([disk]), { serial: 'stdout' });
    assert.equal(await serialOf(running), 'hello from the guest', bus);
    assert.deepEqual(await running.ended, { reason: 'guest-shutdown' });
  }
});

test('the boot order decides, not the order of the disks', async (t) => {
  const folder = await temporaryFolder(t);
  const disks: MachineDisk[] = [];
  for (const [index, bootOrder] of [3, 1, 2].entries()) {
    const path = join(folder, `${index}.raw`);
    await writeFile(path, bootDisk(`disk ${index}`, 'off'));
    disks.push({
      role: 'system',
      device: 'disk',
      path,
      format: 'raw',
      bus: index === 1 ? 'virtio' : 'ide',
      bootOrder,
    });
  }
  assert.equal(await serialOf(await startMachine(machineOf(disks), { serial: 'stdout' })), 'disk 1');
});

test('a floppy disk and a machine without ACPI start too', async (t) => {
  const path = join(await temporaryFolder(t), 'floppy.img');
  await writeFile(path, Buffer.concat([bootSector('floppy', 'nothing'), Buffer.alloc(1440 * 1024 - 512)]));
  const disk: MachineDisk = { role: 'system', device: 'floppy', path, format: 'raw', bootOrder: 1 };
  const machine = machineOf([disk], {
    features: { acpi: false, apic: false, pae: true },
    architecture: 'i686',
  });
  const running = await startMachine(machine, { serial: 'stdout' });
  const [first] = await once(running.serial as Readable, 'data');
  assert.match(String(first), /^f/);
  running.serial?.resume();
  assert.deepEqual(await running.stop(0), { reason: 'host-qmp-quit' });
});

test('the power button ends a guest that knows it, and time ends one that does not', async (t) => {
  const folder = await temporaryFolder(t);
  for (const [then, graceMs, reason] of [
    ['off-by-button', 600_000, 'guest-shutdown'],
    ['nothing', 1, 'host-qmp-quit'],
  ] as const) {
    const path = join(folder, `${then}.raw`);
    await writeFile(path, bootDisk('ready', then));
    const disk: MachineDisk = { role: 'system', device: 'disk', path, format: 'raw', bootOrder: 1 };
    const running = await startMachine(machineOf([disk]), { serial: 'stdout' });
    let text = '';
    for await (const chunk of (running.serial as Readable)
      .setEncoding('utf8')
      .iterator({ destroyOnReturn: false })) {
      text += chunk;
      if (text === 'ready') break;
    }
    running.serial?.resume();
    assert.deepEqual(await running.stop(graceMs), { reason }, then);
  }
});

test('what cannot be started fails with the words of QEMU, or says that it is not there', async (t) => {
  const folder = await temporaryFolder(t);
  const disk: MachineDisk = {
    role: 'system',
    device: 'disk',
    path: join(folder, 'none'),
    format: 'raw',
    bus: 'ide',
  };
  await assert.rejects(startMachine(machineOf([disk])), {
    code: 'STORE_IO',
    message: /^QEMU failed: .*No such file/s,
  });
  const program = join(folder, 'qemu-none');
  await assert.rejects(startMachine(machineOf([]), { program }), { code: 'STORE_NOT_FOUND', where: program });
  const aborted = AbortSignal.abort(new Error('not any more'));
  await assert.rejects(startMachine(machineOf([]), { signal: aborted }), { message: 'not any more' });
});

test('QMP answers in order, and tells what QEMU refuses', async () => {
  const { qmp, stop, ended } = await startMachine(machineOf([]));
  const [status, name] = await Promise.all([qmp.execute('query-status'), qmp.execute('query-name')]);
  assert.equal((status as { readonly status: string }).status, 'running');
  assert.equal((name as { readonly name: string }).name, 'a, b="c"');
  await assert.rejects(qmp.execute('no-such-command'), {
    code: 'STORE_IO',
    message: /QEMU refuses: .*no-such-command/,
  });
  await stop(0);
  await ended;
  await assert.rejects(qmp.execute('query-status'), { code: 'STORE_IO', message: 'QEMU went away' });
});
