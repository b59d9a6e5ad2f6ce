import { ImageError } from '@gantry/disk';
import { isArchitecture } from '../../architectures.ts';
import { defined } from '../../defined.ts';
import type { HostGuest } from '../../host/host.ts';
import type {
  DescriptorReading,
  DiskBus,
  DiskRole,
  MachineDisk,
  MachineFacts,
  MachineFeatures,
} from '../../model.ts';
import { busOfTarget, type TargetConflict, targetsFor } from '../../targets.ts';
import { atPlace } from '../xml/read.ts';
import {
  VIRT_IMAGE,
  type VirtImage,
  type VirtImageBoot,
  type VirtImageBootType,
  type VirtImageDisk,
} from './image.ts';
import { readVirtImage } from './read.ts';

/**
 * What a guest gets of `pae`, `acpi` and `apic` where the descriptor says nothing. `host-default`: what the
 * hypervisor gives by itself, as the tools that made the format did. `off`: nothing that can be switched off, as
 * their manual page has it.
 */
export type OmittedFeatures = 'host-default' | 'off';

export interface VirtImageMachineOptions {
  /** Default: the first boot. */
  readonly bootIndex?: number | undefined;
  /** The guest of a host that the boot was matched with; it knows which features can be switched. */
  readonly guest?: HostGuest | undefined;
  readonly omittedFeatures?: OmittedFeatures | undefined;
  /** What messages call the descriptor. */
  readonly file?: string | undefined;
}

const MIB: number = 2 ** 20;

/** What a disk without a target is attached to. */
export function defaultBus(type: VirtImageBootType): DiskBus {
  return type === 'xen' ? 'xen' : 'ide';
}

/** Reads a descriptor as a machine, by its first boot; that there are others is a warning. */
export function readVirtImageMachine(bytes: Uint8Array, file = 'descriptor'): DescriptorReading {
  const { image, warnings } = readVirtImage(bytes, file);
  const [first, second] = image.boots;
  if (first === undefined) {
    throw new ImageError('IMAGE_MALFORMED', `${file}: the descriptor has no <boot>`, {
      structure: 'virt-image descriptor',
      hint: 'a machine needs at least one way to boot',
    });
  }
  const others = atPlace(file, second?.place, 'this boot and those after it are not in the machine');
  return {
    facts: virtImageFacts(image, { file }),
    warnings: second === undefined ? warnings : [...warnings, others],
  };
}

/**
 * The machine that one boot of an image makes. Paths stay as the descriptor has them. Throws IMAGE_MALFORMED for
 * targets that cannot be, IMAGE_UNSUPPORTED for an architecture that is not known, IMAGE_OPTION for a boot that is
 * not there.
 */
export function virtImageFacts(image: VirtImage, options: VirtImageMachineOptions = {}): MachineFacts {
  const { bootIndex = 0, file = 'descriptor' } = options;
  const boot = requireBoot(image, bootIndex);
  const { type, architecture, kernel, initrd, commandLine, loader } = boot;
  if (!isArchitecture(architecture)) {
    throw new ImageError('IMAGE_UNSUPPORTED', atPlace(file, boot.place, `no machine is ${architecture}`), {
      structure: 'virt-image boot',
    });
  }
  const foreign = defined({ version: image.version, release: image.release });
  return defined({
    name: image.name,
    title: image.label,
    description: image.description,
    architecture,
    firmware: 'bios' as const,
    guestType: type === 'xen' ? ('xen' as const) : undefined,
    features: featuresOf(boot, options),
    kernel: kernel === undefined ? undefined : defined({ path: kernel, initrdPath: initrd, commandLine }),
    bootloader: type === 'xen' && kernel === undefined ? loader : undefined,
    cpuCount: image.cpuCount,
    memoryBytes: image.memoryKib === undefined ? undefined : image.memoryKib * 1024,
    disks: disksOf(image, boot, file),
    nics: Array.from({ length: image.interfaceCount }, () => ({ network: 'nat' as const })),
    graphics: image.hasGraphics ? { kind: 'vnc' as const } : undefined,
    foreign: Object.keys(foreign).length > 0 ? { [VIRT_IMAGE]: foreign } : undefined,
  });
}

