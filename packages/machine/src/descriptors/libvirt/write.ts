import { ImageError } from '@gantry/disk';
import { isDevicePath } from '../../device-path.ts';
import { Losses } from '../../losses.ts';
import type { Graphics, Machine, MachineFacts, Nic, WrittenDescriptor } from '../../model.ts';
import { type Board, boardOf, bootPlaces, type PlacedDisk, placeDisks } from '../../placement.ts';
import { type XmlNode, xml, xmlCharacters, xmlDocument, xmlIf } from '../xml/write.ts';
import { driverTypes, featureNames, libvirtBuses, missingBuses } from './words.ts';

export interface LibvirtDomainOptions {
  /** Who runs it. Default `kvm`. */
  readonly domainType?: 'kvm' | 'qemu' | 'xen' | 'test' | undefined;
  /** The program, where libvirt should not choose it. */
  readonly emulator?: string | undefined;
  /** Where the first serial port is, and what is written to it from each start on. Default: a terminal of libvirt's. */
  readonly serial?: { readonly socketPath: string; readonly logPath: string } | undefined;
  /** A port for an agent in the guest. */
  readonly agent?: boolean | undefined;
}

type DomainType = NonNullable<LibvirtDomainOptions['domainType']>;

const NO_FIELD = 'domain XML has no element for it';
const KIB = 1024;

type Held =
  | 'name'
  | 'uuid'
  | 'title'
  | 'description'
  | 'architecture'
  | 'firmware'
  | 'secureBoot'
  | 'tpm'
  | 'cpuCount'
  | 'memoryBytes'
  | 'clock'
  | 'guestType'
  | 'features'
  | 'kernel'
  | 'bootloader'
  | 'disks'
  | 'nics'
  | 'graphics';

/** What domain XML says nothing about. A field that the model gets has to be put here or written. */
const notHeld: Readonly<Record<Exclude<keyof MachineFacts, Held>, string>> = {
  guestOs: NO_FIELD,
  launchOptions: NO_FIELD,
  shapeCompatibilities: NO_FIELD,
  imageCapabilities: NO_FIELD,
  foreign: 'it belongs to another descriptor',
};

/**
 * Writes the machine as domain XML of libvirt, for QEMU and KVM, or Xen. `losses` names every field that is not in
 * it, or not as it was. Paths have to be absolute. Throws IMAGE_OPTION for paths that are not, IMAGE_UNSUPPORTED for
 * machines and images that libvirt does not run.
 */
export function writeLibvirtDomain(machine: Machine, options: LibvirtDomainOptions = {}): WrittenDescriptor {
  const losses = new Losses();
  losses.addFields(machine, notHeld);
  const { domainType = machine.guestType === 'xen' ? 'xen' : 'kvm' } = options;
  const text = xmlDocument(domainNode(machine, domainType, options, losses));
  return { text, losses: losses.all };
}

