import { defined } from '../../defined.ts';
import type { DescriptorReading, MachineDisk, MachineFacts } from '../../model.ts';
import { boardFacts } from '../virtualbox/read.ts';
import { systemOfOsType } from '../virtualbox/read-os-type.ts';
import { readXml } from '../xml/read.ts';
import { anyAttribute, anyChild, anyChildren, type XmlElement } from '../xml/tree.ts';
import { Warnings } from '../xml/warnings.ts';
import {
  chosenSystem,
  containersOf,
  listed,
  malformedOvf,
  packageOf,
  requireEnvelope,
  requireOptional,
  tellSections,
} from './envelope.ts';
import { defaultConfiguration, type Item, itemsOf, numberOf } from './items.ts';
import { OwnSection } from './own.ts';
import { isController, isDrive, type ReadDisk, readDisks, readNics } from './read-devices.ts';
import { systemOfCim, systemOfVmware } from './systems.ts';
import { bytesOfUnits } from './units.ts';
import {
  namespaces,
  ordinarySubTypes,
  ordinaryTypes,
  STRUCTURE,
  resourceTypes as types,
  VBOX_NAMESPACE,
} from './words.ts';

export interface OvfReadOptions {
  /** Id or name of the system to read, of a package of several. */
  readonly system?: string | undefined;
}

/**
 * Reads an OVF descriptor (DSP0243, versions 1 and 2) as VMware, VirtualBox and others write it. Paths are those of
 * the descriptor, relative to it. What the model has no place for is a warning. Throws IMAGE_MALFORMED with line and
 * column, IMAGE_LIMIT, IMAGE_OPTION for a package of several systems of which none was chosen, IMAGE_UNSUPPORTED for
 * disks that are stored as differences, compressed or in chunks, and for what the descriptor requires to be
 * understood and is not.
 */
export function readOvf(
  bytes: Uint8Array,
  file = 'descriptor',
  options: OvfReadOptions = {},
): DescriptorReading {
  const root = readXml(bytes, { file, structure: STRUCTURE });
  const warnings = new Warnings(file);
  requireEnvelope(root, warnings);
  const system = chosenSystem(root, options.system, warnings);
  const holders = containersOf(root, system);
  for (const holder of [...holders, system]) tellSections(holder, warnings);
  return { facts: new SystemReader(root, holders, system, warnings).read(), warnings: warnings.all };
}

class SystemReader {
  readonly #root: XmlElement;
  readonly #holders: readonly XmlElement[];
  readonly #system: XmlElement;
  readonly #warnings: Warnings;

  constructor(root: XmlElement, holders: readonly XmlElement[], system: XmlElement, warnings: Warnings) {
    this.#root = root;
    this.#holders = holders;
    this.#system = system;
    this.#warnings = warnings;
  }

