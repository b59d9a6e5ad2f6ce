import { ImageError } from '@gantry/disk';
import { qemuProgram } from '../../host/qemu.ts';
import { Losses } from '../../losses.ts';
import type { Loss, Machine, MachineFacts, Nic, NicModel } from '../../model.ts';
import { type Board, boardOf, bootPlaces, type PlacedDisk, placeDisks } from '../../placement.ts';
import { targetIndex } from '../../targets.ts';
import type { DefinedMachine } from '../driver.ts';
import { attachedNodes, diskNodes, imageNode, type Json, nodesOf, topOf } from './disk-nodes.ts';

/** Code and variables of UEFI, as files; the variables are written to. */
export interface UefiFiles {
  readonly codePath: string;
  readonly variablesPath: string;
  /** Default `raw`. */
  readonly format?: 'raw' | 'qcow2' | undefined;
  /** Whether the code guards its variables in the system management mode, which the board has to have then. */
  readonly requiresSmm?: boolean | undefined;
  /** Whether the code starts signed boot loaders only; absent: not known. */
  readonly secureBoot?: boolean | undefined;
}

export interface QemuCommandOptions {
  /** Default `tcg`, which every host has. */
  readonly accelerator?: 'kvm' | 'tcg' | undefined;
  /** The program; by the architecture when not given. */
  readonly program?: string | undefined;
  /** A listening socket on which somebody speaks QMP; QEMU connects to it. */
  readonly qmpSocketPath?: string | undefined;
  /** Needed for a machine with UEFI. */
  readonly uefi?: UefiFiles | undefined;
  /** Where the first serial port goes: standard output, or nowhere (default). */
  readonly serial?: 'stdout' | 'none' | undefined;
  /** For a machine that goes on by itself, whoever has started it; `serial` and `qmpSocketPath` are not used then. */
  readonly detached?: DetachedOptions | undefined;
}

/** Where QEMU is spoken to: it listens itself, so that whoever may enter the folder of the sockets may speak. */
export interface DetachedOptions {
  /** Each takes one conversation in QMP at a time. */
  readonly qmpSocketPaths: readonly string[];
  readonly serialSocketPath: string;
  /** What the guest writes to its first serial port, from the start on. */
  readonly serialLogPath: string;
  readonly screenSocketPath: string;
  readonly agentSocketPath: string;
  readonly pidFilePath: string;
  /** Whether QEMU gives up the system calls that it does not need; not every build of it can. */
  readonly sandbox: boolean;
}

export interface QemuCommand {
  readonly program: string;
  /** One word each, for `spawn`; no shell reads them. */
  readonly args: readonly string[];
  /** What of the machine is not in the command, or not as it was. */
  readonly losses: readonly Loss[];
}

const NO_OPTION = 'QEMU has no option for it';
const KIB = 1024;

type Held =
  | 'name'
  | 'uuid'
  | 'architecture'
  | 'firmware'
  | 'cpuCount'
  | 'memoryBytes'
  | 'clock'
  | 'guestType'
  | 'features'
  | 'kernel'
  | 'disks'
  | 'nics'
  | 'graphics'
  | 'secureBoot';

/** What is not said to QEMU. A field that the model gets has to be put here or used below. */
const notHeld: Readonly<Record<Exclude<keyof MachineFacts, Held>, string>> = {
  title: 'QEMU has a name only',
  description: 'QEMU has a name only',
  tpm: 'it needs a program of its own, swtpm',
  bootloader: 'only Xen starts it',
  guestOs: NO_OPTION,
  launchOptions: NO_OPTION,
  shapeCompatibilities: NO_OPTION,
  imageCapabilities: NO_OPTION,
  foreign: 'it belongs to another descriptor',
};

/**
 * The command that runs a machine with QEMU. Every image is opened with its format said, so that QEMU never guesses;
 * a disk without one is raw. What comes from the machine stands in JSON or in words of a known form, so that no comma
 * or quote in a name means something. Throws IMAGE_UNSUPPORTED for machines that QEMU does not run, IMAGE_OPTION.
 */
