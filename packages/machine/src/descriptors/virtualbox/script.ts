import { Losses } from '../../losses.ts';
import type { Machine, WrittenDescriptor } from '../../model.ts';
import type { Adapter } from './adapters.ts';
import { type Hardware, hardwareOf } from './hardware.ts';
import { requireName } from './require.ts';
import type { Controller, Device } from './storage.ts';

/** An argument as a word of the shell. */
type Word = string;

/**
 * Writes a POSIX shell script that creates the machine with VBoxManage and registers it; relative paths are those of
 * the folder that it is started in. `losses` is what VirtualBox cannot be told. Throws IMAGE_OPTION for texts and
 * UUIDs that VirtualBox refuses, IMAGE_UNSUPPORTED for processors and images that it does not have.
 */
export function writeVBoxManageScript(machine: Machine): WrittenDescriptor {
  const losses = new Losses();
  const hardware = hardwareOf(machine, losses);
  const { uuid } = hardware;
  const commands = [
    modifyCommand(hardware),
    ...hardware.controllers.flatMap((controller) => [
      controllerCommand(uuid, controller),
      ...controller.devices.map((device) => attachCommand(uuid, controller, device)),
    ]),
  ];
  const text = [
    ...head,
    // Asked for since 7.1, and not known before.
    'case $(VBoxManage --version | tail -n 1) in',
    hardware.platform === 'x86'
      ? "[0-6].* | 7.0.*) platform='' ;;"
      : "[0-6].* | 7.0.*) echo 'ARM machines need VirtualBox 7.1' >&2; exit 1 ;;",
    `*) platform='--platform-architecture ${hardware.platform}' ;;`,
    'esac',
    createCommand(hardware),
    `trap ${quoted(failureTrap(uuid))} EXIT`,
    ...commands,
    'trap - EXIT',
    '',
  ].join('\n');
  return { text, losses: losses.all };
}

/** Writes a script that registers a machine by its settings file, as `writeVirtualBoxSettings` writes it. */
export function writeRegisterScript(settingsPath: string): string {
  return [...head, command('registervm', pathWord(requireName(settingsPath, 'settingsPath'))), ''].join('\n');
}

const head: readonly string[] = ['#!/bin/sh', 'set -eu'];

/** Nothing is deleted: the disks may be the only ones. */
function failureTrap(uuid: string): string {
  return `[ $? -eq 0 ] || echo "The machine is not complete. Take it away again with: VBoxManage unregistervm ${uuid}" >&2`;
}

function createCommand({ name, osType, uuid }: Hardware): string {
  // Unquoted: two words or none.
  return `${command('createvm', ...options({ name, ostype: osType, uuid }))} $platform --register`;
}

function modifyCommand(hardware: Hardware): string {
  return command('modifyvm', quoted(hardware.uuid), ...options(modifyOptions(hardware)));
}

/** The options of `modifyvm` that make a new machine this one. */
export function modifyOptions(hardware: Hardware): Readonly<Record<string, string>> {
  const { adapters, boot, clock, cpuCount, description, firmware, memoryMib, platform } = hardware;
  const order = Array.from({ length: 4 }, (_, i) => [`boot${i + 1}`, boot[i]?.word ?? 'none'] as const);
  return {
    ...(description !== undefined && { description }),
    cpus: String(cpuCount),
    memory: String(memoryMib),
    vram: '16',
    firmware: firmware === 'uefi' ? 'efi' : 'bios',
    ...(platform === 'x86' && { ioapic: 'on' }),
    rtcuseutc: clock === 'utc' ? 'on' : 'off',
    ...Object.fromEntries(order),
    ...Object.assign({}, ...adapters.map((adapter, i) => adapterOptions(adapter, i + 1))),
  };
}

/** VBoxManage's words for networks, and the option that names one. */
const networks: Readonly<
  Record<Adapter['network'], { readonly word: string; readonly nameOption?: string }>
> = {
  nat: { word: 'nat' },
  bridged: { word: 'bridged', nameOption: 'bridgeadapter' },
  named: { word: 'natnetwork', nameOption: 'nat-network' },
  isolated: { word: 'intnet', nameOption: 'intnet' },
  unplugged: { word: 'null' },
};

function adapterOptions(adapter: Adapter, slot: number): Record<string, string> {
  const { address, network, networkName, type } = adapter;
  const { nameOption, word } = networks[network];
  return {
    [`nic${slot}`]: word,
    [`nictype${slot}`]: type,
    [`macaddress${slot}`]: address,
    [`cableconnected${slot}`]: network === 'unplugged' ? 'off' : 'on',
    ...(nameOption !== undefined && networkName !== undefined && { [`${nameOption}${slot}`]: networkName }),
  };
}

function controllerCommand(uuid: string, controller: Controller): string {
  return command('storagectl', quoted(uuid), ...options(controllerOptions(controller)));
}

/** The options of `storagectl` that add a controller. */
export function controllerOptions(controller: Controller): Readonly<Record<string, string>> {
  const { bus, chipset, name, portCount } = controller;
  return { name, add: bus, controller: chipset, portcount: String(portCount), bootable: 'on' };
}

const deviceWords: Readonly<Record<Device['kind'], string>> = {
  disk: 'hdd',
  cdrom: 'dvddrive',
  floppy: 'fdd',
};

/** The options of `storageattach` for a device, but for its medium. */
export function attachOptions(
  controller: Controller,
  { device, kind, port }: Device,
): Readonly<Record<string, string>> {
  const place = { storagectl: controller.name, port: String(port), device: String(device) };
  return { ...place, type: deviceWords[kind] };
}

function attachCommand(uuid: string, controller: Controller, device: Device): string {
  const { disk } = device;
  const medium = disk.path === undefined ? quoted('emptydrive') : pathWord(disk.path);
  return command(
    'storageattach',
    quoted(uuid),
    ...options(attachOptions(controller, device)),
    quoted('--medium'),
    medium,
  );
}

function command(name: string, ...words: readonly Word[]): string {
  return ['VBoxManage', name, ...words].join(' ');
}

function options(values: Readonly<Record<string, string>>): Word[] {
  return Object.entries(values).flatMap(([name, value]) => [`--${name}`, quoted(value)]);
}

/** Absolute, so that no file is taken for an option or a word such as `none`; a Windows drive begins one too. */
function pathWord(path: string): Word {
  return /^(?:\/|\\\\|[A-Za-z]:[\\/])/.test(path) ? quoted(path) : `"$PWD"/${quoted(path)}`;
}

/** Inside single quotes the shell leaves everything as it is; a quote itself is put between two such texts. */
function quoted(text: string): Word {
  return /^[\w./:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
