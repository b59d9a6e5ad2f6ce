import { toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { ovfQuantityBytes } from './quantity.ts';
import { attributeOf, childrenOf, descendants, parseXml, textOf, type XmlElement } from './xml.ts';

const STRUCTURE = 'OVF descriptor';

/** A file that the descriptor names: data, never opened by its name. */
export interface OvfFile {
  readonly id: string;
  readonly href: string;
  readonly lengthBytes?: number | undefined;
  /** As written: `gzip`, for one. */
  readonly compression?: string | undefined;
  readonly isChunked: boolean;
}

export interface OvfDisk {
  readonly id: string;
  /** Absent where the descriptor does not say it. */
  readonly virtualSizeBytes?: number | undefined;
  /** Absent for a disk that is to be made empty. */
  readonly file?: OvfFile | undefined;
  /** The address that names the format: `http://www.vmware.com/…/vmdk.html#streamOptimized`. */
  readonly format?: string | undefined;
  /** Id of the disk that it is a difference to. */
  readonly parent?: string | undefined;
}

/** What is read of an OVF descriptor (DSP0243): the disks, and of the first machine what a launch needs. */
export interface OvfDescription {
  readonly name?: string | undefined;
  /** CIM's number of the operating system. */
  readonly osId?: number | undefined;
  /** What VMware (`ubuntu64Guest`) or VirtualBox (`Ubuntu_64`) call it. */
  readonly osType?: string | undefined;
  readonly cpuCount?: number | undefined;
  readonly memoryBytes?: number | undefined;
  /** `efi` or `bios`, where it is said. */
  readonly firmware?: string | undefined;
  readonly files: readonly OvfFile[];
  readonly disks: readonly OvfDisk[];
}

/** Reads a descriptor. Throws IMAGE_MALFORMED or IMAGE_LIMIT. */
export function parseOvf(bytes: Uint8Array): OvfDescription {
  const root = parseXml(bytes);
  if (root.name !== 'Envelope') throw malformed(`its root is <${root.name}>, not <Envelope>`);
  const files = new Map<string, OvfFile>();
  for (const element of descendants(only(root, 'References'), 'File')) {
    const file = fileOf(element);
    if (files.has(file.id)) throw malformed(`the file ${JSON.stringify(file.id)} is named twice`);
    files.set(file.id, file);
  }
  const disks = childrenOf(only(root, 'DiskSection'), 'Disk').map((element) => diskOf(element, files));
  const ids = new Set(disks.map(({ id }) => id));
  if (ids.size !== disks.length) throw malformed('two disks have one id');
  const [system] = descendants(root, 'VirtualSystem');
  return { ...(system === undefined ? {} : systemOf(system)), files: [...files.values()], disks };
}

/** The section of this name, an empty one where there is none; OVF 0.9 called them all Section. */
function only(root: XmlElement, name: string): XmlElement {
  const found = childrenOf(root, name);
  if (found.length > 1) throw malformed(`there are ${found.length} sections <${name}>`);
  return found[0] ?? { name, attributes: new Map(), attributeRanges: new Map(), children: [], text: '' };
}

function fileOf(element: XmlElement): OvfFile {
  const size = attributeOf(element, 'size');
  const compression = attributeOf(element, 'compression');
  return {
    id: required(element, 'id'),
    href: required(element, 'href'),
    lengthBytes: size === undefined ? undefined : bytesOf(size, 'byte'),
    compression: compression === '' || compression === 'identity' ? undefined : compression,
    isChunked: attributeOf(element, 'chunkSize') !== undefined,
  };
}

function diskOf(element: XmlElement, files: ReadonlyMap<string, OvfFile>): OvfDisk {
  const reference = attributeOf(element, 'fileRef');
  const file = reference === undefined ? undefined : files.get(reference);
  if (reference !== undefined && file === undefined) {
    throw malformed(`a disk is in the file ${JSON.stringify(reference)}, which is not listed`);
  }
  const capacity = attributeOf(element, 'capacity');
  // `${…}` stands for a property that is asked for at deployment.
  const isNumber = capacity !== undefined && !capacity.startsWith('${');
  return {
    id: required(element, 'diskId'),
    virtualSizeBytes: isNumber
      ? bytesOf(capacity, attributeOf(element, 'capacityAllocationUnits') ?? 'byte')
      : undefined,
    file,
    format: attributeOf(element, 'format'),
    parent: attributeOf(element, 'parentRef'),
  };
}

/** Numbers of CIM's resource types. */
const PROCESSOR = '3';
const MEMORY = '4';

function systemOf(system: XmlElement): Partial<OvfDescription> {
  const [os] = descendants(system, 'OperatingSystemSection');
  const items = [...descendants(system, 'Item')];
  const item = (type: string) => items.find((candidate) => textOf(candidate, 'ResourceType') === type);
  const cpu = item(PROCESSOR);
  const memory = item(MEMORY);
  const memoryQuantity = memory && textOf(memory, 'VirtualQuantity');
  const osId = os && attributeOf(os, 'id');
  return {
    name: textOf(system, 'Name') ?? attributeOf(system, 'id'),
    osId: osId === undefined || !/^\d{1,5}$/.test(osId) ? undefined : Number(osId),
    osType: (os && attributeOf(os, 'osType')) ?? (os && textOf(os, 'OSType')),
    cpuCount: countOf(cpu && textOf(cpu, 'VirtualQuantity')),
    memoryBytes:
      memoryQuantity === undefined
        ? undefined
        : bytesOf(memoryQuantity, (memory && textOf(memory, 'AllocationUnits')) ?? 'byte * 2^20'),
    firmware: firmwareOf(system),
  };
}

/** VMware's `<vmw:Config vmw:key="firmware" vmw:value="efi"/>`, VirtualBox's `<Firmware type="EFI"/>`. */
function firmwareOf(system: XmlElement): string | undefined {
  for (const config of descendants(system, 'Config')) {
    if (attributeOf(config, 'key') === 'firmware') return attributeOf(config, 'value')?.toLowerCase();
  }
  for (const firmware of descendants(system, 'Firmware')) {
    const type = attributeOf(firmware, 'type')?.toLowerCase();
    if (type !== undefined) return type.startsWith('efi') ? 'efi' : type;
  }
  return undefined;
}

function countOf(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,6}$/.test(value) ? Number(value) : undefined;
}

/** A quantity in its unit. Throws IMAGE_MALFORMED or IMAGE_LIMIT. */
function bytesOf(quantity: string, unit: string): number {
  const bytes = ovfQuantityBytes(quantity, unit);
  if (bytes === undefined) throw malformed(`there is no such size: ${JSON.stringify(`${quantity} ${unit}`)}`);
  return toSafeInteger(bytes, { structure: `${STRUCTURE}: a size` });
}

function required(element: XmlElement, name: string): string {
  const value = attributeOf(element, name);
  if (value === undefined || value === '') throw malformed(`a <${element.name}> has no ${name}`);
  return value;
}

function malformed(what: string): ImageError {
  return new ImageError('IMAGE_MALFORMED', `the OVF descriptor is malformed: ${what}`, {
    structure: STRUCTURE,
  });
}