function domainNode(
  machine: Machine,
  type: DomainType,
  { emulator, serial, agent = false }: LibvirtDomainOptions,
  losses: Losses,
): XmlNode {
  const { uuid, description, cpuCount, clock, guestType = 'hvm' } = machine;
  const isXenGuest = guestType === 'xen';
  if (isXenGuest && type !== 'xen' && type !== 'test') {
    throw new ImageError('IMAGE_UNSUPPORTED', `${type} runs no paravirtualised guests of Xen`, {
      structure: 'machine guestType',
      hint: 'define it on a Xen host, or choose a boot of the type hvm',
    });
  }
  if (isXenGuest && machine.architecture !== 'x86_64' && machine.architecture !== 'i686') {
    throw new ImageError('IMAGE_UNSUPPORTED', `Xen runs no ${machine.architecture} guests of the type xen`, {
      structure: 'machine architecture',
      hint: 'choose a boot of the type hvm',
    });
  }
  const board = isXenGuest ? ('xen' as const) : boardOf(machine);
  const disks = placeDisks(machine, board, losses, missingBuses);
  const memoryKib = Math.ceil(machine.memoryBytes / KIB);
  if (memoryKib * KIB !== machine.memoryBytes)
    losses.add('memoryBytes', machine.memoryBytes, `libvirt has whole KiB, ${memoryKib} of them here`);
  return xml('domain', { type }, [
    xml('name', {}, nameOf(machine.name, losses)),
    xmlIf('uuid', uuid),
    xmlIf('title', lineOf(machine.title, 'title', losses)),
    xmlIf('description', textOf(description, 'description', losses)),
    xml('memory', { unit: 'KiB' }, memoryKib),
    xml('vcpu', {}, cpuCount),
    ...osNodes(machine, type, board, losses),
    featuresNode(machine, losses),
    isXenGuest || type !== 'kvm' ? undefined : xml('cpu', { mode: 'host-model' }),
    xml('clock', { offset: clock === 'local' ? 'localtime' : 'utc' }),
    xml('on_poweroff', {}, 'destroy'),
    xml('on_reboot', {}, 'restart'),
    xml('on_crash', {}, 'restart'),
    xml('devices', {}, [
      xmlIf('emulator', emulator),
      ...diskNodes(machine, disks, type, losses),
      disks.some(({ bus }) => bus === 'scsi') && !isXenGuest
        ? xml('controller', { type: 'scsi', index: 0, model: 'virtio-scsi' })
        : undefined,
      ...machine.nics.map((nic, index) => nicNode(nic, `nics[${index}]`, losses)),
      ...consoleNodes(isXenGuest, serial),
      agent
        ? xml('channel', { type: 'unix' }, [xml('target', { type: 'virtio', name: AGENT_PORT })])
        : undefined,
      ...screenNodes(machine.graphics, board, losses),
      machine.tpm === true
        ? xml('tpm', { model: 'tpm-crb' }, [xml('backend', { type: 'emulator', version: '2.0' })])
        : undefined,
    ]),
  ]);
}

/** libvirt refuses slashes, line ends and names of blanks. */
function nameOf(name: string, losses: Losses): string {
  const clean = xmlCharacters(name).replaceAll(/[/\s\u007f-\u009f\u2028\u2029]/g, '_');
  if (clean !== name)
    losses.add('name', name, `names of libvirt have no blanks, slashes and odd characters: ${clean} here`);
  return clean;
}

function textOf(text: string | undefined, field: string, losses: Losses): string | undefined {
  const clean = text === undefined ? undefined : xmlCharacters(text);
  if (clean !== text) losses.add(field, text, 'XML has no place for some of its characters');
  return clean || undefined;
}

function lineOf(text: string | undefined, field: string, losses: Losses): string | undefined {
  const clean = text === undefined ? undefined : xmlCharacters(text).replaceAll(/[\r\n]/g, ' ');
  if (clean !== text) losses.add(field, text, 'it is one line in libvirt, of characters that XML has');
  return clean || undefined;
}

function osNodes(
  machine: Machine,
  type: DomainType,
  board: Board | 'xen',
  losses: Losses,
): (XmlNode | undefined)[] {
  const { architecture, guestType, firmware, secureBoot, kernel, bootloader } = machine;
  const isXenGuest = guestType === 'xen';
  const isEfi = firmware === 'uefi' && !isXenGuest;
  if (firmware === 'uefi' && !isEfi) losses.add('firmware', firmware, 'a paravirtualised guest has none');
  if (!isEfi) losses.add('secureBoot', secureBoot, 'only UEFI has it');
  if (bootloader !== undefined && !isXenGuest)
    losses.add('bootloader', bootloader, 'only guests of Xen are started by it');
  const machineType = isXenGuest || type === 'test' ? undefined : board;
  const secure =
    isEfi && secureBoot !== undefined
      ? xml('firmware', {}, [xml('feature', { enabled: secureBoot ? 'yes' : 'no', name: 'secure-boot' })])
      : undefined;
  return [
    bootloader === undefined || !isXenGuest ? undefined : xml('bootloader', {}, loaderPath(bootloader)),
    xml('os', { firmware: isEfi ? 'efi' : undefined }, [
      xml('type', { arch: architecture, machine: machineType }, isXenGuest ? 'xen' : 'hvm'),
      secure,
      ...(kernel === undefined
        ? []
        : [
            xml('kernel', {}, absolute(kernel.path, 'kernel.path')),
            xmlIf(
              'initrd',
              kernel.initrdPath === undefined ? undefined : absolute(kernel.initrdPath, 'kernel.initrdPath'),
            ),
            xmlIf('cmdline', textOf(kernel.commandLine, 'kernel.commandLine', losses)),
          ]),
    ]),
  ];
}