export function qemuCommand(
  machine: DefinedMachine | Machine,
  options: QemuCommandOptions = {},
): QemuCommand {
  const { accelerator = 'tcg', program = qemuProgram(machine.architecture), detached } = options;
  const losses = new Losses();
  losses.addFields(machine, notHeld);
  if (machine.guestType === 'xen') {
    throw new ImageError('IMAGE_UNSUPPORTED', 'QEMU runs no paravirtualised guests of Xen', {
      structure: 'machine guestType',
      hint: 'define it on a Xen host through libvirt, or choose a boot of the type hvm',
    });
  }
  const board = boardOf(machine);
  const args = [
    '-nodefaults',
    '-no-user-config',
    ['-name', `guest=${doubledCommas(requireName(machine.name))}`],
    machine.uuid === undefined ? [] : ['-uuid', requireUuid(machine.uuid)],
    ['-machine', boardOption(machine, board, accelerator, options.uefi)],
    options.uefi?.requiresSmm === true ? ['-global', 'driver=cfi.pflash01,property=secure,value=on'] : [],
    ['-cpu', cpuOption(machine, accelerator, losses)],
    ['-smp', String(machine.cpuCount)],
    ['-m', `${Math.ceil(machine.memoryBytes / KIB)}k`],
    ['-rtc', machine.clock === 'local' ? 'base=localtime' : 'base=utc'],
    ['-boot', 'strict=on'],
    firmwareArgs(machine, options.uefi, losses),
    kernelArgs(machine),
    // Disks come last, so that the places of the other devices do not change with their number.
    screenArgs(machine, board, losses, detached),
    machine.nics.map((nic, index) => nicArgs(nic, index, board, losses)),
    detached === undefined ? attachedArgs(options) : detachedArgs(detached, machine, board),
    ['-monitor', 'none'],
    diskArgs(machine, board, losses, detached !== undefined),
  ];
  return { program, args: args.flat(3), losses: losses.all };
}

/** QEMU that ends with whoever has started it. */
function attachedArgs({ serial, qmpSocketPath }: QemuCommandOptions): string[] {
  return [
    ...(serial === 'stdout'
      ? ['-chardev', 'stdio,id=serial0,signal=off', '-serial', 'chardev:serial0']
      : ['-serial', 'none']),
    ...(qmpSocketPath === undefined
      ? []
      : monitorArgs(`socket,id=qmp0,path=${doubledCommas(qmpSocketPath)}`, 'qmp0')),
  ];
}

function monitorArgs(chardev: string, id: string): string[] {
  return ['-chardev', chardev, '-mon', `chardev=${id},mode=control`];
}

/** The name of the port in which a guest's agent looks for its host (qemu-ga, `--path`). */
const AGENT_PORT = 'org.qemu.guest_agent.0';
/** How many disks a guest on PCI Express can get while it runs. */
export const HOTPLUG_PORT_COUNT = 8;

/** Whether the board's own PCI bus takes no device while the guest runs. */
export function hasHotplugPorts(board: Board): boolean {
  return board === 'q35' || board === 'virt';
}

/**
 * QEMU waits before the guest's first instruction, until it is told to go on, and stays when the guest has ended, so
 * that whoever comes later learns how.
 */
function detachedArgs(options: DetachedOptions, machine: Machine, board: Board): string[] {
  const { serialSocketPath, serialLogPath, agentSocketPath, pidFilePath, qmpSocketPaths } = options;
  const listening = (id: string, path: string) =>
    `socket,id=${id},path=${doubledCommas(path)},server=on,wait=off`;
  const serial = `${listening('serial0', serialSocketPath)},logfile=${doubledCommas(serialLogPath)},logappend=on`;
  return [
    ...['-S', '-action', 'shutdown=pause', '-pidfile', pidFilePath],
    ...(options.sandbox ? ['-sandbox', sandboxOption(machine)] : []),
    ...['-chardev', serial, '-serial', 'chardev:serial0'],
    ...qmpSocketPaths.flatMap((path, index) => monitorArgs(listening(`qmp${index}`, path), `qmp${index}`)),
    ...['-chardev', listening('agent0', agentSocketPath)],
    ...['-device', board === 's390-ccw-virtio' ? 'virtio-serial-ccw' : 'virtio-serial-pci'],
    ...json('-device', { driver: 'virtserialport', chardev: 'agent0', name: AGENT_PORT }),
    ...Array.from({ length: hasHotplugPorts(board) ? HOTPLUG_PORT_COUNT : 0 }, (_, index) =>
      json('-device', { driver: 'pcie-root-port', id: `hotplug${index}`, chassis: index + 1 }),
    ).flat(),
  ];
}

