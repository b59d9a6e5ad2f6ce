import { defined } from '../../defined.ts';
import type { DiskBus, MachineDisk } from '../../model.ts';
import { ownValue } from '../../own-value.ts';
import { anyChild, anyChildren, attributeOf, type XmlElement } from '../xml/tree.ts';
import type { Warnings } from '../xml/warnings.ts';

/** TStorageControllerType. */
const buses: Readonly<Record<string, DiskBus>> = {
  AHCI: 'sata',
  PIIX3: 'ide',
  PIIX4: 'ide',
  ICH6: 'ide',
  LsiLogic: 'scsi',
  LsiLogicSas: 'scsi',
  BusLogic: 'scsi',
  VirtioSCSI: 'scsi',
  NVMe: 'nvme',
  USB: 'usb',
  I82078: 'floppy',
};

const devices: Readonly<Record<string, MachineDisk['device']>> = {
  HardDisk: 'disk',
  DVD: 'cdrom',
  Floppy: 'floppy',
};

/** The engine's names of formats, where they are not VirtualBox's in lower case. */
const formats: Readonly<Record<string, string>> = { parallels: 'parallels', hdd: 'parallels' };

/** An image of the registry. */
interface Medium {
  readonly element: XmlElement;
  readonly location?: string | undefined;
  readonly format?: string | undefined;
  readonly type?: string | undefined;
  /** The image that this one is a difference to. */
  readonly parent?: Medium;
}

/** What is attached to the controllers, in the order of controllers, ports and devices. */
export function readStorage(machine: XmlElement, warnings: Warnings): MachineDisk[] {
  const media = mediaOf(machine);
  return controllersOf(machine).flatMap((controller) => {
    const type = attributeOf(controller, 'type') ?? '';
    const bus = ownValue(buses, type);
    if (bus === undefined) warnings.add(controller, `the controller type ${type} is not in the machine`);
    return anyChildren(controller, 'AttachedDevice')
      .sort((a, b) => placeOf(a) - placeOf(b))
      .flatMap((attached) => readDevice(attached, bus, media, warnings));
  });
}

/** In `Hardware` since VirtualBox 5.2 saves them there, and beside it before. */
function controllersOf(machine: XmlElement): XmlElement[] {
  const lists = [
    anyChild(machine, 'Hardware', 'StorageControllers'),
    anyChild(machine, 'StorageControllers'),
  ];
  return lists.flatMap((list) => (list === undefined ? [] : anyChildren(list, 'StorageController')));
}

/** A port has fewer devices than this. */
const PORT_DEVICES = 1000;

function placeOf(attached: XmlElement): number {
  const number = (name: string) => Number(attributeOf(attached, name) ?? 0) || 0;
  return number('port') * PORT_DEVICES + number('device');
}

/** The images of the registry by their UUIDs; a difference stands inside the image that it is one to. */
function mediaOf(machine: XmlElement): Map<string, Medium> {
  const media = new Map<string, Medium>();
  const registry = anyChild(machine, 'MediaRegistry');
  const add = (element: XmlElement, parent?: Medium) => {
    const medium: Medium = {
      element,
      location: attributeOf(element, 'location'),
      format: attributeOf(element, 'format')?.toLowerCase(),
      type: attributeOf(element, 'type'),
      ...(parent !== undefined && { parent }),
    };
    const uuid = uuidOf(attributeOf(element, 'uuid'));
    if (uuid !== undefined) media.set(uuid, medium);
    for (const child of anyChildren(element, 'HardDisk')) add(child, medium);
  };
  for (const list of registry?.children ?? [])
    for (const element of list.children)
      if (element.name === 'HardDisk' || element.name === 'Image') add(element);
  return media;
}

/** Without braces, in lower case. */
export function uuidOf(text: string | undefined): string | undefined {
  const [, uuid] = /^\{?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?$/i.exec(text ?? '') ?? [];
  return uuid?.toLowerCase();
}

function readDevice(
  attached: XmlElement,
  bus: DiskBus | undefined,
  media: ReadonlyMap<string, Medium>,
  warnings: Warnings,
): MachineDisk[] {
  const device = ownValue(devices, attributeOf(attached, 'type'));
  if (device === undefined) {
    warnings.add(attached, 'a device that is no disk, CD or floppy is not in the machine');
    return [];
  }
  const uuid = uuidOf(attributeOf(anyChild(attached, 'Image'), 'uuid'));
  const medium = uuid === undefined ? undefined : media.get(uuid);
  if (anyChild(attached, 'HostDrive') !== undefined)
    warnings.add(attached, 'a drive of the host is not in the machine: it is empty here');
  if (uuid !== undefined && medium === undefined)
    warnings.add(attached, `the image {${uuid}} is not in the registry of this file: its file is not known`);
  if (medium !== undefined) tellOf(medium, attached, warnings);
  return [
    defined({
      role: device === 'disk' ? ('system' as const) : ('user' as const),
      device,
      path: medium?.location,
      format: formatOf(medium, device),
      bus,
      uuid: device === 'disk' ? uuid : undefined,
      readOnly: device === 'cdrom' || medium?.type === 'Readonly' ? true : undefined,
    }),
  ];
}

function formatOf(medium: Medium | undefined, device: MachineDisk['device']): string | undefined {
  if (medium === undefined) return undefined;
  if (device !== 'disk') return device === 'cdrom' ? 'iso' : 'raw';
  return ownValue(formats, medium.format) ?? medium.format;
}

function tellOf(medium: Medium, attached: XmlElement, warnings: Warnings): void {
  const { element, location, parent, type } = medium;
  if (location === undefined) warnings.add(attached, 'the image has no file that is named');
  if (parent !== undefined)
    warnings.add(
      element,
      `the image is a difference to ${parent.location ?? 'another'}: it is of use with that only`,
    );
  if (type !== undefined && type !== 'Normal' && type !== 'Writethrough' && type !== 'Readonly')
    warnings.add(element, `that the image is ${type} is not in the machine`);
  const isEncrypted = anyChildren(element, 'Property').some((property) =>
    attributeOf(property, 'name')?.startsWith('CRYPT/'),
  );
  if (isEncrypted) warnings.add(element, 'the image is encrypted: it cannot be read here');
}
