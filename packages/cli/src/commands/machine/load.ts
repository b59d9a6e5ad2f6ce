import { constants } from 'node:fs';
import { chmod, copyFile } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { ImageError, storeError } from '@gantry/disk';
import {
  chooseBoot,
  completeMachine,
  findFirmware,
  type Host,
  type HostGuest,
  type Machine,
  type MachineFacts,
  type OmittedFeatures,
  qemuHost,
  readCapabilities,
  readVirtImage,
  type UefiFiles,
  virtImageFacts,
} from '@gantry/machine';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { printable } from '../../output/printable.ts';
import { openDescriptor, readDescriptor, readMachine, requireChoice } from './descriptor.ts';
import { parseNetwork } from './networks.ts';

/** What changes the machine of a descriptor: `withMachineOptions`. */
export interface MachineOptions {
  readonly boot?: number;
  readonly system?: string;
  readonly name?: string;
  readonly ram?: number;
  readonly vcpus?: number;
  readonly network?: readonly string[];
  readonly vnc?: boolean;
  readonly nographics?: boolean;
  readonly omittedFeatures?: OmittedFeatures;
  readonly anyPath?: boolean;
}

export interface FirmwareOptions {
  readonly uefiCode?: string;
  readonly uefiVariables?: string;
}

/** UEFI for a machine, and what its variables are copied from when they are not there yet. */
export interface MachineFirmware {
  readonly uefi: UefiFiles;
  readonly templatePath?: string;
}

/**
 * The firmware that is named, or else the installed one that fits, with the variables of the machine beside its
 * descriptor; none for a machine without UEFI, or when none is installed. Throws USAGE for one file without the other.
 */
export async function firmwareFor(
  machine: Machine,
  file: string,
  { uefiCode, uefiVariables }: FirmwareOptions,
): Promise<MachineFirmware | undefined> {
  if ((uefiCode === undefined) !== (uefiVariables === undefined))
    throw usageError('--uefi-code and --uefi-variables go together');
  if (uefiCode !== undefined && uefiVariables !== undefined)
    return { uefi: { codePath: resolve(uefiCode), variablesPath: resolve(uefiVariables) } };
  const found = await findFirmware(machine);
  if (found === undefined) return undefined;
  const { templatePath, ...code } = found;
  const name = basename(file, extname(file));
  const kind = code.secureBoot ? 'secure-uefi-variables' : 'uefi-variables';
  return {
    uefi: { ...code, variablesPath: join(resolve(dirname(file)), `${name}.${kind}`) },
    templatePath,
  };
}

/** Copies the variables, unless they are there. Gives the path when it did. */
export async function createVariables(firmware: MachineFirmware | undefined): Promise<string | undefined> {
  if (firmware?.templatePath === undefined) return undefined;
  const { variablesPath } = firmware.uefi;
  try {
    await copyFile(firmware.templatePath, variablesPath, constants.COPYFILE_EXCL);
    await chmod(variablesPath, 0o600);
    return variablesPath;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return undefined;
    throw storeError(error, variablesPath);
  }
}

export interface LoadedMachine {
  readonly machine: Machine;
  /** The guest of the host that it was matched with; absent for descriptors that say one machine. */
  readonly guest?: HostGuest;
  readonly bootIndex?: number;
  /** The folder of the descriptor, absolute. */
  readonly folder: string;
}

const MIB: number = 2 ** 20;
/**
 * The machine that a descriptor says, on this host or on the one that is given. Warnings become notes. Throws
 * IMAGE_MALFORMED and what the readers throw, USAGE for options that do not fit.
 */
export async function loadMachine(
  context: Context,
  file: string,
  options: MachineOptions,
  hostOf: () => Promise<Host>,
): Promise<LoadedMachine> {
  const opened = await openDescriptor(context, file);
  const { bytes, kind, name } = opened;
  if (opened.isPacked) throw packedDisks(file);
  const folder = resolve(dirname(file));
  requireChoice(kind, options);
  if (kind !== 'virt-image') {
    const { facts, warnings } = readMachine(opened, options);
    for (const warning of warnings) context.progress.note(`warning: ${warning}`);
    return { machine: machineWith(facts, options), folder };
  }
  const { image, warnings } = readVirtImage(bytes, name);
  for (const warning of warnings) context.progress.note(`warning: ${warning}`);
  const { index, guest } = chooseBoot(image, await hostOf(), options.boot);
  const { omittedFeatures } = options;
  const facts = virtImageFacts(image, { bootIndex: index, guest, omittedFeatures, file });
  return { machine: machineWith(facts, options), guest, bootIndex: index, folder };
}

function packedDisks(file: string): ImageError {
  const path = printable(file);
  return new ImageError(
    'IMAGE_UNSUPPORTED',
    `the disks of ${path} are inside it, where no hypervisor runs them`,
    {
      structure: 'OVA archive',
      hint: `write each disk with gantry disk convert ${path} DISK.qcow2, and the descriptor with gantry machine convert ${path} FILE.xml --to virt-image; then name the disks in it`,
    },
  );
}

/** The QEMU of this host, as far as `PATH` leads to it. */
export function installedQemu(context: Context): Promise<Host> {
  return qemuHost({ path: context.environment.PATH ?? '', signal: context.signal });
}

export async function capabilitiesFrom(file: string): Promise<Host> {
  return readCapabilities(await readDescriptor(file), file);
}

/** VirtualBox shows every x86 guest a whole machine, and switches what is asked. */
export const virtualBoxHost: Host = {
  guests: (['x86_64', 'i686'] as const).map((architecture) => ({
    type: 'hvm',
    architecture,
    domainTypes: ['virtualbox'],
    features: new Map(['pae', 'acpi', 'apic'].map((name) => [name, ['on', 'off']])),
  })),
};

function machineWith(facts: MachineFacts, options: MachineOptions): Machine {
  const { name, ram, vcpus, network, vnc, nographics } = options;
  if (vnc === true && nographics === true) throw usageError('--vnc and --nographics are one or the other');
  const { graphics, ...rest } = facts;
  const screen =
    nographics === true ? undefined : vnc === true ? { ...graphics, kind: 'vnc' as const } : graphics;
  return completeMachine({
    ...rest,
    ...(screen !== undefined && { graphics: screen }),
    ...(name !== undefined && { name }),
    ...(ram !== undefined && { memoryBytes: ram * MIB }),
    ...(vcpus !== undefined && { cpuCount: vcpus }),
    ...(network !== undefined && { nics: nicsFor(rest.nics ?? [], network) }),
  });
}

/** The first ones are those that are said; the descriptor's others stay. */
function nicsFor(nics: Machine['nics'], networks: readonly string[]): Machine['nics'] {
  return [...networks.map(parseNetwork), ...nics.slice(networks.length)];
}
