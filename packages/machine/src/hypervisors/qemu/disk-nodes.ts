import { createHash } from 'node:crypto';
import { ImageError } from '@gantry/disk';
import { isDevicePath } from '../../device-path.ts';
import type { Losses } from '../../losses.ts';
import type { MachineDisk } from '../../model.ts';
import type { BackedDisk, NbdExport } from '../driver.ts';

export type Json = string | number | boolean | { readonly [name: string]: Json };

/** The engine's names of formats in the words of QEMU's block drivers. */
const drivers: Readonly<Record<string, string>> = {
  raw: 'raw',
  iso: 'raw',
  qcow: 'qcow',
  qcow2: 'qcow2',
  vmdk: 'vmdk',
  vdi: 'vdi',
  vhd: 'vpc',
  vhdx: 'vhdx',
};

/** The names by which QEMU knows a disk. */
export interface DiskNodes {
  readonly device: string;
  readonly image: string;
  readonly backing: string;
  /**
   * Nodes between the device and the image, the highest first, that do nothing: what is below each can be exchanged
   * while the guest goes on, for all disks at one moment. Empty for what nobody writes to.
   */
  readonly slots: readonly string[];
}

/** How many captures of one disk there can be at a time. */
export const SLOT_COUNT = 4;

export function attachedNodes(index: number): DiskNodes {
  return { device: `device${index}`, image: `disk${index}`, backing: `backing${index}`, slots: [] };
}

/** Of a disk that may come and go while the guest runs: by its path, which does not change. */
export function diskNodes({ path = '', device, readOnly }: MachineDisk): DiskNodes {
  const name = diskName(path);
  const hasSlots = device === 'disk' && readOnly !== true;
  return {
    device: `device-${name}`,
    image: `image-${name}`,
    backing: `backing-${name}`,
    slots: Array.from({ length: hasSlots ? SLOT_COUNT : 0 }, (_, slot) => `slot${slot}-${name}`),
  };
}

/** Names of nodes have at most 31 characters. */
export function diskName(path: string): string {
  return createHash('sha256').update(path).digest('hex').slice(0, 16);
}

export type BlockNode = { readonly [name: string]: Json };

/** The node that the device reads and writes. */
export function topOf({ slots, image }: DiskNodes): string {
  return slots[0] ?? image;
}

/** The nodes of a disk, lowest first. */
export function nodesOf(disk: BackedDisk, nodes: DiskNodes, image: BlockNode): BlockNode[] {
  const { backing } = disk;
  return [
    ...(backing === undefined ? [] : [backingNode(nodes.backing, backing)]),
    { 'node-name': nodes.image, ...image, ...(backing !== undefined && { backing: nodes.backing }) },
    ...nodes.slots.map((_, slot) => slotNode(nodes, slot, belowSlot(nodes, slot))).reverse(),
  ];
}

/** What stands below a slot when it is free. */
export function belowSlot({ slots, image }: DiskNodes, slot: number): string {
  return slots[slot + 1] ?? image;
}

export function slotNode({ slots }: DiskNodes, slot: number, below: string): BlockNode {
  return { 'node-name': slots[slot] ?? '', driver: 'raw', 'read-only': false, discard: 'unmap', file: below };
}

/** A year: whoever serves the export may be away for as long as it takes, and what reads from it waits. */
const RECONNECT_SECONDS: number = 365 * 24 * 3600;
/** How long QEMU waits for the export when it starts. */
const OPEN_SECONDS = 30;

function backingNode(name: string, { socketPath, name: exportName }: NbdExport): BlockNode {
  return {
    'node-name': name,
    driver: 'nbd',
    server: { type: 'unix', path: socketPath },
    export: exportName,
    'read-only': true,
    'reconnect-delay': RECONNECT_SECONDS,
    'open-timeout': OPEN_SECONDS,
  };
}

/** The node that reads the image, but for its name and what backs it. Throws IMAGE_UNSUPPORTED. */
export function imageNode(disk: MachineDisk, index: number, losses: Losses): BlockNode {
  const { path = '', format = 'raw', device, readOnly, role, uuid, checksums, virtualSizeBytes } = disk;
  const driver = drivers[format];
  const field = `disks[${index}]`;
  if (driver === undefined) {
    throw new ImageError('IMAGE_UNSUPPORTED', `${field} is ${format}, which QEMU does not open as a disk`, {
      structure: `machine ${field}.format`,
      hint: 'convert the image to qcow2 or raw',
    });
  }
  if (role !== 'system') losses.add(`${field}.role`, role, 'QEMU keeps what is written to any disk');
  losses.add(`${field}.virtualSizeBytes`, virtualSizeBytes, 'the file has its own size');
  losses.add(`${field}.uuid`, uuid, 'the file has it');
  losses.add(`${field}.checksums`, checksums, 'QEMU compares none');
  return {
    driver,
    'read-only': device === 'cdrom' || readOnly === true,
    // Freed clusters go back to the host.
    discard: 'unmap',
    file: { driver: isDevicePath(path) ? 'host_device' : 'file', filename: path },
  };
}
