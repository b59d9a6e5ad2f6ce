import { ImageError } from '@gantry/disk';
import { defined } from '../../defined.ts';
import { Losses } from '../../losses.ts';
import type { DiskRole, Machine, MachineDisk, MachineFacts, WrittenDescriptor } from '../../model.ts';
import { busOfTarget } from '../../targets.ts';
import { type XmlNode, xml, xmlCharacters, xmlDocument, xmlIf } from '../xml/write.ts';
import {
  checksumDigits,
  diskFormats,
  ownDiskFormats,
  VIRT_IMAGE,
  type VirtImage,
  type VirtImageBoot,
  type VirtImageDisk,
} from './image.ts';
import { defaultBus } from './machine.ts';

const NO_FIELD = 'virt-image has no field for it';
const KIB = 1024;
const MIB: number = 2 ** 20;

type Held =
  | 'name'
  | 'title'
  | 'description'
  | 'architecture'
  | 'firmware'
  | 'cpuCount'
  | 'memoryBytes'
  | 'clock'
  | 'guestType'
  | 'features'
  | 'kernel'
  | 'bootloader'
  | 'disks'
  | 'nics'
  | 'graphics'
  | 'foreign';

/** What the descriptor says nothing about. A field that the model gets has to be put here or written. */
const notHeld: Readonly<Record<Exclude<keyof MachineFacts, Held>, string>> = {
  uuid: NO_FIELD,
  secureBoot: NO_FIELD,
  tpm: NO_FIELD,
  guestOs: NO_FIELD,
  launchOptions: NO_FIELD,
  shapeCompatibilities: NO_FIELD,
  imageCapabilities: NO_FIELD,
};

/**
 * Writes a virt-image descriptor of one boot in its strict form, and with it every field of the machine that is not
 * in it, or not as it was. Throws IMAGE_OPTION where no disk can be said.
 */
export function writeVirtImage(machine: Machine): WrittenDescriptor {
  const losses = new Losses();
  losses.addFields(machine, notHeld);
  const text = virtImageText(virtImageOf(machine, losses));
  return { text, losses: losses.all };
}

/** The text of a descriptor with all that an image holds. */
export function virtImageText(image: VirtImage): string {
  const { name, version, release, label, description, boots, cpuCount, memoryKib } = image;
  return xmlDocument(
    xml('image', {}, [
      xml('name', { version, release }, name ?? ''),
      xmlIf('label', label),
      xmlIf('description', description),
      xml('domain', {}, [
        ...boots.map(bootNode),
        xml('devices', {}, [
          xmlIf('vcpu', cpuCount),
          xmlIf('memory', memoryKib),
          ...Array.from({ length: image.interfaceCount }, () => xml('interface')),
          image.hasGraphics ? xml('graphics') : undefined,
        ]),
      ]),
      xml('storage', {}, image.disks.map(diskNode)),
    ]),
  );
}

function bootNode({ type, architecture, features, drives, ...os }: VirtImageBoot): XmlNode {
  const names = Object.keys(features);
  const ordered = ['pae', 'acpi', 'apic', ...names].filter(
    (name, index, all) => names.includes(name) && all.indexOf(name) === index,
  );
  const loader = xml('loader', { dev: os.bootDevice }, os.loader ?? []);
  return xml('boot', { type }, [
    xml('guest', {}, [
      xml('arch', {}, architecture),
      names.length === 0
        ? undefined
        : xml(
            'features',
            {},
            ordered.map((name) => xml(name, features[name] === 'off' ? { state: 'off' } : {})),
          ),
    ]),
    os.kernel === undefined
      ? xml('os', {}, [loader])
      : xml('os', {}, [
          xml('kernel', {}, os.kernel),
          xmlIf('initrd', os.initrd),
          xmlIf('cmdline', os.commandLine),
        ]),
    ...drives.map(({ disk, target }) => xml('drive', { disk, target })),
  ]);
}

function diskNode({ id, file, use, sizeMib, format, checksums }: VirtImageDisk): XmlNode {
  const sums = Object.entries(checksums).map(([type, digits]) => xml('checksum', { type }, digits));
  return xml('disk', { file, id: id === file ? undefined : id, use, size: sizeMib, format }, sums);
}

