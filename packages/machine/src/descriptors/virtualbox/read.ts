import { ImageError } from '@gantry/disk';
import { defined } from '../../defined.ts';
import type { DescriptorReading, Graphics, MachineDisk, MachineFacts } from '../../model.ts';
import { ownValue } from '../../own-value.ts';
import { atPlace, readXml } from '../xml/read.ts';
import { anyChild, anyChildren, attributeOf, type XmlElement } from '../xml/tree.ts';
import { Warnings } from '../xml/warnings.ts';
import { readAdapters } from './read-adapters.ts';
import { systemOfOsType } from './read-os-type.ts';
import { readStorage, uuidOf } from './read-storage.ts';

const STRUCTURE = 'VirtualBox settings';
const MIB: number = 2 ** 20;

/** Minor numbers of the versions (1.12 to 1.20) that are known, of VirtualBox 4.0 to 7.1. */
const VERSIONS = { min: 12, max: 20 };
/** From this version on an adapter has a cable unless it is said otherwise. */
const CABLE_BY_DEFAULT_SINCE = 16;

/**
 * Reads a settings file of VirtualBox (`NAME.vbox`). What the model has no place for and a guest could miss is a
 * warning; a saved state and snapshots are. Paths stay as they are, relative ones to the file. Throws
 * IMAGE_MALFORMED with line and column, IMAGE_LIMIT, IMAGE_UNSUPPORTED for an encrypted machine.
 */
export function readVirtualBoxSettings(bytes: Uint8Array, file = 'settings'): DescriptorReading {
  const root = readXml(bytes, { file, structure: STRUCTURE });
  const warnings = new Warnings(file);
  if (root.name !== 'VirtualBox')
    throw malformed(file, root, `the root is <${root.name}>, and not <VirtualBox>`);
  if (anyChild(root, 'MachineEncrypted') !== undefined) {
    throw new ImageError('IMAGE_UNSUPPORTED', atPlace(file, root.place, 'the machine is encrypted'), {
      structure: STRUCTURE,
      hint: 'remove the encryption with VBoxManage encryptvm, which asks for the password',
    });
  }
  const machine = anyChild(root, 'Machine');
  if (machine === undefined) throw malformed(file, root, 'there is no <Machine>');
  const minor = minorVersion(root, warnings);
  const hardware = anyChild(machine, 'Hardware');
  if (hardware === undefined) throw malformed(file, machine, 'the machine has no <Hardware>');
  const network = anyChild(hardware, 'Network');
  const facts: MachineFacts = defined({
    name: attributeOf(machine, 'name'),
    uuid: uuidOf(attributeOf(machine, 'uuid')),
    description: anyChild(machine, 'Description')?.text || undefined,
    ...boardFacts(machine),
    ...sizeFacts(machine, file),
    disks: withBootOrder(readStorage(machine, warnings), anyChild(hardware, 'Boot')),
    nics: network === undefined ? [] : readAdapters(network, minor >= CABLE_BY_DEFAULT_SINCE, warnings),
    graphics: graphicsOf(anyChild(hardware, 'RemoteDisplay')),
  });
  tellRest(machine, hardware, warnings);
  return { facts, warnings: warnings.all };
}

function minorVersion(root: XmlElement, warnings: Warnings): number {
  const version = attributeOf(root, 'version') ?? '';
  const [, minor] = /^1\.(\d{1,3})(?:-|$)/.exec(version) ?? [];
  const known = Number(minor ?? Number.NaN);
  if (known >= VERSIONS.min && known <= VERSIONS.max) return known;
  const range = `1.${VERSIONS.min} to 1.${VERSIONS.max}`;
  warnings.add(root, `the version ${JSON.stringify(version)} is none of ${range}, and read as if it were`);
  return known < VERSIONS.min ? VERSIONS.min : VERSIONS.max;
}

/** Where 7.1 and later have what belongs to the processor's kind, and where it was before. */
function platformParts(machine: XmlElement, name: string): XmlElement[] {
  const homes = [anyChild(machine, 'Platform'), anyChild(machine, 'Hardware')];
  return homes.flatMap((home) => (home === undefined ? [] : anyChildren(home, name)));
}

/**
 * System, processor's kind, firmware, clock and TPM of a `<Machine>`, wherever it stands: in a settings file, or in
 * an OVF descriptor of VirtualBox.
 */
