import { defined } from '../../defined.ts';
import type { DiskBus, MachineDisk, Nic } from '../../model.ts';
import { anyAttribute, type XmlElement } from '../xml/tree.ts';
import type { Warnings } from '../xml/warnings.ts';
import { malformedOvf, type Package, type PackageFile, refusedOvf } from './envelope.ts';
import type { Item } from './items.ts';
import { adapterModels, controllerBuses, networkKinds, resourceTypes as types } from './words.ts';

/** A disk or drive, and the item that it is. */
export interface ReadDisk {
  readonly item: Item;
  readonly disk: MachineDisk;
}

export interface ReadNic {
  readonly item: Item;
  readonly nic: Nic;
}

/** A controller with disks or drives. */
interface Controller {
  readonly bus: DiskBus;
  /** Its number among those of its bus. */
  readonly address: number;
}

export function isController({ type, subType }: Item): boolean {
  return (
    type === types.ide ||
    type === types.scsi ||
    (type === types.otherStorage && Object.hasOwn(controllerBuses, subType.toLowerCase()))
  );
}

const devices: Readonly<Record<number, MachineDisk['device']>> = {
  [types.disk]: 'disk',
  [types.logicalDisk]: 'disk',
  [types.cd]: 'cdrom',
  [types.dvd]: 'cdrom',
  [types.floppy]: 'floppy',
};

export function isDrive({ type }: Item): boolean {
  return Object.hasOwn(devices, type);
}

/**
 * Disks and drives in the order of the document, but those of one bus by their places there: the number of the
 * controller, and AddressOnParent.
 */
export function readDisks(items: readonly Item[], contents: Package, warnings: Warnings): ReadDisk[] {
  const controllers = new Map(
    items.filter(isController).map((item): [string, Controller] => [item.id, controllerOf(item)]),
  );
  const used = new Set<string>();
  const read = items.filter(isDrive).flatMap((item) => {
    const controller = item.parent === undefined ? undefined : controllers.get(item.parent);
    if (item.type !== types.floppy && controller === undefined)
      warnings.add(item.element, 'the item has no controller: the bus of the drive is not known');
    const disk = diskOf(item, controller?.bus, contents, used, warnings);
    return disk === undefined ? [] : [{ item, disk, controller }];
  });
  for (const { id, element } of contents.disks.values())
    if (!used.has(id)) warnings.add(element, `the disk ${JSON.stringify(id)} is attached to nothing`);
  return inPlace(read);
}

function controllerOf({ type, subType, address }: Item): Controller {
  const bus =
    type === types.ide ? 'ide' : type === types.scsi ? 'scsi' : controllerBuses[subType.toLowerCase()];
  return { bus: bus ?? 'scsi', address: Number(address ?? 0) || 0 };
}

function inPlace(read: readonly (ReadDisk & { readonly controller: Controller | undefined })[]): ReadDisk[] {
  const sorted = new Map<DiskBus | undefined, ReadDisk[]>();
  for (const bus of new Set(read.map(({ controller }) => controller?.bus))) {
    const own = read.filter(({ controller }) => controller?.bus === bus);
    const place = ({ item }: ReadDisk) => item.addressOnParent ?? Number.MAX_SAFE_INTEGER;
    if (bus !== undefined)
      own.sort((a, b) => (a.controller?.address ?? 0) - (b.controller?.address ?? 0) || place(a) - place(b));
    sorted.set(bus, [...own]);
  }
  return read.flatMap(({ controller }) => sorted.get(controller?.bus)?.splice(0, 1) ?? []);
}

