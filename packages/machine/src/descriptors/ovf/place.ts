import { ImageError } from '@gantry/disk';
import type { Losses } from '../../losses.ts';
import type { DiskBus, Machine, MachineDisk, Nic, NicModel } from '../../model.ts';
import { ownValue } from '../../own-value.ts';
import { outsideOfFolder } from '../virt-image/confined.ts';
import { type XmlNode, xml, xmlCharacters } from '../xml/write.ts';
import { hrefOf } from './envelope.ts';
import { FIRST_DEVICE_ID, itemNode } from './item-node.ts';
import { SUBSTITUTE_BUS } from './own.ts';
import { resourceTypes as types } from './words.ts';

/** What is known of a file that a disk is in. */
export interface OvfDiskFile {
  readonly lengthBytes?: number | undefined;
  /** Of the disk in it. */
  readonly virtualSizeBytes?: number | undefined;
}

/** A disk or drive with the item that it is; the bus is the one that it is attached to. */
export interface PlacedDrive {
  readonly disk: MachineDisk;
  readonly index: number;
  readonly item: number;
  readonly bus: DiskBus;
}

export interface PlacedNic {
  readonly nic: Nic;
  readonly index: number;
  readonly item: number;
  readonly connection: string;
}

export interface PlacedDevices {
  /** For References, DiskSection, VirtualHardwareSection. */
  readonly files: readonly XmlNode[];
  readonly disks: readonly XmlNode[];
  readonly items: readonly XmlNode[];
  readonly networks: readonly string[];
  readonly drives: readonly PlacedDrive[];
  readonly nics: readonly PlacedNic[];
  /** What is started from, where that is not the first disk. */
  readonly bootItem?: { readonly id: number; readonly type: string };
}

interface Bus {
  readonly type: number;
  readonly subType?: string;
  readonly name: string;
  /** Places of one controller. */
  readonly units: readonly number[];
  readonly controllerCountMax: number;
}

const upTo = (count: number) => Array.from({ length: count }, (_, unit) => unit);

/** What VMware has, by names that VirtualBox knows too. Unit 7 of SCSI is the controller itself. */
const expressible: { readonly [bus in DiskBus]?: Bus } = {
  ide: { type: types.ide, name: 'IDE controller', units: upTo(2), controllerCountMax: 2 },
  scsi: {
    type: types.scsi,
    subType: 'lsilogic',
    name: 'SCSI controller',
    units: upTo(16).filter((unit) => unit !== 7),
    controllerCountMax: 4,
  },
  sata: {
    type: types.otherStorage,
    subType: 'vmware.sata.ahci',
    name: 'SATA controller',
    units: upTo(30),
    controllerCountMax: 4,
  },
  nvme: {
    type: types.otherStorage,
    subType: 'vmware.nvme.controller',
    name: 'NVMe controller',
    units: upTo(15),
    controllerCountMax: 4,
  },
};

const FLOPPY_COUNT_MAX = 2;
const NIC_COUNT_MAX = 10;
const FORMAT_WHY = 'VMware imports VMDK only, VirtualBox VMDK and VDI';

/** The address that names a format; VMware compares that of VMDK. */
const formatAddresses: Readonly<Record<string, string>> = {
  vmdk: 'http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized',
  vdi: 'http://www.virtualbox.org/ovf/specs/vdi.html',
  vhd: 'http://www.microsoft.com/technet/virtualserver/downloads/vhdspec.mspx#vhd',
  vhdx: 'http://www.microsoft.com/download/details.aspx?id=34750#vhdx',
  qcow2: 'http://www.gnome.org/~markmc/qcow-image-format.html',
};

/** Gives every disk, drive and adapter an item, and the disks their controllers. */
export function placeDevices(
  machine: Machine,
  files: ReadonlyMap<string, OvfDiskFile>,
  losses: Losses,
): PlacedDevices {
  const placer = new Placer(files, losses);
  const drives = machine.disks.flatMap((disk, index) => placer.drive(disk, index));
  const networks = new Set<string>();
  const nics = machine.nics.flatMap((nic, index) => {
    if (index >= NIC_COUNT_MAX) {
      losses.add(`nics[${index}]`, nic, `VMware has ${NIC_COUNT_MAX} at most`);
      return [];
    }
    return [placer.nic(nic, index, networks)];
  });
  if (machine.tpm === true) placer.tpm();
  const bootItem = bootItemOf(drives);
  return {
    files: placer.files,
    disks: placer.disks,
    items: placer.items,
    networks: [...networks],
    drives,
    nics,
    ...(bootItem !== undefined && { bootItem }),
  };
}

const bootWords: Readonly<Record<MachineDisk['device'], string>> = {
  disk: 'disk',
  cdrom: 'cdrom',
  floppy: 'floppy',
};

