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

/** ARM machines have none of the controllers of old PCs. */
const offered: Readonly<Record<'x86' | 'arm', readonly ControllerKind[]>> = {
  x86: [sata, ide, scsi, floppy],
  arm: [sata],
};

/** The controllers that have devices, in the order above. */
export function controllersOf(
  disks: readonly MachineDisk[],
  platform: 'x86' | 'arm',
  losses: Losses,
): Controller[] {
  const attached = new Map(offered[platform].map((kind): [ControllerKind, Device[]] => [kind, []]));
  for (const [index, disk] of disks.entries()) {
    const path = `disks[${index}]`;
    if (disk.device === 'disk' && disk.path === undefined) {
      losses.add(path, disk, 'there is no file to attach');
      continue;
    }
    requireImage(disk, path);
    const kind = controllerFor(disk, path, offered[platform], losses);
    const devices = kind && attached.get(kind);
    if (kind === undefined || devices === undefined) continue;
    tellLosses(disk, path, losses);
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

/** The controller that a device is attached to; undefined where there is none of its kind. */
function controllerFor(
  disk: MachineDisk,
  path: string,
  present: readonly ControllerKind[],
  losses: Losses,
): ControllerKind | undefined {
  const { bus, device } = disk;
  const usual = device === 'floppy' ? floppy : sata;
  if (!present.includes(usual)) {
    losses.add(path, disk, `an ARM machine has no ${device}`);
    return undefined;
  }
  const stated = bus === undefined ? undefined : kinds[bus];
  const fits = stated !== undefined && (device === 'floppy') === (stated === floppy);
  const isCdOnScsi = stated === scsi && device === 'cdrom';
  if (fits && present.includes(stated) && !isCdOnScsi) return stated;
  losses.add(`${path}.bus`, bus, `it is attached to a controller ${usual.name}`);
  return usual;
}

function requireImage({ device, format, path }: MachineDisk, where: string): void {
  if (path !== undefined) requireName(path, `${where}.path`);
  if (device !== 'disk' || format === undefined || writableFormats.includes(format)) return;
  throw new ImageError('IMAGE_UNSUPPORTED', `${where} is ${format}, which VirtualBox does not write to`, {
    structure: `machine ${where}.format`,
    hint: 'convert the image to vmdk (monolithicSparse), vdi or vhd',
  });
}

function tellLosses(
  { checksums, device, readOnly, role, target }: MachineDisk,
  path: string,
  losses: Losses,
): void {
  if (role === 'scratch') losses.add(`${path}.role`, role, 'VirtualBox keeps it as it keeps every disk');
  else if ((role === 'system') !== (device === 'disk'))
    losses.add(`${path}.role`, role, 'VirtualBox knows disks, and what is put into drives');
  losses.add(`${path}.checksums`, checksums, 'the image changes when the machine runs');
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