function virtImageOf(machine: Machine, losses: Losses): VirtImage {
  const { [VIRT_IMAGE]: own = {}, ...others } = machine.foreign ?? {};
  for (const [name, value] of Object.entries(others))
    losses.add(`foreign.${name}`, value, 'it belongs to another descriptor');
  const disks = disksOf(machine.disks, losses);
  const memoryKib = Math.ceil(machine.memoryBytes / KIB);
  if (memoryKib * KIB !== machine.memoryBytes)
    losses.add('memoryBytes', machine.memoryBytes, `the descriptor has whole KiB, ${memoryKib} of them here`);
  if (machine.firmware !== 'bios')
    losses.add('firmware', machine.firmware, 'a descriptor without a word for it means BIOS');
  if (machine.clock !== 'utc') losses.add('clock', machine.clock, 'guests get a clock in UTC');
  for (const [index, nic] of machine.nics.entries()) {
    const { network, ...rest } = nic;
    if (network !== 'nat' || Object.keys(rest).length > 0)
      losses.add(`nics[${index}]`, nic, 'the descriptor only counts them');
  }
  if (
    machine.graphics !== undefined &&
    Object.keys(machine.graphics).length + Number(machine.graphics.kind !== 'vnc') > 1
  )
    losses.add('graphics', machine.graphics, 'the descriptor only says that there is a screen');
  return {
    ...defined({
      name: cleanName(machine.name, losses),
      version: versionOf(own.version, 'version', losses),
      release: versionOf(own.release, 'release', losses),
      label: cleanText(machine.title, 'title', losses),
      description: cleanText(machine.description, 'description', losses),
    }),
    boots: [bootOf(machine, disks, losses)],
    cpuCount: machine.cpuCount,
    memoryKib,
    interfaceCount: machine.nics.length,
    hasGraphics: machine.graphics !== undefined,
    disks: disks.filter((disk) => disk !== undefined),
  };
}

/** At the places of the machine's disks; undefined for those that cannot be said. */
function disksOf(disks: readonly MachineDisk[], losses: Losses): (VirtImageDisk | undefined)[] {
  const files = new Set<string>();
  const held = disks.map((disk, index) => {
    const path = `disks[${index}]`;
    const isTwice = disk.path !== undefined && files.has(disk.path);
    if (disk.path !== undefined) files.add(disk.path);
    if (!isTwice) return diskOf(disk, path, losses);
    losses.add(path, disk, 'another disk has the same file');
    return undefined;
  });
  if (held.some((disk) => disk !== undefined)) return held;
  throw new ImageError('IMAGE_OPTION', 'virt-image has at least one disk, and none of these can be said', {
    structure: 'machine disks',
    hint: 'put the disks into the folder of the descriptor, under names of plain letters',
  });
}

function cleanName(name: string, losses: Losses): string {
  const clean = name.replaceAll(/[^A-Za-z0-9_.+:/-]/gu, '_');
  if (clean !== name)
    losses.add('name', name, `a name has the letters A-Z a-z 0-9 _ . + - : / only, ${clean} here`);
  return clean;
}

function cleanText(text: string | undefined, field: string, losses: Losses): string | undefined {
  const clean = text === undefined ? undefined : xmlCharacters(text);
  if (clean !== text) losses.add(field, text, 'XML has no place for some of its characters');
  return clean || undefined;
}

function versionOf(value: unknown, field: string, losses: Losses): string | undefined {
  if (typeof value === 'string' && /^[0-9]+(?:\.[0-9]+)*(?:-[0-9]+)?$/.test(value)) return value;
  losses.add(`foreign.${VIRT_IMAGE}.${field}`, value, 'it is no version such as 1.2 or 1.2-3');
  return undefined;
}

function bootOf(
  machine: Machine,
  disks: readonly (VirtImageDisk | undefined)[],
  losses: Losses,
): VirtImageBoot {
  const { guestType: type = 'hvm', features = {}, kernel, bootloader } = machine;
  const isPygrub = bootloader === 'pygrub' && type === 'xen' && kernel === undefined;
  if (!isPygrub)
    losses.add('bootloader', bootloader, 'the descriptor knows pygrub of Xen only, and no kernel beside it');
  const drives = machine.disks.flatMap((disk, index) => {
    const held = disks[index];
    if (held === undefined) return [];
    const prefixBus = disk.target === undefined ? undefined : busOfTarget(disk.target);
    const written =
      disk.target !== undefined && /^[A-Za-z0-9_.:/-]+$/.test(disk.target) ? disk.target : undefined;
    if (written !== disk.target)
      losses.add(`disks[${index}].target`, disk.target, 'it is no name of a device');
    if (disk.bus !== (prefixBus ?? defaultBus(type)))
      losses.add(`disks[${index}].bus`, disk.bus, 'the descriptor has no word for it beside the target');
    return [defined({ disk: held.id, target: written })];
  });
  return defined({
    type,
    architecture: machine.architecture,
    features: Object.fromEntries(
      Object.entries(features).map(([name, isOn]) => [name, isOn ? ('on' as const) : ('off' as const)]),
    ),
    loader: isPygrub ? ('pygrub' as const) : undefined,
    bootDevice: bootDeviceOf(machine, disks, losses),
    ...kernelOf(machine, losses),
    drives,
  });
}

