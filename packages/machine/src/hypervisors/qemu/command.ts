import { ImageError } from '@gantry/disk';
import { qemuProgram } from '../../host/qemu.ts';
import { Losses } from '../../losses.ts';
import type { Loss, Machine, MachineFacts, Nic, NicModel } from '../../model.ts';
import { type Board, boardOf, bootPlaces, type PlacedDisk, placeDisks } from '../../placement.ts';
import { targetIndex } from '../../targets.ts';

/** Code and variables of UEFI, as files; the variables are written to. */
export interface UefiFiles {
  readonly codePath: string;
  readonly variablesPath: string;
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
}

export interface QemuCommand {
  readonly program: string;
  /** One word each, for `spawn`; no shell reads them. */
  readonly args: readonly string[];
  /** What of the machine is not in the command, or not as it was. */
  readonly losses: readonly Loss[];
}

type Json = string | number | boolean | { readonly [name: string]: Json };

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
  | 'graphics';

/** What is not said to QEMU. A field that the model gets has to be put here or used below. */
const notHeld: Readonly<Record<Exclude<keyof MachineFacts, Held>, string>> = {
  title: 'QEMU has a name only',
  description: 'QEMU has a name only',
  secureBoot: 'the files of the firmware decide',
  tpm: 'it needs a program of its own, swtpm',
  bootloader: 'only Xen starts it',
  guestOs: NO_OPTION,
  launchOptions: NO_OPTION,
  shapeCompatibilities: NO_OPTION,
  imageCapabilities: NO_OPTION,
  foreign: 'it belongs to another descriptor',
};

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

/**
 * The command that runs a machine with QEMU. Every image is opened with its format said, so that QEMU never guesses;
 * a disk without one is raw. What comes from the machine stands in JSON or in words of a known form, so that no comma
 * or quote in a name means something. Throws IMAGE_UNSUPPORTED for machines that QEMU does not run, IMAGE_OPTION.
 */
export function qemuCommand(machine: Machine, options: QemuCommandOptions = {}): QemuCommand {
  const {
    accelerator = 'tcg',
    program = qemuProgram(machine.architecture),
    qmpSocketPath,
    serial = 'none',
  } = options;
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
    ['-cpu', cpuOption(machine, accelerator, losses)],
    ['-smp', String(machine.cpuCount)],
    ['-m', `${Math.ceil(machine.memoryBytes / KIB)}k`],
    ['-rtc', machine.clock === 'local' ? 'base=localtime' : 'base=utc'],
    ['-boot', 'strict=on'],
    firmwareArgs(machine, options.uefi),
    kernelArgs(machine),
    diskArgs(machine, board, losses),
    machine.nics.map((nic, index) => nicArgs(nic, index, board, losses)),
    screenArgs(machine, board, losses),
    serial === 'stdout'
      ? ['-chardev', 'stdio,id=serial0,signal=off', '-serial', 'chardev:serial0']
      : ['-serial', 'none'],
    ['-monitor', 'none'],
    qmpSocketPath === undefined
      ? []
      : [
          '-chardev',
          `socket,id=qmp0,path=${doubledCommas(qmpSocketPath)}`,
          '-mon',
          'chardev=qmp0,mode=control',
        ],
  ];
  return { program, args: args.flat(3), losses: losses.all };
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
  return `${board},accel=${accelerator}${acpi}${flash}`;
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

function firmwareArgs({ firmware, architecture }: Machine, uefi: UefiFiles | undefined): string[] {
  if (firmware !== 'uefi') return [];
  if (uefi === undefined) {
    throw new ImageError(
      'IMAGE_OPTION',
      `a machine with UEFI needs the firmware for ${architecture} as files`,
      {
        structure: 'machine firmware',
        hint: 'give the code of the firmware and a copy of its variables: OVMF_CODE.fd and OVMF_VARS.fd of the package ovmf',
      },
    );
  }
  const file = (filename: string): Json => ({ driver: 'file', filename });
  return [
    ...json('-blockdev', {
      'node-name': 'firmware-code',
      driver: 'raw',
      'read-only': true,
      file: file(uefi.codePath),
    }),
    ...json('-blockdev', {
      'node-name': 'firmware-variables',
      driver: 'raw',
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

function diskArgs(machine: Machine, board: Board, losses: Losses): string[] {
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
      const node = `disk${placed.index}`;
      const device = deviceOf(placed, board, slots);
      const bootindex = places.get(placed.index);
      const drive = placed.disk.path === undefined ? undefined : node;
      return [
        ...(placed.disk.path === undefined ? [] : imageArgs(placed, node, losses)),
        ...floppyOrder(device, bootindex),
        ...json('-device', {
          ...device,
          id: `device${placed.index}`,
          drive,
          bootindex: placed.bus === 'floppy' ? undefined : bootindex,
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

function imageArgs({ disk, index }: PlacedDisk, node: string, losses: Losses): string[] {
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
  const isReadOnly = device === 'cdrom' || readOnly === true;
  const file: Json = { driver: path.startsWith('/dev/') ? 'host_device' : 'file', filename: path };
  return json('-blockdev', {
    'node-name': node,
    driver,
    'read-only': isReadOnly,
    // Freed clusters go back to the host.
    discard: 'unmap',
    file,
  });
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
  };
  return [...netdev, ...json('-device', device)];
}

function requireMac(address: string | undefined, field: string): string | undefined {
  if (address === undefined || /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(address)) return address;
  throw refusedOption(`${field}.macAddress`, `${JSON.stringify(address)} is no address of a NIC`);
}

/** QEMU counts displays from this port. */
const VNC_PORT_MIN = 5900;

function screenArgs({ graphics }: Machine, board: Board, losses: Losses): string[] {
  if (graphics === undefined) return ['-display', 'none'];
  const { kind, port, listenAddress = '127.0.0.1', keymap } = graphics;
  const video =
    board === 'pc' || board === 'q35'
      ? ['-device', 'VGA']
      : ['-device', board === 's390-ccw-virtio' ? 'virtio-gpu-ccw' : 'virtio-gpu-pci'];
  if (kind === 'window') return [...video, '-display', 'gtk'];
  if (kind !== 'vnc') losses.add('graphics.kind', kind, 'the screen is shown by VNC here');
  if (!/^[0-9a-zA-Z.:-]{0,253}$/.test(listenAddress))
    throw refusedOption(
      'graphics.listenAddress',
      `${JSON.stringify(listenAddress)} is no address to listen on`,
    );
  const hasPort = port !== undefined && port >= VNC_PORT_MIN && port <= 65535;
  if (!hasPort) losses.add('graphics.port', port, `ports of screens are from ${VNC_PORT_MIN}`);
  const host = listenAddress.includes(':') ? `[${listenAddress}]` : listenAddress;
  const display = hasPort ? `${host}:${port - VNC_PORT_MIN}` : `${host}:0,to=99`;
  const hasKeymap = keymap !== undefined && /^[\w-]{1,32}$/.test(keymap);
  if (!hasKeymap) losses.add('graphics.keymap', keymap, 'it is no name of a keymap');
  return [...video, '-display', `vnc=${display}`, ...(hasKeymap ? ['-k', keymap] : [])];
}
