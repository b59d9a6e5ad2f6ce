import { setTimeout as delay } from 'node:timers/promises';
import { ImageError, StoreError } from '@gantry/disk';
import { Losses } from '../../losses.ts';
import { boardOf } from '../../placement.ts';
import type { BackedDisk, DefinedMachine } from '../driver.ts';
import { HOTPLUG_PORT_COUNT, hasHotplugPorts } from './command.ts';
import {
  type BlockNode,
  type DiskNodes,
  diskName,
  diskNodes,
  imageNode,
  nodesOf,
  topOf,
} from './disk-nodes.ts';
import type { QmpClient } from './qmp.ts';

/** How long a guest has to let go of a disk. */
const RELEASE_MS = 20_000;
const POLL_MS = 20;

/** Throws IMAGE_UNSUPPORTED for a disk that no running guest can be given. */
export function requireHotplug(disk: BackedDisk, machine: DefinedMachine): void {
  const bus = disk.bus ?? 'virtio';
  const isCcw = boardOf(machine) === 's390-ccw-virtio';
  if (disk.device === 'disk' && (bus === 'virtio' || bus === 'scsi') && !isCcw) return;
  throw new ImageError(
    'IMAGE_UNSUPPORTED',
    `a ${disk.device} at ${bus} cannot be attached to a guest that runs`,
    {
      structure: 'machine disk bus',
      hint: 'attach it to virtio or scsi, or stop the machine first',
    },
  );
}

/** Gives a guest that runs a disk; what of it is there already stays. */
export async function plug(qmp: QmpClient, disk: BackedDisk, machine: DefinedMachine): Promise<void> {
  const nodes = diskNodes(disk);
  const image = imageNode(disk, machine.disks.length, new Losses());
  const present = await nodeNames(qmp);
  const added: string[] = [];
  try {
    for (const node of nodesOf(disk, nodes, image)) {
      const name = String(node['node-name']);
      if (present.has(name)) continue;
      await qmp.execute('blockdev-add', node);
      added.push(name);
    }
    if (!(await deviceIds(qmp)).has(nodes.device))
      await qmp.execute('device_add', await deviceFor(qmp, disk, machine, nodes));
  } catch (error) {
    for (const name of added.reverse())
      await qmp.execute('blockdev-del', { 'node-name': name }).catch(() => {});
    throw error;
  }
}

/** A new device on the bus of the disk, with a place that is free. */
async function deviceFor(
  qmp: QmpClient,
  disk: BackedDisk,
  machine: DefinedMachine,
  nodes: DiskNodes,
): Promise<BlockNode> {
  const id = nodes.device;
  const drive = topOf(nodes);
  if (disk.bus === 'scsi') {
    if (!(await deviceIds(qmp)).has('scsi'))
      await qmp.execute('device_add', {
        driver: 'virtio-scsi-pci',
        id: 'scsi',
        ...(await freePort(qmp, machine)),
      });
    return { driver: 'scsi-hd', bus: 'scsi.0', id, drive };
  }
  return { driver: 'virtio-blk-pci', id, drive, ...(await freePort(qmp, machine)) };
}

/**
 * Boards of PCI Express take new devices in ports that were made for it. What QEMU itself holds at a port is looked at:
 * `query-pci` shows nothing behind ports to which the firmware has given no numbers yet.
 */
async function freePort(qmp: QmpClient, machine: DefinedMachine): Promise<{ readonly bus?: string }> {
  if (!hasHotplugPorts(boardOf(machine))) return {};
  for (let index = 0; index < HOTPLUG_PORT_COUNT; index++) {
    const bus = `hotplug${index}`;
    // The bus behind a port has the name of the port.
    const list = await qmp.execute('qom-list', { path: `/machine/peripheral/${bus}/${bus}` });
    const isTaken = (list as readonly { readonly name: string }[]).some(({ name }) => /^child\[/.test(name));
    if (!isTaken) return { bus };
  }
  throw new StoreError('STORE_REFUSED', `all ${HOTPLUG_PORT_COUNT} places for new devices are taken`, {
    where: 'QEMU',
    hint: 'attach it to scsi, or while the machine is stopped',
  });
}

/** Takes a disk from a guest that runs. Throws STORE_REFUSED when that does not let go of it, or a capture reads it. */
export async function unplug(qmp: QmpClient, disk: BackedDisk, signal?: AbortSignal): Promise<void> {
  const { path = '' } = disk;
  const nodes = diskNodes(disk);
  const present = await nodeNames(qmp);
  if ([...present].some((name) => name.startsWith(`cbw-${diskName(path)}-`))) {
    throw new StoreError('STORE_REFUSED', `a capture reads ${path}`, {
      where: path,
      hint: 'wait until it has ended, or release it',
    });
  }
  if ((await deviceIds(qmp)).has(nodes.device)) {
    // The guest may have been asked before.
    await qmp.execute('device_del', { id: nodes.device }).catch((error) => {
      if (!/in the process of unplug|not found/.test(String(error))) throw error;
    });
    await untilReleased(qmp, nodes.device, path, signal);
  }
  for (const name of [...nodes.slots, nodes.image, nodes.backing]) {
    if (present.has(name)) await removeNode(qmp, name);
  }
}

/** A device that is gone holds its node until QEMU has cleared it away. */
export async function removeNode(qmp: QmpClient, name: string): Promise<void> {
  const endMs = Date.now() + RELEASE_MS;
  for (;;) {
    try {
      await qmp.execute('blockdev-del', { 'node-name': name });
      return;
    } catch (error) {
      if (!/is in use/.test(String(error)) || Date.now() >= endMs) throw error;
    }
    await delay(POLL_MS);
  }
}

async function untilReleased(
  qmp: QmpClient,
  device: string,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const endMs = Date.now() + RELEASE_MS;
  while ((await deviceIds(qmp)).has(device)) {
    signal?.throwIfAborted();
    if (Date.now() >= endMs) {
      throw new StoreError('STORE_REFUSED', `the guest does not let go of ${path}`, {
        where: path,
        hint: 'unmount it in the guest and try again, or stop the machine first',
      });
    }
    await delay(POLL_MS, undefined, { signal });
  }
}

async function deviceIds(qmp: QmpClient): Promise<ReadonlySet<string>> {
  const list = await qmp.execute('qom-list', { path: '/machine/peripheral' });
  return new Set((list as readonly { readonly name: string }[]).map(({ name }) => name));
}

/** The nodes that have a name of ours. */
export async function nodeNames(qmp: QmpClient): Promise<ReadonlySet<string>> {
  const list = await qmp.execute('query-named-block-nodes', { flat: true });
  return new Set(
    (list as readonly { readonly 'node-name'?: string }[]).flatMap((node) => node['node-name'] ?? []),
  );
}