/** A bridge is entered by a program of QEMU's that runs as root, which a stricter sandbox would not let it start. */
function sandboxOption({ nics }: Machine): string {
  const needsHelper = nics.some(
    ({ network, networkName }) => network === 'bridged' && networkName !== undefined,
  );
  const always = 'on,obsolete=deny,resourcecontrol=deny';
  return needsHelper ? always : `${always},elevateprivileges=deny,spawn=deny`;
}

/** In `-name` and `-chardev` a comma ends the value, unless there are two. */
function doubledCommas(text: string): string {
  return text.replaceAll(',', ',,');
}

function json(option: string, value: { readonly [name: string]: Json | undefined }): string[] {
  return [option, JSON.stringify(value)];
}

function requireName(name: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: no argument of a program can have it
  if (!/\u0000/.test(name) && name.length <= 255) return name;
  throw refusedOption('name', 'QEMU takes names of up to 255 characters, and no NUL');
}

function requireUuid(uuid: string): string {
  if (/^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/.test(uuid)) return uuid;
  throw refusedOption('uuid', `${JSON.stringify(uuid)} is no UUID`);
}

function refusedOption(field: string, message: string): ImageError {
  return new ImageError('IMAGE_OPTION', message, {
    structure: `machine ${field}`,
    hint: `give the machine another ${field}`,
  });
}

function boardOption(
  { features = {} }: Machine,
  board: Board,
  accelerator: 'kvm' | 'tcg',
  uefi: UefiFiles | undefined,
): string {
  const hasAcpi = board === 'pc' || board === 'q35' || board === 'virt';
  const acpi = hasAcpi && features.acpi !== undefined ? `,acpi=${features.acpi ? 'on' : 'off'}` : '';
  const flash = uefi === undefined ? '' : ',pflash0=firmware-code,pflash1=firmware-variables';
  const smm = uefi?.requiresSmm === true ? ',smm=on' : '';
  return `${board},accel=${accelerator}${acpi}${smm}${flash}`;
}

/** What the host's processor can, or all that QEMU can imitate: today's systems need more than QEMU's own default. */
function cpuOption(
  { architecture, features = {} }: Machine,
  accelerator: 'kvm' | 'tcg',
  losses: Losses,
): string {
  const model =
    accelerator === 'kvm'
      ? 'host'
      : architecture === 'ppc64' || architecture === 'ppc64le'
        ? 'power9'
        : 'max';
  const isX86 = architecture === 'x86_64' || architecture === 'i686';
  const flags = (['pae', 'apic'] as const).map((name) => {
    const isOn = features[name];
    if (!isX86) losses.add(`features.${name}`, isOn, 'only x86 has it');
    return isX86 && isOn !== undefined ? `,${name}=${isOn ? 'on' : 'off'}` : '';
  });
  return `${model}${flags.join('')}`;
}

function firmwareArgs(machine: Machine, uefi: UefiFiles | undefined, losses: Losses): string[] {
  const { firmware, architecture, secureBoot } = machine;
  if (secureBoot !== uefi?.secureBoot)
    losses.add('secureBoot', secureBoot, 'the files of the firmware decide');
  if (firmware !== 'uefi') return [];
  if (uefi === undefined) {
    throw new ImageError(
      'IMAGE_OPTION',
      `a machine with UEFI needs the firmware for ${architecture} as files`,
      {
        structure: 'machine firmware',
        hint: 'install them: apt-get install ovmf (for ARM qemu-efi-aarch64); or give the code and a copy of the variables',
      },
    );
  }
  const file = (filename: string): Json => ({ driver: 'file', filename });
  const driver = uefi.format ?? 'raw';
  return [
    ...json('-blockdev', {
      'node-name': 'firmware-code',
      driver,
      'read-only': true,
      file: file(uefi.codePath),
    }),
    ...json('-blockdev', {
      'node-name': 'firmware-variables',
      driver,
      file: file(uefi.variablesPath),
    }),
  ];
}

