import { randomUUID } from 'node:crypto';
import { ImageError } from '@gantry/disk';
import { Losses } from '../../losses.ts';
import type { Machine, WrittenDescriptor } from '../../model.ts';
import { type XmlNode, xml, xmlDocument, xmlIf } from '../xml/write.ts';
import type { Adapter } from './adapters.ts';
import { type Hardware, hardwareOf } from './hardware.ts';
import { refused, requireUuid } from './require.ts';
import type { Controller, Device } from './storage.ts';

/** Of VirtualBox 5.1: everything since reads it, and writes it anew in its own version when it changes something. */
const SETTINGS_VERSION = '1.16';

/** A medium of the registry: an image, under the UUID that stands inside it where its format has one. */
interface Medium {
  readonly uuid: string;
  readonly location: string;
  readonly kind: Device['kind'];
  readonly format?: string;
}

const deviceTypes: Readonly<Record<Device['kind'], string>> = {
  disk: 'HardDisk',
  cdrom: 'DVD',
  floppy: 'Floppy',
};

/**
 * Writes a settings file of VirtualBox (`NAME.vbox`), to be registered with `VBoxManage registervm`. Each hard disk
 * needs its format and the UUID that stands inside it (VMDK: `ddb.uuid.image`), since VirtualBox compares them; a
 * relative path is relative to the settings file. Machine and adapters get fresh identifiers where they have none.
 * Throws IMAGE_OPTION and IMAGE_UNSUPPORTED: ARM machines cannot be described in this version.
 */
export function writeVirtualBoxSettings(machine: Machine): WrittenDescriptor {
  const losses = new Losses();
  const hardware = hardwareOf(machine, losses);
  if (hardware.platform !== 'x86') {
    throw new ImageError(
      'IMAGE_UNSUPPORTED',
      `settings of version ${SETTINGS_VERSION} are for x86 machines`,
      {
        structure: 'machine architecture',
        hint: 'create the machine with the script of VBoxManage commands',
      },
    );
  }
  const media = mediaOf(hardware.controllers);
  const { description, name, osType, uuid } = hardware;
  const text = xmlDocument(
    xml('VirtualBox', { xmlns: 'http://www.virtualbox.org/', version: SETTINGS_VERSION }, [
      xml('Machine', { uuid: braced(uuid), name, OSType: osType, snapshotFolder: 'Snapshots' }, [
        registryNode([...media.values()]),
        xmlIf('Description', description),
        hardwareNode(hardware),
        xml(
          'StorageControllers',
          {},
          hardware.controllers.map((controller) => controllerNode(controller, media)),
        ),
      ]),
    ]),
  );
  return { text, losses: losses.all };
}

/** The media by the devices that hold them; a UUID stands in the registry once. */
function mediaOf(controllers: readonly Controller[]): Map<Device, Medium> {
  const media = new Map<Device, Medium>();
  const uuids = new Set<string>();
  for (const device of controllers.flatMap(({ devices }) => devices)) {
    const { disk, index, kind } = device;
    if (disk.path === undefined) continue;
    const field = `disks[${index}]`;
    if (kind === 'disk' && disk.format === undefined)
      throw refused(`${field}.format`, 'it is not said', 'say which format the image has');
    if (kind === 'disk' && disk.uuid === undefined) {
      const hint = 'give the one that stands inside the image: ddb.uuid.image of a VMDK';
      throw refused(`${field}.uuid`, 'it is not said', hint);
    }
    const uuid = disk.uuid === undefined ? randomUUID() : requireUuid(disk.uuid, `${field}.uuid`);
    if (uuids.has(uuid)) {
      const hint = 'write one of the images anew: each conversion has a UUID of its own';
      throw refused(`${field}.uuid`, `${uuid} is that of another image`, hint);
    }
    uuids.add(uuid);
    const format = kind === 'disk' ? disk.format?.toUpperCase() : undefined;
    media.set(device, { uuid, location: disk.path, kind, ...(format !== undefined && { format }) });
  }
  return media;
}

function registryNode(media: readonly Medium[]): XmlNode {
  const images = (kind: Device['kind']) =>
    media
      .filter((medium) => medium.kind === kind)
      .map(({ uuid, location }) => xml('Image', { uuid: braced(uuid), location }));
  const disks = media
    .filter(({ kind }) => kind === 'disk')
    .map(({ uuid, location, format }) =>
      xml('HardDisk', { uuid: braced(uuid), location, format, type: 'Normal' }),
    );
  return xml('MediaRegistry', {}, [
    xml('HardDisks', {}, disks),
    xml('DVDImages', {}, images('cdrom')),
    xml('FloppyImages', {}, images('floppy')),
  ]);
}

function hardwareNode(hardware: Hardware): XmlNode {
  const { adapters, boot, clock, cpuCount, firmware, is64Bit, memoryMib } = hardware;
  const switched = (name: string, enabled: boolean) => xml(name, { enabled: String(enabled) });
  const order = Array.from({ length: 4 }, (_, i) =>
    xml('Order', { position: i + 1, device: boot[i]?.type ?? 'None' }),
  );
  return xml('Hardware', {}, [
    xml('CPU', { count: cpuCount }, [switched('PAE', true), switched('LongMode', is64Bit)]),
    xml('Memory', { RAMSize: memoryMib }),
    xml('Firmware', { type: firmware === 'uefi' ? 'EFI' : 'BIOS' }),
    xml('Boot', {}, order),
    xml('Display', { VRAMSize: 16 }),
    xml('BIOS', {}, [switched('ACPI', true), switched('IOAPIC', true)]),
    xml('Network', {}, adapters.map(adapterNode)),
    xml('AudioAdapter', { enabled: 'false', driver: 'Null' }),
    xml('RTC', { localOrUTC: clock === 'utc' ? 'UTC' : 'local' }),
  ]);
}

const networkElements: Readonly<Record<Adapter['network'], string | undefined>> = {
  nat: 'NAT',
  bridged: 'BridgedInterface',
  named: 'NATNetwork',
  isolated: 'InternalNetwork',
  unplugged: undefined,
};

function adapterNode({ address, network, networkName, type }: Adapter, slot: number): XmlNode {
  const element = networkElements[network];
  const cable = String(network !== 'unplugged');
  return xml('Adapter', { slot, enabled: 'true', MACAddress: address, cable, type }, [
    element === undefined ? undefined : xml(element, { name: networkName }),
  ]);
}

/** As VirtualBox sets it for new controllers: the old ones, whose guests wait for each write. */
const hostCached: readonly string[] = ['PIIX4', 'I82078'];

function controllerNode(controller: Controller, media: ReadonlyMap<Device, Medium>): XmlNode {
  const { devices, name, portCount, type } = controller;
  const useHostIOCache = String(hostCached.includes(type));
  return xml(
    'StorageController',
    { name, type, PortCount: portCount, useHostIOCache, Bootable: 'true' },
    devices.map((device) => {
      const uuid = media.get(device)?.uuid;
      return xml(
        'AttachedDevice',
        { type: deviceTypes[device.kind], port: device.port, device: device.device },
        [uuid === undefined ? undefined : xml('Image', { uuid: braced(uuid) })],
      );
    }),
  );
}

function braced(uuid: string): string {
  return `{${uuid}}`;
}
