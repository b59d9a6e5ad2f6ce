import { randomUUID } from 'node:crypto';
import { ImageError } from '@gantry/disk';
import { osFamilyOf } from '../../guest-os.ts';
import type { Losses } from '../../losses.ts';
import type { Firmware, Graphics, GuestOs, Machine, MachineFacts } from '../../model.ts';
import { type Adapter, adaptersOf } from './adapters.ts';
import { type ChosenOsType, osTypeOf } from './os-types.ts';
import { requireName, requireText, requireUuid } from './require.ts';
import { type BootDevice, bootDevices, type Controller, controllersOf } from './storage.ts';

/** VirtualBox-settings.xsd, TMemory and TCPUCount. */
const MEMORY_MIB = { min: 4, max: 2_097_152 };
const CPU_COUNT_MAX = 64;
const MIB: number = 2 ** 20;

/** A machine as VirtualBox has it. */
export interface Hardware {
  readonly name: string;
  readonly uuid: string;
  readonly description?: string;
  readonly platform: 'x86' | 'arm';
  readonly is64Bit: boolean;
  readonly osType: string;
  readonly firmware: Firmware;
  readonly cpuCount: number;
  readonly memoryMib: number;
  readonly clock: Machine['clock'];
  readonly boot: readonly BootDevice[];
  readonly adapters: readonly Adapter[];
  readonly controllers: readonly Controller[];
}

const CLOUD = 'VirtualBox launches no instances';
const BY_HAND = 'it is switched on by hand: VBoxManage';

type Held =
  | 'name'
  | 'uuid'
  | 'description'
  | 'architecture'
  | 'firmware'
  | 'cpuCount'
  | 'memoryBytes'
  | 'clock'
  | 'guestOs'
  | 'disks'
  | 'nics'
  | 'graphics'
  | 'secureBoot'
  | 'tpm';

/** What VirtualBox has no place for. A field that the model gets has to be put here or used below. */
const notHeld: Readonly<Record<Exclude<keyof MachineFacts, Held>, string>> = {
  title: 'VirtualBox has a name and a description',
  guestType: 'the guest of VirtualBox sees a whole machine',
  features: 'VirtualBox chooses them by the operating system',
  kernel: 'VirtualBox starts what the disks hold',
  bootloader: 'VirtualBox starts what the disks hold',
  launchOptions: CLOUD,
  shapeCompatibilities: CLOUD,
  imageCapabilities: CLOUD,
  foreign: 'it belongs to another descriptor',
};

/**
 * The machine in VirtualBox's terms, with fresh identifiers where it has none. Throws IMAGE_OPTION for texts and
 * UUIDs that VirtualBox refuses, IMAGE_UNSUPPORTED for processors and images that it does not have.
 */
export function hardwareOf(machine: Machine, losses: Losses): Hardware {
  losses.addFields(machine, notHeld);
  const { architecture, description, guestOs = {}, uuid } = machine;
  const platform = architecture === 'aarch64' ? 'arm' : 'x86';
  const osType = osTypeOf(guestOs, architecture);
  if (osType === undefined) throw noProcessor(architecture);
  tellOsLosses(guestOs, osType, losses);
  tellGraphicsLosses(machine.graphics, losses);
  if (machine.secureBoot) losses.add('secureBoot', true, `${BY_HAND} modifynvram ID secureboot --enable`);
  if (machine.tpm) losses.add('tpm', true, `${BY_HAND} modifyvm ID --tpm-type 2.0`);
  return {
    name: requireName(machine.name),
    uuid: uuid === undefined ? randomUUID() : requireUuid(uuid, 'uuid'),
    ...(description !== undefined && { description: requireText(description, 'description') }),
    platform,
    is64Bit: architecture !== 'i686',
    osType: osType.id,
    firmware: firmwareOf(machine, losses),
    cpuCount: cpuCountOf(machine, losses),
    memoryMib: memoryOf(machine, losses),
    clock: machine.clock,
    boot: bootDevices(machine.disks, losses),
    adapters: adaptersOf(machine.nics, losses),
    controllers: controllersOf(machine.disks, platform, losses),
  };
}

function tellOsLosses({ family, name, version }: GuestOs, osType: ChosenOsType, losses: Losses): void {
  const why = `VirtualBox is told ${osType.id}`;
  if (osType.tells === 'family') losses.add('guestOs.name', name, why);
  else if (name !== undefined && osFamilyOf({ name }) !== family) losses.add('guestOs.family', family, why);
  if (osType.tells !== 'version') losses.add('guestOs.version', version, why);
}

function tellGraphicsLosses(graphics: Graphics | undefined, losses: Losses): void {
  const why = 'VirtualBox shows every machine in a window of its own';
  if (graphics?.kind !== 'window') {
    losses.add('graphics', graphics, why);
    return;
  }
  for (const name of ['listenAddress', 'port', 'keymap'] as const)
    losses.add(`graphics.${name}`, graphics[name], why);
}

function firmwareOf({ architecture, firmware }: Machine, losses: Losses): Firmware {
  if (architecture !== 'aarch64' || firmware === 'uefi') return firmware;
  losses.add('firmware', firmware, 'an ARM machine of VirtualBox has UEFI');
  return 'uefi';
}

function cpuCountOf({ cpuCount }: Machine, losses: Losses): number {
  if (cpuCount <= CPU_COUNT_MAX) return cpuCount;
  losses.add('cpuCount', cpuCount, `VirtualBox has ${CPU_COUNT_MAX} at most`);
  return CPU_COUNT_MAX;
}

function memoryOf({ memoryBytes }: Machine, losses: Losses): number {
  const mib = Math.min(Math.max(Math.ceil(memoryBytes / MIB), MEMORY_MIB.min), MEMORY_MIB.max);
  if (mib * MIB !== memoryBytes)
    losses.add('memoryBytes', memoryBytes, `VirtualBox has whole MiB, ${mib} of them here`);
  return mib;
}

function noProcessor(architecture: string): ImageError {
  return new ImageError('IMAGE_UNSUPPORTED', `VirtualBox has no ${architecture} machines`, {
    structure: 'machine architecture',
    hint: 'run it with QEMU',
  });
}
