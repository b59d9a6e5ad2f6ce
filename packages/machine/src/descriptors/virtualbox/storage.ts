import { ImageError } from '@gantry/disk';
import type { Losses } from '../../losses.ts';
import type { DiskBus, MachineDisk } from '../../model.ts';
import { refused, requireName } from './require.ts';

/** A controller in the words of the settings (`type`) and of VBoxManage (`bus`, `chipset`). */
interface ControllerKind {
  readonly name: string;
  readonly type: string;
  readonly bus: string;
  readonly chipset: string;
  readonly portCountMax: number;
  readonly devicesAtPort: number;
  /** IDE and floppy controllers always have all of their ports. */
  readonly isFixed: boolean;
}

export interface Device {
  readonly kind: 'disk' | 'cdrom' | 'floppy';
  readonly port: number;
  readonly device: number;
  /** Where it stands in the machine's list. */
  readonly index: number;
  readonly disk: MachineDisk;
}

export interface Controller extends ControllerKind {
  readonly portCount: number;
  readonly devices: readonly Device[];
}

const sata: ControllerKind = {
  name: 'SATA',
  type: 'AHCI',
  bus: 'sata',
  chipset: 'IntelAhci',
  portCountMax: 30,
  devicesAtPort: 1,
  isFixed: false,
};
const ide: ControllerKind = {
  name: 'IDE',
  type: 'PIIX4',
  bus: 'ide',
  chipset: 'PIIX4',
  portCountMax: 2,
  devicesAtPort: 2,
  isFixed: true,
};
const scsi: ControllerKind = {
  name: 'SCSI',
  type: 'LsiLogic',
  bus: 'scsi',
  chipset: 'LSILogic',
  portCountMax: 16,
  devicesAtPort: 1,
  isFixed: true,
};
const floppy: ControllerKind = {
  name: 'Floppy',
  type: 'I82078',
  bus: 'floppy',
  chipset: 'I82078',
  portCountMax: 1,
  devicesAtPort: 2,
  isFixed: true,
};

/** Every guest that VirtualBox runs knows AHCI; the others are there for those that were installed on them. */
const kinds: { readonly [bus in DiskBus]?: ControllerKind } = { sata, ide, scsi, floppy };

/** Formats of images that VirtualBox writes to; each has a UUID of its own inside. */
const writableFormats: readonly string[] = ['vmdk', 'vdi', 'vhd'];

/** The controllers that have devices, in the order of their names here. */
export function controllersOf(disks: readonly MachineDisk[], losses: Losses): Controller[] {
  const attached = new Map<ControllerKind, Device[]>([
    [sata, []],
    [ide, []],
    [scsi, []],
    [floppy, []],
  ]);
  for (const [index, disk] of disks.entries()) {
    const path = `disks[${index}]`;
    if (disk.device === 'disk' && disk.path === undefined) {
      losses.add(path, disk, 'there is no file to attach');
      continue;
    }
    requireImage(disk, path);
    tellLosses(disk, path, losses);
    const kind = controllerFor(disk, path, losses);
    const devices = attached.get(kind) ?? [];
    const { devicesAtPort, portCountMax } = kind;
    if (devices.length === portCountMax * devicesAtPort) throw full(kind, path);
    const port = Math.floor(devices.length / devicesAtPort);
    devices.push({ kind: disk.device, port, device: devices.length % devicesAtPort, index, disk });
  }
  return [...attached]
    .filter(([, devices]) => devices.length > 0)
    .map(([kind, devices]) => ({
      ...kind,
      portCount: kind.isFixed ? kind.portCountMax : devices.length,
      devices,
    }));
}

function controllerFor(disk: MachineDisk, path: string, losses: Losses): ControllerKind {
  const { bus, device } = disk;
  const fits = (kind: ControllerKind) => (device === 'floppy') === (kind === floppy);
  const stated = bus === undefined ? undefined : kinds[bus];
  if (stated !== undefined && fits(stated) && !(stated === scsi && device === 'cdrom')) return stated;
  const kind = device === 'floppy' ? floppy : sata;
  losses.add(`${path}.bus`, bus, `it is attached to a controller ${kind.name}`);
  return kind;
}

function requireImage({ device, format, path }: MachineDisk, where: string): void {
  if (path !== undefined) requireName(path, `${where}.path`);
  if (device !== 'disk' || format === undefined || writableFormats.includes(format)) return;
  throw new ImageError('IMAGE_UNSUPPORTED', `${where} is ${format}, which VirtualBox does not write to`, {
    structure: `machine ${where}.format`,
    hint: 'convert the image to vmdk (monolithicSparse), vdi or vhd',
  });
}

function tellLosses({ device, readOnly, role, target }: MachineDisk, path: string, losses: Losses): void {
  if (role === 'scratch') losses.add(`${path}.role`, role, 'VirtualBox keeps it as it keeps every disk');
  losses.add(`${path}.target`, target, 'the guest gives the names');
  if (readOnly !== (device === 'cdrom'))
    losses.add(`${path}.readOnly`, readOnly, `a ${device} is attached as every ${device} is`);
}

/** In the words of the settings (TDeviceType) and of VBoxManage. */
export interface BootDevice {
  readonly type: 'HardDisk' | 'DVD' | 'Floppy';
  readonly word: 'disk' | 'dvd' | 'floppy';
}

const bootTypes: Readonly<Record<MachineDisk['device'], BootDevice>> = {
  disk: { type: 'HardDisk', word: 'disk' },
  cdrom: { type: 'DVD', word: 'dvd' },
  floppy: { type: 'Floppy', word: 'floppy' },
};

/**
 * The kinds of devices that are started from: VirtualBox orders kinds, and of each takes the first device. Without an
 * order of the machine's own, hard disks and then CDs.
 */
export function bootDevices(disks: readonly MachineDisk[], losses: Losses): BootDevice[] {
  const ordered = [...disks.entries()]
    .filter(([, { bootOrder }]) => bootOrder !== undefined)
    .sort(([, a], [, b]) => (a.bootOrder ?? 0) - (b.bootOrder ?? 0));
  if (ordered.length === 0) return [bootTypes.disk, bootTypes.cdrom];
  const types: BootDevice[] = [];
  for (const [index, { bootOrder, device }] of ordered) {
    const isFirst = disks.findIndex((disk) => disk.device === device) === index;
    if (!isFirst) losses.add(`disks[${index}].bootOrder`, bootOrder, `another ${device} stands before it`);
    if (!types.includes(bootTypes[device])) types.push(bootTypes[device]);
  }
  return types;
}

function full({ name, portCountMax, devicesAtPort }: ControllerKind, path: string): Error {
  return refused(
    path,
    `a controller ${name} takes ${portCountMax * devicesAtPort} devices`,
    'put it on another bus',
  );
}
