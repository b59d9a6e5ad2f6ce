import type { Losses } from '../../losses.ts';
import type { Machine, MachineDisk } from '../../model.ts';
import { type XmlNode, xml, xmlCharacters } from '../xml/write.ts';
import { formatOf } from './envelope.ts';
import { SUBSTITUTE_BUS } from './own.ts';
import { isMadeAnew, type PlacedDevices, type PlacedDrive, type PlacedNic } from './place.ts';

/** The section of this project: what OVF has no place for. `osType`: VMware's word for the system, beside it. */
export function ownNode(
  machine: Machine,
  osType: string,
  { drives, nics }: PlacedDevices,
  losses: Losses,
): XmlNode {
  const { architecture, bootloader, clock, features, graphics, guestOs, guestType, kernel, uuid } = machine;
  const text = (value: string | undefined, field: string) => plain(value, field, losses);
  return xml(
    'gantry:MachineSection',
    {
      'ovf:required': 'false',
      uuid: text(uuid, 'uuid'),
      architecture,
      clock,
      osType,
      guestType: guestType === 'xen' ? guestType : undefined,
      bootloader: text(bootloader, 'bootloader'),
    },
    [
      xml('Info', {}, 'What Gantry knows of the machine'),
      features && xml('gantry:Features', states(features)),
      kernel &&
        xml(
          'gantry:Kernel',
          { path: text(kernel.path, 'kernel.path'), initrd: text(kernel.initrdPath, 'kernel.initrdPath') },
          text(kernel.commandLine, 'kernel.commandLine') ?? [],
        ),
      guestOs &&
        xml('gantry:GuestOs', {
          family: guestOs.family,
          name: text(guestOs.name, 'guestOs.name'),
          version: text(guestOs.version, 'guestOs.version'),
        }),
      graphics &&
        xml('gantry:Graphics', {
          kind: graphics.kind,
          listenAddress: text(graphics.listenAddress, 'graphics.listenAddress'),
          port: graphics.port,
          keymap: text(graphics.keymap, 'graphics.keymap'),
        }),
      ...drives.map((drive) => diskNode(drive, losses)),
      ...nics.map((nic) => nicNode(nic, losses)),
    ],
  );
}

function states(features: NonNullable<Machine['features']>): Record<string, string | undefined> {
  return Object.fromEntries(
    Object.entries(features)
      .filter(([, isOn]) => isOn !== undefined)
      .map(([name, isOn]) => [name, isOn ? 'on' : 'off']),
  );
}

function diskNode({ disk, index, item, bus }: PlacedDrive, losses: Losses): XmlNode {
  const { bootOrder, checksums = {}, path, readOnly, role, target, uuid } = disk;
  const field = `disks[${index}]`;
  const isReplaced = bus === SUBSTITUTE_BUS && disk.bus !== bus;
  return xml(
    'gantry:Disk',
    {
      item,
      role,
      bus: isReplaced ? disk.bus : undefined,
      target: plain(target, `${field}.target`, losses),
      bootOrder,
      readOnly: readOnly === undefined ? undefined : String(readOnly),
      path: isMadeAnew(disk) ? path : undefined,
      // What follows is true of this file only.
      file: isMadeAnew(disk) ? undefined : path,
      format: formatToSay(disk),
      uuid: plain(uuid, `${field}.uuid`, losses),
    },
    Object.entries(checksums).flatMap(([type, digits]) => {
      const isPlain = /^[a-z0-9-]+$/.test(type) && /^[0-9a-f]+$/.test(digits);
      if (!isPlain)
        losses.add(`${field}.checksums.${type}`, digits, 'it is no checksum in hexadecimal digits');
      return isPlain ? [xml('gantry:Checksum', { type }, digits)] : [];
    }),
  );
}

/** The format where the rest of the descriptor does not say it. */
function formatToSay({ device, format, path }: MachineDisk): string | undefined {
  if (format === undefined) return undefined;
  if (device !== 'disk')
    return path !== undefined && format === (device === 'cdrom' ? 'iso' : 'raw') ? undefined : format;
  return formatOf(format, path) === format ? undefined : format;
}

function nicNode({ nic, index, item, connection }: PlacedNic, losses: Losses): XmlNode {
  const { model, network, networkName } = nic;
  return xml('gantry:Nic', {
    item,
    connection,
    network,
    networkName: plain(networkName, `nics[${index}].networkName`, losses),
    model,
  });
}

/** A text that XML holds; what it does not is told. */
function plain(value: string | undefined, field: string, losses: Losses): string | undefined {
  const clean = value === undefined ? undefined : xmlCharacters(value);
  if (clean !== value) losses.add(field, value, 'XML has no place for some of its characters');
  return clean || undefined;
}