function loaderPath(bootloader: string): string {
  return bootloader === 'pygrub' ? '/usr/bin/pygrub' : absolute(bootloader, 'bootloader');
}

/** Without an element a guest has no ACPI and no APIC; most expect both. */
function featuresNode(
  { architecture, guestType, features = {} }: Machine,
  losses: Losses,
): XmlNode | undefined {
  const isX86 = architecture === 'x86_64' || architecture === 'i686';
  const byDefault = {
    pae: false,
    acpi: guestType !== 'xen' && (isX86 || architecture === 'aarch64'),
    apic: guestType !== 'xen',
  };
  const nodes = featureNames.flatMap((name) => {
    if (!isX86 && name !== 'acpi') {
      losses.add(`features.${name}`, features[name], 'only x86 has it');
      return [];
    }
    return (features[name] ?? byDefault[name]) ? [xml(name)] : [];
  });
  return nodes.length === 0 ? undefined : xml('features', {}, nodes);
}

function diskNodes(
  machine: Machine,
  disks: readonly PlacedDisk[],
  type: DomainType,
  losses: Losses,
): XmlNode[] {
  const places = bootPlaces(machine, losses);
  return disks.map(({ disk, index, bus, target }) => {
    const { device, path, format, role, virtualSizeBytes, uuid, checksums, readOnly } = disk;
    const field = `disks[${index}]`;
    if (role === 'user') losses.add(`${field}.role`, role, 'libvirt knows disks that stay and scratch disks');
    if (role === 'scratch' && device !== 'disk')
      losses.add(`${field}.role`, role, 'only disks can be for scratch');
    losses.add(`${field}.virtualSizeBytes`, virtualSizeBytes, 'the file has its own size');
    losses.add(`${field}.uuid`, uuid, NO_FIELD);
    losses.add(`${field}.checksums`, checksums, NO_FIELD);
    if (device === 'cdrom' && readOnly === false)
      losses.add(`${field}.readOnly`, readOnly, 'a disc is read only');
    const order = places.get(index);
    const isDevice = path !== undefined && isDevicePath(path);
    return xml('disk', { type: isDevice ? 'block' : 'file', device }, [
      driverNode(format, field, type),
      path === undefined
        ? undefined
        : xml('source', { [isDevice ? 'dev' : 'file']: absolute(path, `${field}.path`) }),
      xml('target', { dev: target, bus: bus === 'nvme' ? undefined : libvirtBuses[bus] }),
      order === undefined ? undefined : xml('boot', { order }),
      readOnly === true || device === 'cdrom' ? xml('readonly') : undefined,
      role === 'scratch' && device === 'disk' ? xml('transient') : undefined,
    ]);
  });
}

function driverNode(format: string | undefined, field: string, type: DomainType): XmlNode | undefined {
  if (format === undefined) return undefined;
  const driver = driverTypes[format];
  if (driver === undefined) {
    throw new ImageError('IMAGE_UNSUPPORTED', `${field} is ${format}, which libvirt has no word for`, {
      structure: `machine ${field}.format`,
      hint: 'convert the image to qcow2 or raw',
    });
  }
  return type === 'xen' || type === 'test' ? undefined : xml('driver', { name: 'qemu', type: driver });
}

function absolute(path: string, field: string): string {
  if (path.startsWith('/') && path.length > 1 && xmlCharacters(path) === path && !/[\r\n]/.test(path))
    return path;
  throw new ImageError('IMAGE_OPTION', `libvirt takes no such path: ${JSON.stringify(path)}`, {
    structure: `machine ${field}`,
    hint: 'give an absolute path without control characters; gantry machine plan --for libvirt makes those of a descriptor absolute',
  });
}