function kernelArgs({ kernel }: Machine): string[] {
  if (kernel === undefined) return [];
  const { path, initrdPath, commandLine } = kernel;
  if (initrdPath?.includes(','))
    throw refusedOption(
      'kernel.initrdPath',
      'QEMU would read a comma in the path of an initrd as the start of another',
    );
  return [
    ...['-kernel', plainPath(path)],
    ...(initrdPath === undefined ? [] : ['-initrd', plainPath(initrdPath)]),
    ...(commandLine === undefined ? [] : ['-append', commandLine]),
  ];
}

/** With a folder in front, so that no name is read as an option. */
function plainPath(path: string): string {
  return path.startsWith('/') ? path : `./${path}`;
}

function diskArgs(
  machine: DefinedMachine | Machine,
  board: Board,
  losses: Losses,
  isDetached: boolean,
): string[] {
  const disks = placeDisks(machine, board, losses);
  const places = bootPlaces(machine, losses);
  const controllers = new Set(disks.map(({ bus }) => bus));
  const slots = new Slots();
  const isCcw = board === 's390-ccw-virtio';
  return [
    ...(controllers.has('sata') && board !== 'q35' ? ['-device', 'ich9-ahci,id=sata'] : []),
    ...(controllers.has('scsi') ? ['-device', `virtio-scsi-${isCcw ? 'ccw' : 'pci'},id=scsi`] : []),
    ...(controllers.has('usb') ? ['-device', 'qemu-xhci,id=usb'] : []),
    ...(controllers.has('floppy') && board === 'q35' ? ['-device', 'isa-fdc,id=floppy'] : []),
    ...disks.flatMap((placed) => {
      const { disk, index, bus } = placed;
      const nodes = isDetached && disk.path !== undefined ? diskNodes(disk) : attachedNodes(index);
      const device = deviceOf(placed, board, slots);
      const bootindex = places.get(index);
      const image = disk.path === undefined ? undefined : imageNode(disk, index, losses);
      return [
        ...(image === undefined ? [] : nodesOf(disk, nodes, image)).flatMap((node) =>
          json('-blockdev', node),
        ),
        ...floppyOrder(device, bootindex),
        ...json('-device', {
          ...device,
          id: nodes.device,
          drive: image === undefined ? undefined : topOf(nodes),
          bootindex: bus === 'floppy' ? undefined : bootindex,
        }),
      ];
    }),
  ];
}

/** Of floppy drives the controller knows the order. */
function floppyOrder(
  { driver, unit }: { readonly [name: string]: Json },
  place: number | undefined,
): string[] {
  if (driver !== 'floppy' || place === undefined) return [];
  return ['-global', `isa-fdc.bootindex${unit === 0 ? 'A' : 'B'}=${place}`];
}

/** Hands out the places of controllers: those of IDE follow the names, others come one after the other. */
class Slots {
  readonly #next = new Map<string, number>();

  next(bus: string): number {
    const slot = this.#next.get(bus) ?? 0;
    this.#next.set(bus, slot + 1);
    return slot;
  }
}

const SATA_PORTS = 6;

function deviceOf(
  { disk, bus, target, index }: PlacedDisk,
  board: Board,
  slots: Slots,
): { readonly [name: string]: Json } {
  const isCdrom = disk.device === 'cdrom';
  const serial = `disk${index}`;
  switch (bus) {
    case 'ide': {
      const slot = targetIndex(target) ?? 0;
      return { driver: isCdrom ? 'ide-cd' : 'ide-hd', bus: `ide.${Math.floor(slot / 2)}`, unit: slot % 2 };
    }
    case 'sata': {
      const port = slots.next(bus);
      if (port >= SATA_PORTS) throw refusedOption('disks', `there are ${SATA_PORTS} places for SATA disks`);
      return { driver: isCdrom ? 'ide-cd' : 'ide-hd', bus: board === 'q35' ? `ide.${port}` : `sata.${port}` };
    }
    case 'scsi':
      return { driver: isCdrom ? 'scsi-cd' : 'scsi-hd', bus: 'scsi.0', 'scsi-id': slots.next(bus) };
    case 'usb':
      return { driver: 'usb-storage', bus: 'usb.0' };
    case 'nvme':
      return { driver: 'nvme', serial };
    case 'floppy':
      return { driver: 'floppy', unit: slots.next(bus) };
    default:
      return { driver: board === 's390-ccw-virtio' ? 'virtio-blk-ccw' : 'virtio-blk-pci' };
  }
}