function bootItemOf(drives: readonly PlacedDrive[]): PlacedDevices['bootItem'] {
  const ordered = drives
    .filter(({ disk }) => disk.bootOrder !== undefined)
    .sort((a, b) => Number(a.disk.bootOrder) - Number(b.disk.bootOrder));
  const [first] = ordered;
  if (first === undefined || first === drives.find(({ disk }) => disk.device === 'disk')) return undefined;
  return { id: first.item, type: bootWords[first.disk.device] };
}

/** OVF has empty disks, which the importer makes: what is in the file of such a disk is of no use there. */
export function isMadeAnew({ device, path, role, virtualSizeBytes }: MachineDisk): boolean {
  return role === 'scratch' && device === 'disk' && path !== undefined && virtualSizeBytes !== undefined;
}

class Placer {
  readonly files: XmlNode[] = [];
  readonly disks: XmlNode[] = [];
  readonly items: XmlNode[] = [];
  readonly #known: ReadonlyMap<string, OvfDiskFile>;
  readonly #losses: Losses;
  readonly #fileIds = new Map<string, string>();
  /** Of the controllers of a bus: their items, and how many devices there are in all. */
  readonly #controllers = new Map<DiskBus, { readonly ids: number[]; count: number }>();
  #nextItem = FIRST_DEVICE_ID;
  #floppyCount = 0;

  constructor(known: ReadonlyMap<string, OvfDiskFile>, losses: Losses) {
    this.#known = known;
    this.#losses = losses;
  }

  drive(disk: MachineDisk, index: number): PlacedDrive[] {
    const field = `disks[${index}]`;
    const { device, path } = disk;
    const resource = this.#resourceOf(disk, field);
    if (resource === undefined && device === 'disk') {
      this.#losses.add(field, disk, 'it has no file and no size');
      return [];
    }
    if (device === 'floppy') return this.#floppy(disk, index, resource);
    const bus = this.#busOf(disk, field);
    const place = this.#place(bus, field);
    const item = this.#nextItem++;
    const isDisk = device === 'disk';
    this.items.push(
      itemNode(
        item,
        isDisk ? types.disk : types.cd,
        `${isDisk ? 'Hard disk' : 'CD/DVD drive'} ${index + 1}`,
        { ...place, HostResource: resource, AutomaticAllocation: isDisk ? undefined : 'true' },
        isDisk || path !== undefined,
      ),
    );
    return [{ disk, index, item, bus }];
  }

  #floppy(disk: MachineDisk, index: number, resource: string | undefined): PlacedDrive[] {
    this.#floppyCount += 1;
    if (this.#floppyCount > FLOPPY_COUNT_MAX)
      throw full(`disks[${index}]`, 'floppy drives', FLOPPY_COUNT_MAX);
    if (disk.bus !== 'floppy')
      this.#losses.add(`disks[${index}].bus`, disk.bus, 'a floppy drive has a bus of its own');
    const item = this.#nextItem++;
    const properties = { AddressOnParent: this.#floppyCount - 1, HostResource: resource };
    this.items.push(
      itemNode(item, types.floppy, `Floppy drive ${this.#floppyCount}`, properties, resource !== undefined),
    );
    return [{ disk, index, item, bus: 'floppy' }];
  }

  #busOf({ bus, device }: MachineDisk, field: string): DiskBus {
    const fits =
      bus !== undefined && expressible[bus] !== undefined && !(device === 'cdrom' && bus === 'nvme');
    if (fits) return bus;
    const why = 'only Gantry reads it: VMware and VirtualBox attach it to SATA';
    this.#losses.add(`${field}.bus`, bus, why);
    return SUBSTITUTE_BUS;
  }