/** The boot of this number, from 0. Throws IMAGE_OPTION with the numbers that there are. */
export function requireBoot({ boots }: VirtImage, index: number): VirtImageBoot {
  const boot = boots[index];
  if (boot !== undefined) return boot;
  const there = boots.length === 0 ? 'the descriptor has no boots' : `the boots are 0 to ${boots.length - 1}`;
  throw new ImageError('IMAGE_OPTION', `there is no boot ${index}: ${there}`, {
    structure: 'virt-image boot',
    hint: 'choose another one, or none to take the first that fits the host',
  });
}

function featuresOf(
  { type, features }: VirtImageBoot,
  { guest, omittedFeatures = 'host-default' }: VirtImageMachineOptions,
): MachineFeatures | undefined {
  const state = (name: keyof MachineFeatures): boolean | undefined => {
    const said = features[name];
    if (said !== undefined) return said === 'on';
    if (omittedFeatures === 'off') {
      const canBeOff = guest === undefined || guest.features.get(name)?.includes('off') === true;
      return type === 'hvm' && canBeOff ? false : undefined;
    }
    // Old tools gave PAE to every guest of a host that knows of it.
    return name === 'pae' && type === 'hvm' && guest?.features.has('pae') === true ? true : undefined;
  };
  const all = defined({ pae: state('pae'), acpi: state('acpi'), apic: state('apic') });
  return Object.keys(all).length > 0 ? all : undefined;
}

function disksOf(image: VirtImage, boot: VirtImageBoot, file: string): MachineDisk[] {
  const { drives, type, kernel } = boot;
  const byId = new Map(image.disks.map((disk) => [disk.id, disk]));
  const disks = drives.map(({ disk }) => byId.get(disk));
  const wishes = drives.map(({ target }, index) => ({
    device: deviceOf(disks[index]),
    bus: (target === undefined ? undefined : busOfTarget(target)) ?? defaultBus(type),
    target,
  }));
  const targets = targetsFor(wishes, (conflict) => conflictError(conflict, boot, file));
  const order =
    type === 'hvm' && kernel === undefined
      ? bootOrder(
          boot,
          wishes.map(({ device }) => device),
        )
      : [];
  return wishes.map(({ device, bus }, index) => {
    const { file: path, format, use = 'system', sizeMib, checksums = {} } = disks[index] ?? {};
    return defined({
      role: roleOf(use),
      device,
      path,
      format: format === 'vpc' ? 'vhd' : format,
      virtualSizeBytes: sizeMib === undefined ? undefined : Math.ceil(sizeMib * MIB),
      bus,
      target: targets[index],
      bootOrder: order.includes(index) ? order.indexOf(index) + 1 : undefined,
      readOnly: device === 'cdrom' ? true : undefined,
      checksums: Object.keys(checksums).length > 0 ? checksums : undefined,
    });
  });
}

function deviceOf(disk: VirtImageDisk | undefined): 'disk' | 'cdrom' {
  return disk?.format === 'iso' ? 'cdrom' : 'disk';
}

function roleOf(use: string): DiskRole {
  return use === 'system' || use === 'scratch' ? use : 'user';
}

/** The disc drive first when it is asked for, and then the first hard disk. */
function bootOrder({ bootDevice }: VirtImageBoot, devices: readonly MachineDisk['device'][]): number[] {
  const first = bootDevice === 'cdrom' ? devices.indexOf('cdrom') : -1;
  return [first, devices.indexOf('disk')].filter((index) => index >= 0);
}

function conflictError(
  { index, otherIndex, message }: TargetConflict,
  boot: VirtImageBoot,
  file: string,
): ImageError {
  const other = otherIndex === undefined ? undefined : boot.drives[otherIndex]?.place;
  const where = other === undefined ? '' : `, first at ${other.line}:${other.column}`;
  return new ImageError('IMAGE_MALFORMED', atPlace(file, boot.drives[index]?.place, message + where), {
    structure: 'virt-image drive',
    hint: 'give each drive of a boot a target of its own',
  });
}