const nicDrivers: Readonly<Record<NicModel, string>> = {
  virtio: 'virtio-net-pci',
  e1000: 'e1000',
  e1000e: 'e1000e',
  rtl8139: 'rtl8139',
  vmxnet3: 'vmxnet3',
  pcnet: 'pcnet',
};

function nicArgs(
  { network, networkName, model, macAddress }: Nic,
  index: number,
  board: Board,
  losses: Losses,
): string[] {
  const field = `nics[${index}]`;
  const id = `net${index}`;
  const isX86 = board === 'pc' || board === 'q35';
  const driver = isX86
    ? nicDrivers[model ?? 'e1000']
    : board === 's390-ccw-virtio'
      ? 'virtio-net-ccw'
      : 'virtio-net-pci';
  if (!isX86 && model !== 'virtio') losses.add(`${field}.model`, model, 'such a machine gets virtio');
  const isBridge = network === 'bridged' && networkName !== undefined;
  if (!isBridge) losses.add(`${field}.networkName`, networkName, 'QEMU knows bridges by their names only');
  if (network === 'named' || (network === 'bridged' && !isBridge))
    losses.add(`${field}.network`, network, 'it has no bridge that QEMU is told: user networking here');
  const netdev: readonly string[] =
    network === 'unplugged'
      ? []
      : isBridge
        ? json('-netdev', { type: 'bridge', id, br: networkName })
        : json('-netdev', { type: 'user', id, restrict: network === 'isolated' ? true : undefined });
  const device = {
    driver,
    netdev: network === 'unplugged' ? undefined : id,
    mac: requireMac(macAddress, field),
    // Nothing is started from a network: what could do that would only take its time.
    romfile: driver.endsWith('-ccw') ? undefined : '',
  };
  return [...netdev, ...json('-device', device)];
}

function requireMac(address: string | undefined, field: string): string | undefined {
  if (address === undefined || /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(address)) return address;
  throw refusedOption(`${field}.macAddress`, `${JSON.stringify(address)} is no address of a NIC`);
}

/** QEMU counts displays from this port. */
const VNC_PORT_MIN = 5900;

function screenArgs(
  { graphics }: Machine,
  board: Board,
  losses: Losses,
  detached: DetachedOptions | undefined,
): string[] {
  if (graphics === undefined) return ['-display', 'none'];
  const { kind, port, listenAddress = '127.0.0.1', keymap } = graphics;
  const video =
    board === 'pc' || board === 'q35'
      ? ['-device', 'VGA']
      : ['-device', board === 's390-ccw-virtio' ? 'virtio-gpu-ccw' : 'virtio-gpu-pci'];
  if (kind === 'window' && detached === undefined) return [...video, '-display', 'gtk'];
  if (kind !== 'vnc') losses.add('graphics.kind', kind, 'the screen is shown by VNC here');
  const hasKeymap = keymap !== undefined && /^[\w-]{1,32}$/.test(keymap);
  if (!hasKeymap) losses.add('graphics.keymap', keymap, 'it is no name of a keymap');
  const keymapArgs = hasKeymap ? ['-k', keymap] : [];
  if (detached !== undefined) {
    losses.add('graphics.listenAddress', graphics.listenAddress, 'the screen is at a socket of this host');
    losses.add('graphics.port', port, 'the screen is at a socket of this host');
    return [...video, '-display', `vnc=unix:${doubledCommas(detached.screenSocketPath)}`, ...keymapArgs];
  }
  if (!/^[0-9a-zA-Z.:-]{0,253}$/.test(listenAddress))
    throw refusedOption(
      'graphics.listenAddress',
      `${JSON.stringify(listenAddress)} is no address to listen on`,
    );
  const hasPort = port !== undefined && port >= VNC_PORT_MIN && port <= 65535;
  if (!hasPort) losses.add('graphics.port', port, `ports of screens are from ${VNC_PORT_MIN}`);
  const host = listenAddress.includes(':') ? `[${listenAddress}]` : listenAddress;
  const display = hasPort ? `${host}:${port - VNC_PORT_MIN}` : `${host}:0,to=99`;
  return [...video, '-display', `vnc=${display}`, ...keymapArgs];
}
