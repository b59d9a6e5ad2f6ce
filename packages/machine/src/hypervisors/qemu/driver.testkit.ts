import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { completeMachine } from '../../complete.ts';
import type { Machine, MachineDisk } from '../../model.ts';
import type { DefinedMachine } from '../driver.ts';
import { bootSector } from './boot-sector.testkit.ts';
import { QemuDriver } from './driver.ts';

export const MIB: number = 2 ** 20;

export async function setUp(
  context: TestContext,
): Promise<{ readonly folder: string; readonly driver: QemuDriver }> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-hv-'));
  // KVM does not have the system management mode everywhere, and starts no faster.
  const driver = new QemuDriver({ folder: join(folder, 'machines'), accelerator: 'tcg' });
  context.after(async () => {
    for (const id of await driver.list()) await driver.undefine(id);
    await driver.close();
    await rm(folder, { recursive: true, force: true });
  });
  return { folder, driver };
}

/** A raw disk of 1 MiB: no BIOS starts from a smaller one. */
export async function bootDisk(path: string, ...sector: Parameters<typeof bootSector>): Promise<MachineDisk> {
  await writeFile(path, Buffer.concat([bootSector(...sector), Buffer.alloc(MIB - 512)]));
  return { role: 'system', device: 'disk', path, format: 'raw', bus: 'virtio', bootOrder: 1 };
}

export function machineOf(disks: readonly MachineDisk[], changes: Partial<Machine> = {}): DefinedMachine {
  return { ...completeMachine({ name: 'test', disks }), memoryBytes: 32 * MIB, ...changes };
}

export async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await delay(20);
}

/** All that the guest has written to its first serial port. */
export async function said(driver: QemuDriver, id: string): Promise<string> {
  const { lengthBytes, read } = await driver.console(id);
  return Buffer.from(await read(0, lengthBytes)).toString();
}