function diskOf(
  item: Item,
  bus: DiskBus | undefined,
  contents: Package,
  used: Set<string>,
  warnings: Warnings,
): MachineDisk | undefined {
  const device = devices[item.type] ?? 'disk';
  const { hostResource } = item;
  // `ovf://disk/x` and `/disk/x` were written too.
  const [, kind, id = ''] = /^(?:ovf:)?\/*(disk|file)\/(.+)$/.exec(hostResource ?? '') ?? [];
  const stored = kind === 'disk' ? contents.disks.get(id) : undefined;
  const file = kind === 'file' ? contents.files.get(id) : stored?.file;
  const isLost = hostResource !== undefined && stored === undefined && file === undefined;
  if (isLost && (kind !== undefined || device === 'disk'))
    throw malformedOvf(warnings, item.element, `there is no ${JSON.stringify(hostResource)} in the package`);
  if (isLost) warnings.add(item.element, `${hostResource} is no file of the package: the drive is empty`);
  if (device === 'disk' && stored === undefined && file === undefined) {
    warnings.add(item.element, 'the disk names no file and no size, and is not in the machine');
    return undefined;
  }
  if (stored !== undefined) {
    if (used.has(stored.id)) warnings.add(item.element, 'another item attaches the same disk');
    used.add(stored.id);
    if (anyAttribute(stored.element, 'parentRef') !== undefined)
      throw unread(stored.element, 'the disk is stored as the difference to another', warnings);
  }
  if (file !== undefined) requirePlain(file, warnings);
  const path = file?.path;
  return defined({
    role: device === 'disk' && path !== undefined ? ('system' as const) : ('user' as const),
    device,
    path,
    format: formatFor(device, stored?.format, path),
    virtualSizeBytes: stored?.virtualSizeBytes,
    bus: device === 'floppy' ? ('floppy' as const) : bus,
    readOnly: device === 'cdrom' ? true : undefined,
  });
}

function formatFor(
  device: MachineDisk['device'],
  stored: string | undefined,
  path: string | undefined,
): string | undefined {
  if (path === undefined || device === 'disk') return stored;
  return device === 'cdrom' ? 'iso' : 'raw';
}

/** Throws IMAGE_UNSUPPORTED for a file that is not the image itself, beside the descriptor. */
function requirePlain({ path, element }: PackageFile, warnings: Warnings): void {
  const compression = anyAttribute(element, 'compression');
  if (compression !== undefined && compression !== 'identity')
    throw unread(element, `the file is compressed (${compression})`, warnings);
  if (anyAttribute(element, 'chunkSize') !== undefined)
    throw unread(element, 'the file is cut into chunks', warnings);
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path))
    throw unread(element, `the file is not beside the descriptor, but at ${path}`, warnings);
}

function unread(element: XmlElement, what: string, warnings: Warnings): Error {
  const hint = 'restore the whole image of the disk beside the descriptor, and name that';
  return refusedOvf('IMAGE_UNSUPPORTED', warnings.at(element, what), hint);
}

/** The adapters, in the order of the document. */
export function readNics(items: readonly Item[], warnings: Warnings): ReadNic[] {
  return items
    .filter(({ type }) => type === types.ethernet)
    .map((item) => {
      const words = item.subType.toLowerCase().split(/\s+/).filter(Boolean);
      const known = words.find((word) => Object.hasOwn(adapterModels, word));
      if (known === undefined && words.length > 0)
        warnings.add(item.element, `the adapter ${item.subType} is not in the machine`);
      const nic: Nic = defined({
        ...networkOf(item),
        model: known === undefined ? undefined : adapterModels[known],
        macAddress: macOf(item.address),
      });
      return { item, nic };
    });
}

function networkOf({ connection, isStarted }: Item): Nic {
  const kind = Object.entries(networkKinds).find(([name]) => name === connection?.toLowerCase())?.[1];
  if (kind !== undefined) return { network: isStarted ? kind : 'unplugged' };
  if (connection === undefined) return { network: isStarted ? 'nat' : 'unplugged' };
  return { network: isStarted ? 'named' : 'unplugged', networkName: connection };
}

function macOf(address: string | undefined): string | undefined {
  const digits = address?.replaceAll(/[:-]/g, '').toLowerCase() ?? '';
  return /^[0-9a-f]{12}$/.test(digits) ? (digits.match(/../g) ?? []).join(':') : undefined;
}