  #place(bus: DiskBus, field: string): { readonly Parent: number; readonly AddressOnParent: number } {
    const kind = expressible[bus];
    const controllers = this.#controllers.get(bus) ?? { ids: [], count: 0 };
    const unitCount = kind?.units.length ?? 0;
    const at = Math.floor(controllers.count / unitCount);
    if (kind === undefined || at >= kind.controllerCountMax)
      throw full(field, `devices on ${bus}`, unitCount * (kind?.controllerCountMax ?? 0));
    let parent = controllers.ids[at];
    if (parent === undefined) {
      parent = this.#nextItem++;
      controllers.ids.push(parent);
      const { type, subType, name } = kind;
      this.items.push(itemNode(parent, type, `${name} ${at}`, { Address: at, ResourceSubType: subType }));
    }
    const unit = kind.units[controllers.count % unitCount] ?? 0;
    controllers.count += 1;
    this.#controllers.set(bus, controllers);
    return { Parent: parent, AddressOnParent: unit };
  }

  /** What an item names: a disk of the DiskSection, or the file of what is in a drive. */
  #resourceOf(disk: MachineDisk, field: string): string | undefined {
    const { device, path, format, virtualSizeBytes } = disk;
    if (path !== undefined) requirePlace(path, field);
    const file = path === undefined || isMadeAnew(disk) ? undefined : this.#fileOf(path);
    if (device !== 'disk') {
      this.#losses.add(
        `${field}.virtualSizeBytes`,
        virtualSizeBytes,
        'what is in a drive has the size of its file',
      );
      return file === undefined ? undefined : `ovf:/file/${file}`;
    }
    const sizeBytes = this.#sizeOf(disk, field);
    if (sizeBytes === undefined) return undefined;
    const written = file === undefined ? (format ?? 'vmdk') : format;
    if (format !== undefined && format !== 'vmdk') this.#losses.add(`${field}.format`, format, FORMAT_WHY);
    const id = `vmdisk${this.disks.length + 1}`;
    this.disks.push(
      xml('Disk', {
        'ovf:diskId': id,
        'ovf:fileRef': file,
        'ovf:capacity': sizeBytes,
        'ovf:capacityAllocationUnits': 'byte',
        'ovf:format': ownValue(formatAddresses, written),
      }),
    );
    return `ovf:/disk/${id}`;
  }

  #sizeOf({ path, virtualSizeBytes }: MachineDisk, field: string): number | undefined {
    const found = path === undefined ? undefined : this.#known.get(path)?.virtualSizeBytes;
    if (found !== undefined && found !== virtualSizeBytes)
      this.#losses.add(
        `${field}.virtualSizeBytes`,
        virtualSizeBytes,
        `the disk in the file has ${found} bytes`,
      );
    const size = found ?? virtualSizeBytes;
    if (size !== undefined || path === undefined) return size;
    throw refused(
      field,
      `the size of the disk in ${path} is not known`,
      'OVF says the size of every disk: give it',
    );
  }

  #fileOf(path: string): string {
    const known = this.#fileIds.get(path);
    if (known !== undefined) return known;
    const id = `file${this.#fileIds.size + 1}`;
    this.#fileIds.set(path, id);
    this.files.push(
      xml('File', { 'ovf:id': id, 'ovf:href': hrefOf(path), 'ovf:size': this.#known.get(path)?.lengthBytes }),
    );
    return id;
  }

  nic(nic: Nic, index: number, networks: Set<string>): PlacedNic {
    const { macAddress, model, network } = nic;
    const connection = connectionOf(nic);
    networks.add(connection);
    const subType = model === undefined ? 'E1000' : adapterNames[model];
    if (subType === undefined)
      this.#losses.add(`nics[${index}].model`, model, 'only Gantry reads it: VMware has E1000 here');
    const item = this.#nextItem++;
    this.items.push(
      itemNode(item, types.ethernet, `Network adapter ${index + 1}`, {
        Address: macAddress,
        AutomaticAllocation: String(network !== 'unplugged'),
        Connection: connection,
        ResourceSubType: subType ?? 'E1000',
      }),
    );
    return { nic, index, item, connection };
  }

  /** As VMware exports it; VirtualBox passes by what is not required. */
  tpm(): void {
    const properties = { AutomaticAllocation: 'false', ResourceSubType: 'vmware.vtpm' };
    this.items.push(itemNode(this.#nextItem++, types.other, 'Virtual TPM', properties, false));
  }
}

/** Throws for what is no file beside the descriptor, or below. */
function requirePlace(path: string, field: string): void {
  const why =
    xmlCharacters(path) !== path || /[\r\n\\]/.test(path) || /^[a-z][a-z0-9+.-]*:/i.test(path)
      ? 'is no plain path'
      : outsideOfFolder(path);
  if (why !== undefined)
    throw refused(`${field}.path`, `${JSON.stringify(path)} ${why}`, 'put the file beside the descriptor');
}

/** Adapters in VMware's words, those that it has. */
const adapterNames: { readonly [model in NicModel]?: string } = {
  e1000: 'E1000',
  e1000e: 'E1000e',
  vmxnet3: 'VmxNet3',
  pcnet: 'PCNet32',
};

/** The names of VirtualBox for networks that have none. */
const defaultNames: Readonly<Record<Nic['network'], string>> = {
  nat: 'NAT',
  bridged: 'Bridged',
  named: 'Network',
  isolated: 'Internal',
  unplugged: 'NAT',
};

function connectionOf({ network, networkName }: Nic): string {
  const name = network === 'nat' ? undefined : networkName;
  const clean = xmlCharacters(name ?? '')
    .replaceAll(/[\r\n\t]/g, ' ')
    .trim();
  return clean === '' ? defaultNames[network] : clean;
}

function full(field: string, what: string, most: number): ImageError {
  return refused(field, `there are more than ${most} ${what}`, 'put some on another bus');
}

function refused(field: string, message: string, hint: string): ImageError {
  return new ImageError('IMAGE_OPTION', `${field}: ${message}`, { structure: `machine ${field}`, hint });
}