export function boardFacts(
  machine: XmlElement,
): Pick<MachineFacts, 'guestOs' | 'architecture' | 'firmware' | 'clock' | 'tpm'> {
  const osType = attributeOf(machine, 'OSType');
  const system = osType === undefined ? undefined : systemOfOsType(osType);
  const hardware = anyChild(machine, 'Hardware');
  const firmware = hardware && attributeOf(anyChild(hardware, 'Firmware'), 'type');
  const tpm = hardware && attributeOf(anyChild(hardware, 'TrustedPlatformModule'), 'type');
  const isArm = attributeOf(anyChild(machine, 'Platform'), 'architecture')?.toLowerCase() === 'arm';
  const isShort = platformParts(machine, 'CPU').some(
    (cpu) => attributeOf(anyChild(cpu, 'LongMode'), 'enabled') === 'false',
  );
  const [clock] = platformParts(machine, 'RTC');
  return defined({
    guestOs: system?.guestOs,
    architecture: isArm ? ('aarch64' as const) : (system?.architecture ?? (isShort ? 'i686' : 'x86_64')),
    firmware: firmware?.startsWith('EFI') || isArm ? ('uefi' as const) : ('bios' as const),
    // Without the element the clock is as that of a PC always was.
    clock: attributeOf(clock, 'localOrUTC') === 'UTC' ? ('utc' as const) : ('local' as const),
    tpm: tpm === 'v2_0' || tpm === 'Swtpm' || tpm === 'Host' ? true : undefined,
  });
}

function sizeFacts(machine: XmlElement, file: string): Pick<MachineFacts, 'cpuCount' | 'memoryBytes'> {
  const [cpu] = platformParts(machine, 'CPU');
  const memory = anyChild(machine, 'Hardware', 'Memory');
  const mib = wholeNumber(memory, 'RAMSize', file);
  return defined({
    // An element without a count is one CPU.
    cpuCount: wholeNumber(cpu, 'count', file) ?? (cpu === undefined ? undefined : 1),
    memoryBytes: mib === undefined ? undefined : mib * MIB,
  });
}

function wholeNumber(element: XmlElement | undefined, name: string, file: string): number | undefined {
  const text = attributeOf(element, name);
  if (element === undefined || text === undefined) return undefined;
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value > 0) return value;
  throw malformed(file, element, `${name} is no whole number above 0: ${JSON.stringify(text)}`);
}

const bootDevices: Readonly<Record<string, MachineDisk['device']>> = {
  HardDisk: 'disk',
  DVD: 'cdrom',
  Floppy: 'floppy',
};

/** VirtualBox orders kinds of devices, and of each takes the first. Without an order: floppy, CD, disk. */
function withBootOrder(disks: readonly MachineDisk[], boot: XmlElement | undefined): MachineDisk[] {
  const orders = boot === undefined ? [] : anyChildren(boot, 'Order');
  const kinds =
    orders.length === 0
      ? ['Floppy', 'DVD', 'HardDisk']
      : orders
          .sort((a, b) => Number(attributeOf(a, 'position')) - Number(attributeOf(b, 'position')))
          .map((order) => attributeOf(order, 'device') ?? '');
  const first = kinds
    .map((kind) => disks.findIndex(({ device }) => device === ownValue(bootDevices, kind)))
    .filter((index) => index >= 0);
  return disks.map((disk, index) =>
    first.includes(index) ? { ...disk, bootOrder: first.indexOf(index) + 1 } : disk,
  );
}

/** A window, unless the machine shows its screen by RDP too. */
function graphicsOf(display: XmlElement | undefined): Graphics {
  if (display === undefined || attributeOf(display, 'enabled') !== 'true') return { kind: 'window' };
  const properties = anyChild(display, 'VRDEProperties');
  const property = (name: string) =>
    attributeOf(
      properties && anyChildren(properties, 'Property').find((each) => attributeOf(each, 'name') === name),
      'value',
    );
  const port = Number(property('TCP/Ports'));
  return defined({
    kind: 'rdp' as const,
    listenAddress: property('TCP/Address'),
    port: Number.isSafeInteger(port) && port > 0 && port < 2 ** 16 ? port : undefined,
  });
}

/** What a guest could miss, or a user. */
function tellRest(machine: XmlElement, hardware: XmlElement, warnings: Warnings): void {
  if (attributeOf(machine, 'stateFile') !== undefined)
    warnings.add(machine, 'the saved state is not in the machine: it starts anew');
  const [snapshot] = anyChildren(machine, 'Snapshot');
  if (snapshot !== undefined)
    warnings.add(snapshot, 'the snapshots are not in the machine: it is as the machine is now');
  for (const element of hardware.children) {
    const what = ownValue(lost, element.name);
    if (what !== undefined && element.children.length > 0)
      warnings.add(element, `${what} are not in the machine`);
  }
  for (const home of ['BIOS', 'Firmware'].flatMap((name) => anyChildren(hardware, name))) {
    const acpi = anyChild(home, 'ACPI');
    if (acpi !== undefined && attributeOf(acpi, 'enabled') === 'false')
      warnings.add(acpi, 'that ACPI is switched off is not in the machine');
  }
}

const lost: Readonly<Record<string, string>> = {
  SharedFolders: 'folders of the host',
  HostPci: 'devices of the host',
};

function malformed(file: string, { place }: XmlElement, message: string): ImageError {
  return new ImageError('IMAGE_MALFORMED', atPlace(file, place, message), {
    structure: STRUCTURE,
    hint: 'use the file NAME.vbox that VirtualBox keeps of the machine',
  });
}
