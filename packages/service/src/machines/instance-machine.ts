import { createHash } from 'node:crypto';
import {
  type Architecture,
  type BackedDisk,
  type DefinedMachine,
  type LaunchOptions,
  launchHardware,
  type Machine,
  type Nic,
} from '@gantry/machine';
import type { VolumeFile } from './volume-files.ts';

/** How guests reach others. `isolated`: only what is connected to the same card, which is nothing. */
export type InstanceNetwork =
  | { readonly kind: 'isolated' | 'nat' }
  | { readonly kind: 'bridge'; readonly bridge: string };

/** What of an instance decides about its machine. */
export interface InstanceFacts {
  readonly id: string;
  readonly name: string;
  readonly architecture: Architecture;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly launchOptions: LaunchOptions | undefined;
  readonly operatingSystem: string;
  /** What the guest takes the hardware's clock for, where its disk says so. */
  readonly clock?: Machine['clock'] | undefined;
  readonly network: InstanceNetwork;
  /** The first is what it starts from. */
  readonly volumes: readonly VolumeFile[];
}

/** The machine of an instance, in the terms of a hypervisor. The same instance always comes to the same machine. */
export function machineOf(facts: InstanceFacts): DefinedMachine {
  const { id, name, architecture, cpuCount, memoryBytes, launchOptions, operatingSystem } = facts;
  const hardware = launchHardware(launchOptions);
  // No ARM board has a BIOS, IDE or an E1000 that its guests would look for.
  const isX86 = architecture === 'x86_64';
  const [boot, ...others] = facts.volumes;
  return {
    name,
    uuid: uuidOf(id),
    architecture,
    firmware: isX86 ? hardware.firmware : 'uefi',
    cpuCount,
    memoryBytes,
    clock: facts.clock ?? usualClock(operatingSystem),
    ...(operatingSystem !== '' && { guestOs: { name: operatingSystem } }),
    disks: [
      ...(boot === undefined
        ? []
        : [
            {
              ...diskOf(boot, isX86 ? hardware.bootDiskBus : 'virtio'),
              role: 'system' as const,
              bootOrder: 1,
            },
          ]),
      ...others.map((file) => dataDiskOf(file, facts)),
    ],
    nics: [nicOf(facts, isX86 ? hardware.nicModel : 'virtio')],
    graphics: { kind: 'vnc' },
  };
}

/** Windows takes the hardware's clock for the time of its place, unless its registry says otherwise. */
function usualClock(operatingSystem: string): 'utc' | 'local' {
  return /windows/i.test(operatingSystem) ? 'local' : 'utc';
}

/** A volume beside the one that the machine starts from. */
export function dataDiskOf(
  file: VolumeFile,
  { architecture, launchOptions }: Pick<InstanceFacts, 'architecture' | 'launchOptions'>,
): BackedDisk {
  return diskOf(file, architecture === 'x86_64' ? launchHardware(launchOptions).dataDiskBus : 'virtio');
}

function diskOf({ path, backing }: VolumeFile, bus: BackedDisk['bus'] & string): BackedDisk {
  return { role: 'user', device: 'disk', path, format: 'qcow2', bus, ...(backing && { backing }) };
}

function nicOf({ id, network }: InstanceFacts, model: Nic['model'] & string): Nic {
  const digest = createHash('sha256').update(id).digest();
  const pairs = [...digest.subarray(0, 3)].map((byte) => byte.toString(16).padStart(2, '0'));
  const card = { model, macAddress: ['52:54:00', ...pairs].join(':') };
  if (network.kind === 'bridge') return { ...card, network: 'bridged', networkName: network.bridge };
  return { ...card, network: network.kind };
}

/** RFC 9562, 5.8: version 8, whose bits are anybody's. */
function uuidOf(id: string): string {
  const hex = createHash('sha256').update(`machine ${id}`).digest('hex');
  const variant = ((Number.parseInt(hex.charAt(16), 16) % 4) + 8).toString(16);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-');
}