function kernelOf(
  { kernel }: Machine,
  losses: Losses,
): Pick<VirtImageBoot, 'kernel' | 'initrd' | 'commandLine'> {
  if (kernel === undefined) return {};
  const { path, initrdPath, commandLine } = kernel;
  const isWritable = isStrictPath(path) && (initrdPath === undefined || isStrictPath(initrdPath));
  if (isWritable)
    return defined({
      kernel: path,
      initrd: initrdPath,
      commandLine: cleanText(commandLine, 'kernel.commandLine', losses),
    });
  losses.add('kernel', kernel, 'its paths are not relative paths of plain letters');
  return {};
}

/** The two orders that there are: a disc and then a hard disk, or a hard disk alone. */
function bootDeviceOf(
  { disks: all, guestType, kernel }: Machine,
  written: readonly (VirtImageDisk | undefined)[],
  losses: Losses,
): 'hd' | 'cdrom' | undefined {
  if (guestType === 'xen' || kernel !== undefined) {
    for (const [index, { bootOrder }] of all.entries())
      losses.add(`disks[${index}].bootOrder`, bootOrder, 'no firmware looks for what to start');
    return undefined;
  }
  const held = all
    .map((disk, index) => ({ disk, index }))
    .filter(({ index }) => written[index] !== undefined);
  const firstOf = (device: MachineDisk['device']) => held.find(({ disk }) => disk.device === device)?.index;
  const ordered = held
    .filter(({ disk }) => disk.bootOrder !== undefined)
    .sort((a, b) => Number(a.disk.bootOrder) - Number(b.disk.bootOrder));
  const device = ordered[0]?.disk.device === 'cdrom' ? 'cdrom' : 'hd';
  const expected = (device === 'cdrom' ? [firstOf('cdrom'), firstOf('disk')] : [firstOf('disk')]).filter(
    (index) => index !== undefined,
  );
  for (const { disk, index } of ordered) {
    if (disk.bootOrder !== expected.indexOf(index) + 1 || expected.length < ordered.length)
      losses.add(
        `disks[${index}].bootOrder`,
        disk.bootOrder,
        'the descriptor starts from a disc, and then from the first disk',
      );
  }
  return device;
}

function diskOf(disk: MachineDisk, path: string, losses: Losses): VirtImageDisk | undefined {
  const { path: file, device, role, format, virtualSizeBytes, readOnly, uuid, checksums = {} } = disk;
  if (file === undefined || device === 'floppy' || !isStrictPath(file)) {
    const why = file === undefined ? 'it has no file' : 'its path is no relative path of plain letters';
    losses.add(path, disk, device === 'floppy' ? 'the descriptor has no floppy disks' : why);
    return undefined;
  }
  const written = device === 'cdrom' ? 'iso' : (format ?? 'raw');
  if (!diskFormats.includes(written) || (device === 'disk' && written === 'iso')) {
    losses.add(path, disk, `the descriptor has no format ${written} of disks`);
    return undefined;
  }
  if (device === 'cdrom' && format !== 'iso') losses.add(`${path}.format`, format, 'a disc is an iso');
  if (ownDiskFormats.includes(written))
    losses.add(
      `${path}.format`,
      format,
      'only Gantry reads this word; the tools that made virt-image do not',
    );
  losses.add(`${path}.uuid`, uuid, NO_FIELD);
  if (readOnly !== (device === 'cdrom' ? true : undefined))
    losses.add(`${path}.readOnly`, readOnly, 'discs are read only, and disks are not');
  return {
    id: file,
    file,
    use: role satisfies DiskRole,
    ...sizeOf(virtualSizeBytes, `${path}.virtualSizeBytes`, losses),
    format: written,
    checksums: checksumsOf(checksums, `${path}.checksums`, losses),
  };
}

function sizeOf(bytes: number | undefined, field: string, losses: Losses): { sizeMib?: number } {
  if (bytes === undefined) return {};
  const sizeMib = Math.max(1, Math.ceil(bytes / MIB));
  if (sizeMib * MIB !== bytes)
    losses.add(field, bytes, `the descriptor has whole MiB, ${sizeMib} of them here`);
  return { sizeMib };
}

function checksumsOf(
  checksums: Readonly<Record<string, string>>,
  field: string,
  losses: Losses,
): Record<string, string> {
  const entries = Object.entries(checksums);
  const known = entries.filter(([type, digits]) => {
    const count = checksumDigits[type];
    const isKnown = count === digits.length && /^[0-9a-f]*$/.test(digits);
    if (!isKnown) losses.add(`${field}.${type}`, digits, 'the descriptor has sha1 and sha256 only');
    return isKnown;
  });
  return Object.fromEntries(known);
}

function isStrictPath(path: string): boolean {
  return /^[A-Za-z0-9_.+%-][A-Za-z0-9_.+%/-]*$/.test(path);
}