  read(): MachineFacts {
    const system = this.#system;
    const warnings = this.#warnings;
    const hardware = this.#hardware();
    const items =
      hardware === undefined ? [] : itemsOf(hardware, defaultConfiguration(this.#root, warnings), warnings);
    const contents = packageOf(this.#root, [...this.#holders, system], warnings);
    const own = OwnSection.of(system);
    const osType = this.#vmwareOsType();
    const disks = readDisks(items, contents, warnings);
    const attached = disks.map(({ item, disk }) => own?.disk(item.id, disk) ?? disk);
    const nics = readNics(items, warnings);
    this.#tellItems(items);
    return defined({
      name: anyChild(system, 'Name')?.text.trim() || anyAttribute(system, 'id'),
      title: this.#product(),
      description: anyChild(system, 'AnnotationSection', 'Annotation')?.text || undefined,
      ...this.#systemFacts(own, osType),
      ...this.#boardFacts(hardware, items),
      cpuCount: this.#cpuCount(items),
      memoryBytes: this.#memoryBytes(items),
      ...own?.facts(osType),
      disks: this.#ordered(disks, attached),
      nics: nics.map(({ item, nic }) => own?.nic(item.id, nic, item.connection) ?? nic),
    });
  }

  #hardware(): XmlElement | undefined {
    const [section, second] = anyChildren(this.#system, 'VirtualHardwareSection');
    if (section === undefined) this.#warnings.add(this.#system, 'the system says nothing of its hardware');
    if (second !== undefined)
      this.#warnings.add(
        second,
        'the system has several descriptions of its hardware, of which the first is taken',
      );
    if (anyAttribute(section, 'transport') !== undefined && section !== undefined)
      this.#warnings.add(section, 'what the guest is told of its environment is not in the machine');
    return section;
  }

  /** What people call the product in the machine; its properties ask the user for settings of the guest. */
  #product(): string | undefined {
    const [first, ...others] = anyChildren(this.#system, 'ProductSection');
    for (const section of first === undefined ? [] : [first, ...others]) {
      const keys = anyChildren(section, 'Property').map((property) => anyAttribute(property, 'key') ?? '?');
      if (keys.length > 0)
        this.#warnings.add(section, `settings of the guest are not in the machine: ${listed(keys)}`);
      const rest = ['Vendor', 'Version', 'FullVersion'].filter(
        (name) => anyChild(section, name) !== undefined,
      );
      if (rest.length > 0)
        this.#warnings.add(section, `of the product, ${rest.join(', ')} are not in the machine`);
    }
    return (first && anyChild(first, 'Product')?.text.trim()) || undefined;
  }

  #vmwareOsType(): string | undefined {
    return anyAttribute(anyChild(this.#system, 'OperatingSystemSection'), 'osType');
  }

  #systemFacts(
    own: OwnSection | undefined,
    osType: string | undefined,
  ): Pick<MachineFacts, 'guestOs' | 'architecture'> {
    const section = anyChild(this.#system, 'OperatingSystemSection');
    if (section === undefined || own?.knowsSystem(osType)) return {};
    const vbox = anyChild(section, 'OSType')?.text.trim();
    const found =
      (vbox === undefined ? undefined : systemOfOsType(vbox)) ??
      (osType === undefined ? undefined : systemOfVmware(osType)) ??
      systemOfCim(numberOf(anyAttribute(section, 'id')) ?? 1);
    const version = anyAttribute(section, 'version');
    if (found === undefined) {
      if (osType !== undefined) this.#warnings.add(section, `the operating system ${osType} is not known`);
      return {};
    }
    const { guestOs, architecture } = found;
    const isSaid = version !== undefined && guestOs.name !== undefined && guestOs.version === undefined;
    return defined({ guestOs: isSaid ? { ...guestOs, version } : guestOs, architecture });
  }

  /** Firmware and what goes with it, by VirtualBox's own settings, then by VMware's. */
  #boardFacts(
    hardware: XmlElement | undefined,
    items: readonly Item[],
  ): Pick<MachineFacts, 'firmware' | 'secureBoot' | 'tpm' | 'clock'> {
    const vbox = anyChildren(this.#system, 'Machine').find(({ namespace }) => namespace === VBOX_NAMESPACE);
    const { firmware, clock, tpm } = vbox === undefined ? {} : boardFacts(vbox);
    const settings = hardware === undefined ? new Map<string, string>() : this.#settings(hardware);
    const said = settings.get('firmware')?.toLowerCase();
    const secure =
      settings.get('bootoptions.efisecurebootenabled') ?? settings.get('uefi.secureboot.enabled');
    const isEfi = (said ?? '').startsWith('efi') || (said === undefined && firmware === 'uefi');
    const hasTpm = items.some(
      ({ type, subType }) => type === types.other && subType.toLowerCase() === 'vmware.vtpm',
    );
    return defined({
      firmware: isEfi ? ('uefi' as const) : said === undefined ? firmware : ('bios' as const),
      secureBoot: isEfi && secure !== undefined ? secure.toLowerCase() === 'true' : undefined,
      tpm: hasTpm || tpm ? true : undefined,
      clock,
    });
  }

  /** VMware's settings by their keys in lower case; those that are not read are told. */
  #settings(hardware: XmlElement): Map<string, string> {
    const settings = new Map<string, string>();
    const rest: string[] = [];
    const known = ['firmware', 'bootoptions.efisecurebootenabled', 'uefi.secureboot.enabled'];
    for (const element of hardware.children) {
      if (element.namespace !== namespaces.vmw) {
        if (element.namespace !== hardware.namespace) this.#tellForeign(element);
        continue;
      }
      const key = anyAttribute(element, 'key') ?? element.name;
      if (!known.includes(key.toLowerCase())) {
        requireOptional(element, this.#warnings);
        rest.push(key);
      } else if (!settings.has(key.toLowerCase()))
        settings.set(key.toLowerCase(), anyAttribute(element, 'value') ?? '');
    }
    if (rest.length > 0)
      this.#warnings.add(hardware, `settings of VMware are not in the machine: ${listed(rest)}`);
    return settings;
  }

  #tellForeign(element: XmlElement): void {
    requireOptional(element, this.#warnings);
    this.#warnings.add(element, `<${element.name}> of ${element.namespace} is not in the machine`);
  }

  #cpuCount(items: readonly Item[]): number | undefined {
    const [cpu] = items.filter(({ type }) => type === types.processor);
    if (cpu?.quantity === undefined) return undefined;
    const count = numberOf(cpu.quantity) ?? 0;
    if (count > 0) return count;
    throw malformedOvf(this.#warnings, cpu.element, `there is no such number of CPUs: ${cpu.quantity}`);
  }

  #memoryBytes(items: readonly Item[]): number | undefined {
    const [memory] = items.filter(({ type }) => type === types.memory);
    if (memory?.quantity === undefined) return undefined;
    const { quantity, units = 'MegaBytes' } = memory;
    const bytes = bytesOfUnits(quantity, units) ?? 0;
    if (bytes > 0) return bytes;
    throw malformedOvf(this.#warnings, memory.element, `there is no such memory: ${quantity} ${units}`);
  }

  /**
   * The boot order: VMware's section, the `BootOrder` of the items (as oVirt writes it), else what this project
   * wrote.
   */
  #ordered(disks: readonly ReadDisk[], attached: readonly MachineDisk[]): MachineDisk[] {
    const section = anyChild(this.#system, 'BootOrderSection');
    const said = (anyAttribute(section, 'instanceId') ?? '').split(/\s+/).filter(Boolean);
    const byItem = disks.map(({ item: { bootOrder } }) => bootOrder ?? 0);
    const first = said[0];
    const lowest = lowestOrder(attached);
    const own = attached.findIndex(({ bootOrder }) => bootOrder === lowest);
    if (own >= 0 && (first === undefined || disks[own]?.item.id === first)) return [...attached];
    // Of one that is named twice the first place counts.
    const places = new Map(said.map((id, index): [string, number] => [id, index + 1]).toReversed());
    const order = disks.map(({ item }) => places.get(item.id) ?? 0);
    const chosen = order.some((place) => place > 0) ? order : byItem;
    return attached.map(({ bootOrder: _, ...disk }, index) => {
      const place = chosen[index] ?? 0;
      return place > 0 ? { ...disk, bootOrder: place } : disk;
    });
  }

  /** What the items say and the machine has no place for. */
  #tellItems(items: readonly Item[]): void {
    const counted: number[] = [];
    for (const item of items) {
      const { element, type, subType } = item;
      const isOnly = type === types.processor || type === types.memory;
      if (isOnly && counted.includes(type))
        this.#warnings.add(element, 'a second item of processors or memory is not in the machine');
      counted.push(type);
      const policies = ['Reservation', 'Limit'].filter(
        (name) => Number(anyChild(element, name)?.text ?? 0) > 0,
      );
      if (policies.length > 0)
        this.#warnings.add(
          element,
          `what the host sets aside for it is not in the machine: ${policies.join(', ')}`,
        );
      const isTpm = type === types.other && subType.toLowerCase() === 'vmware.vtpm';
      const isOrdinary =
        ordinaryTypes.includes(type) ||
        (type === types.other && ordinarySubTypes.test(subType.toLowerCase()));
      if (isOnly || isTpm || isOrdinary || type === types.ethernet || isController(item) || isDrive(item))
        continue;
      this.#warnings.add(element, `the device ${named(item)} is not in the machine`);
    }
  }
}

/** -1 when none has an order. */
function lowestOrder(disks: readonly MachineDisk[]): number {
  const places = disks.flatMap(({ bootOrder }) => (bootOrder === undefined ? [] : [bootOrder]));
  return places.length === 0 ? -1 : Math.min(...places);
}

function named({ element, type, subType }: Item): string {
  const name = anyChild(element, 'ElementName')?.text.trim() || anyChild(element, 'Caption')?.text.trim();
  return `${name ?? 'without a name'} (type ${type}${subType === '' ? '' : `, ${subType}`})`;
}