function nicNode({ network, networkName, model, macAddress }: Nic, field: string, losses: Losses): XmlNode {
  const isNamed = (network === 'named' || network === 'bridged') && isNetworkName(networkName);
  if (!isNamed)
    losses.add(`${field}.networkName`, networkName, 'the kind of the network has no name, or not such a one');
  if ((network === 'named' || network === 'bridged') && !isNamed)
    losses.add(`${field}.network`, network, 'it has no name that libvirt takes: user networking here');
  if (network === 'isolated')
    losses.add(
      `${field}.network`,
      network,
      'libvirt has isolated networks by name only: the cable is out here',
    );
  const isUnicast = macAddress === undefined || /^[0-9a-f][02468ace](?::[0-9a-f]{2}){5}$/.test(macAddress);
  if (!isUnicast) losses.add(`${field}.macAddress`, macAddress, 'it is no address of one NIC');
  const kind = isNamed ? (network === 'named' ? 'network' : 'bridge') : 'user';
  return xml('interface', { type: kind }, [
    macAddress === undefined || !isUnicast ? undefined : xml('mac', { address: macAddress }),
    isNamed ? xml('source', { [kind]: networkName }) : undefined,
    model === undefined ? undefined : xml('model', { type: model }),
    network === 'unplugged' || network === 'isolated' ? xml('link', { state: 'down' }) : undefined,
  ]);
}

function isNetworkName(name: string | undefined): name is string {
  return name !== undefined && /^[A-Za-z0-9_.:-]{1,64}$/.test(name);
}

/** The port in which a guest's agent looks for its host. */
const AGENT_PORT = 'org.qemu.guest_agent.0';

function consoleNodes(isXenGuest: boolean, serial: LibvirtDomainOptions['serial']): XmlNode[] {
  if (serial !== undefined && !isXenGuest) {
    return [
      xml('serial', { type: 'unix' }, [
        xml('source', { mode: 'bind', path: absolute(serial.socketPath, 'serial') }),
        xml('log', { file: absolute(serial.logPath, 'serial'), append: 'off' }),
        xml('target', { port: 0 }),
      ]),
    ];
  }
  if (isXenGuest) return [xml('console', { type: 'pty' }, [xml('target', { type: 'xen' })])];
  return [
    xml('serial', { type: 'pty' }, [xml('target', { port: 0 })]),
    xml('console', { type: 'pty' }, [xml('target', { type: 'serial', port: 0 })]),
  ];
}

/** QEMU counts displays from this port. */
const VNC_PORT_MIN = 5900;

function screenNodes(
  graphics: Graphics | undefined,
  board: Board | 'xen',
  losses: Losses,
): (XmlNode | undefined)[] {
  if (graphics === undefined) return [];
  const { kind, listenAddress, port, keymap } = graphics;
  const type = kind === 'window' ? 'sdl' : kind;
  const isListening = type !== 'sdl';
  const hasPort = isListening && port !== undefined && port >= VNC_PORT_MIN;
  const hasAddress =
    isListening && listenAddress !== undefined && /^[0-9a-zA-Z.-]{1,253}$/.test(listenAddress);
  const hasKeymap =
    (type === 'vnc' || type === 'spice') && keymap !== undefined && /^[\w-]{1,32}$/.test(keymap);
  if (!hasPort) losses.add('graphics.port', port, `ports of screens are from ${VNC_PORT_MIN}`);
  if (!hasAddress) losses.add('graphics.listenAddress', listenAddress, 'it is no address to listen on');
  if (!hasKeymap) losses.add('graphics.keymap', keymap, 'it is no name of a keymap, or not for this kind');
  const isX86 = board === 'pc' || board === 'q35';
  return [
    xml('graphics', {
      type,
      port: hasPort ? port : isListening ? -1 : undefined,
      autoport: isListening ? (hasPort ? 'no' : 'yes') : undefined,
      listen: hasAddress ? listenAddress : undefined,
      keymap: hasKeymap ? keymap : undefined,
    }),
    board === 'xen' ? undefined : xml('video', {}, [xml('model', { type: isX86 ? 'vga' : 'virtio' })]),
  ];
}
