import { createHash } from 'node:crypto';
import { ImageError } from '@gantry/disk';
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
  /** What the device reads and writes. */
  readonly top: string;
  readonly image: string;
  readonly backing: string;
}

export function attachedNodes(index: number): DiskNodes {
  const image = `disk${index}`;
  return { device: `device${index}`, top: image, image, backing: `backing${index}` };
}

/**
 * Of a disk that may come and go while the guest runs: by its path, which does not change. There is a node between
 * the device and the image that does nothing: what is below it can be exchanged, for all disks at one moment.
 */
export function diskNodes(path: string): DiskNodes {
  const name = createHash('sha256').update(path).digest('hex').slice(0, 16);
  return {
    device: `device-${name}`,
    top: `top-${name}`,
    image: `image-${name}`,
    backing: `backing-${name}`,
  };
}

export type BlockNode = { readonly [name: string]: Json };

/** The nodes of a disk, lowest first. */
export function nodesOf(disk: BackedDisk, nodes: DiskNodes, image: BlockNode): BlockNode[] {
  const { backing } = disk;
  return [
    ...(backing === undefined ? [] : [backingNode(nodes.backing, backing)]),
    { 'node-name': nodes.image, ...image, ...(backing !== undefined && { backing: nodes.backing }) },
    ...(nodes.top === nodes.image ? [] : [topNode(nodes, nodes.image, image['read-only'] === true)]),
  ];
}

export function topNode({ top }: DiskNodes, below: string, isReadOnly: boolean): BlockNode {
  return { 'node-name': top, driver: 'raw', 'read-only': isReadOnly, discard: 'unmap', file: below };
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
    file: { driver: path.startsWith('/dev/') ? 'host_device' : 'file', filename: path },
  };
}
