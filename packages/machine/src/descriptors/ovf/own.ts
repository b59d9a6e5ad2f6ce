import { isArchitecture } from '../../architectures.ts';
import { defined } from '../../defined.ts';
import type {
  Clock,
  DiskBus,
  DiskRole,
  Graphics,
  GuestOs,
  MachineDisk,
  MachineFacts,
  MachineFeatures,
  NetworkKind,
  Nic,
  NicModel,
  OsFamily,
} from '../../model.ts';
import { nicModels } from '../../nic-models.ts';
import { anyChild, anyChildren, attributeOf, type XmlElement } from '../xml/tree.ts';
import { namespaces } from './words.ts';

const roles: readonly DiskRole[] = ['system', 'user', 'scratch'];
const buses: readonly DiskBus[] = ['virtio', 'scsi', 'sata', 'ide', 'nvme', 'usb', 'xen', 'floppy'];
const kinds: readonly NetworkKind[] = ['nat', 'bridged', 'named', 'isolated', 'unplugged'];
const families: readonly OsFamily[] = ['linux', 'windows', 'bsd', 'solaris', 'macos', 'other'];
const clocks: readonly Clock[] = ['utc', 'local'];
const screens: readonly Graphics['kind'][] = ['vnc', 'spice', 'rdp', 'window'];

/** The bus that disks of other buses are attached to, for programs that lack theirs. */
export const SUBSTITUTE_BUS: DiskBus = 'sata';
/** The adapter that every guest knows, in the place of those that VMware lacks. */
export const SUBSTITUTE_MODEL: NicModel = 'e1000';

/**
 * The section that this project writes, for what OVF has no place for. What it says of a device is taken as long as
 * the device itself is as it was written: another program may have changed it.
 */
export class OwnSection {
  readonly #section: XmlElement;
  /** By the items that they are about; of several the first. */
  readonly #disks: ReadonlyMap<string, XmlElement>;
  readonly #nics: ReadonlyMap<string, XmlElement>;

  private constructor(section: XmlElement) {
    this.#section = section;
    this.#disks = byItem(anyChildren(section, 'Disk'));
    this.#nics = byItem(anyChildren(section, 'Nic'));
  }

  static of(system: XmlElement): OwnSection | undefined {
    const section = anyChildren(system, 'MachineSection').find(
      ({ namespace }) => namespace === namespaces.gantry,
    );
    return section && new OwnSection(section);
  }

  /** What it says of the whole machine; the system for as long as VMware's word for it is the same. */
  facts(osType: string | undefined): MachineFacts {
    const section = this.#section;
    const word = (name: string) => attributeOf(section, name);
    const architecture = word('architecture');
    const kernel = anyChild(section, 'Kernel');
    const path = attributeOf(kernel, 'path');
    return defined({
      uuid: word('uuid'),
      architecture: architecture !== undefined && isArchitecture(architecture) ? architecture : undefined,
      clock: oneOf(clocks, word('clock')),
      guestType: word('guestType') === 'xen' ? ('xen' as const) : undefined,
      bootloader: word('bootloader'),
      features: featuresOf(anyChild(section, 'Features')),
      kernel:
        path === undefined
          ? undefined
          : defined({
              path,
              initrdPath: attributeOf(kernel, 'initrd'),
              commandLine: kernel?.text || undefined,
            }),
      guestOs: this.knowsSystem(osType) ? guestOsOf(anyChild(section, 'GuestOs')) : undefined,
      graphics: graphicsOf(anyChild(section, 'Graphics')),
    });
  }

  knowsSystem(osType: string | undefined): boolean {
    return attributeOf(this.#section, 'osType') === osType;
  }

  /** The disk with what is said of it. */
  disk(id: string, disk: MachineDisk): MachineDisk {
    const own = this.#disks.get(id);
    if (own === undefined) return disk;
    const word = (name: string) => attributeOf(own, name);
    const readOnly = word('readOnly');
    const bus = oneOf(buses, word('bus'));
    const bootOrder = Number(word('bootOrder'));
    const isSameFile = word('file') === disk.path;
    const checksums = anyChildren(own, 'Checksum').map((each) => [
      attributeOf(each, 'type') ?? '',
      each.text,
    ]);
    return defined({
      ...disk,
      role: oneOf(roles, word('role')) ?? disk.role,
      path: disk.path ?? word('path'),
      format: (isSameFile ? word('format') : undefined) ?? disk.format,
      bus: bus !== undefined && disk.bus === SUBSTITUTE_BUS ? bus : disk.bus,
      target: word('target'),
      bootOrder: Number.isSafeInteger(bootOrder) && bootOrder > 0 ? bootOrder : undefined,
      readOnly: readOnly === undefined ? disk.readOnly : readOnly === 'true',
      checksums: isSameFile && checksums.length > 0 ? Object.fromEntries(checksums) : undefined,
      uuid: isSameFile ? word('uuid') : undefined,
    });
  }

  /** The adapter with what is said of it. */
  nic(id: string, nic: Nic, connection: string | undefined): Nic {
    const own = this.#nics.get(id);
    if (own === undefined) return nic;
    const model = oneOf(nicModels, attributeOf(own, 'model'));
    const network = oneOf(kinds, attributeOf(own, 'network'));
    const isSame = attributeOf(own, 'connection') === connection && network !== undefined;
    return defined({
      ...nic,
      ...(isSame && { network, networkName: attributeOf(own, 'networkName') }),
      model: model !== undefined && nic.model === SUBSTITUTE_MODEL ? model : nic.model,
    }) as Nic;
  }
}

function byItem(elements: readonly XmlElement[]): Map<string, XmlElement> {
  return new Map(
    elements.toReversed().flatMap((each): [string, XmlElement][] => {
      const item = attributeOf(each, 'item');
      return item === undefined ? [] : [[item, each]];
    }),
  );
}

function oneOf<Word extends string>(words: readonly Word[], word: string | undefined): Word | undefined {
  return words.find((known) => known === word);
}

function featuresOf(element: XmlElement | undefined): MachineFeatures | undefined {
  if (element === undefined) return undefined;
  const state = (name: string) => {
    const word = attributeOf(element, name);
    return word === undefined ? undefined : word === 'on';
  };
  return defined({ pae: state('pae'), acpi: state('acpi'), apic: state('apic') });
}

function guestOsOf(element: XmlElement | undefined): GuestOs | undefined {
  if (element === undefined) return undefined;
  return defined({
    family: oneOf(families, attributeOf(element, 'family')),
    name: attributeOf(element, 'name'),
    version: attributeOf(element, 'version'),
  });
}

function graphicsOf(element: XmlElement | undefined): Graphics | undefined {
  const kind = oneOf(screens, attributeOf(element, 'kind'));
  if (kind === undefined) return undefined;
  const port = Number(attributeOf(element, 'port') ?? Number.NaN);
  return defined({
    kind,
    listenAddress: attributeOf(element, 'listenAddress'),
    port: Number.isSafeInteger(port) && port >= 0 && port < 2 ** 16 ? port : undefined,
    keymap: attributeOf(element, 'keymap'),
  });
}
