import { ImageError, type ImageErrorCode } from '@gantry/disk';
import { ownValue } from '../../own-value.ts';
import { anyAttribute, anyChild, anyChildren, type XmlElement } from '../xml/tree.ts';
import type { Warnings } from '../xml/warnings.ts';
import { bytesOfUnits } from './units.ts';
import { envelopeNamespaces, formatWords, namespaces, STRUCTURE, VBOX_NAMESPACE } from './words.ts';

/** A file that the descriptor names, relative to it. */
export interface PackageFile {
  readonly path: string;
  readonly element: XmlElement;
}

/** An entry of the DiskSection. */
export interface PackageDisk {
  readonly id: string;
  readonly element: XmlElement;
  /** Absent for a disk that is made empty. */
  readonly file?: PackageFile | undefined;
  readonly virtualSizeBytes?: number | undefined;
  readonly format?: string | undefined;
}

/** What a package holds beside its systems. */
export interface Package {
  readonly files: ReadonlyMap<string, PackageFile>;
  readonly disks: ReadonlyMap<string, PackageDisk>;
  /** Values of properties by their keys, as far as the descriptor gives some. */
  readonly properties: ReadonlyMap<string, string>;
}

export function refusedOvf(code: ImageErrorCode, message: string, hint: string): ImageError {
  return new ImageError(code, message, { structure: STRUCTURE, hint });
}

const MALFORMED_HINT = 'export the machine again, or correct the descriptor at this place';

export function malformedOvf(warnings: Warnings, element: XmlElement, what: string): ImageError {
  return refusedOvf('IMAGE_MALFORMED', warnings.at(element, what), MALFORMED_HINT);
}

/** Throws for a document that is no envelope; one of an unknown version is a warning. */
export function requireEnvelope(root: XmlElement, warnings: Warnings): void {
  if (root.name !== 'Envelope')
    throw malformedOvf(warnings, root, `the root is <${root.name}>, and not <Envelope>`);
  const isOld = ['Section', 'Content'].some((name) => anyChild(root, name) !== undefined);
  if (isOld) {
    const hint = 'convert it with a tool of its time, or describe the machine anew';
    throw refusedOvf('IMAGE_UNSUPPORTED', warnings.at(root, 'a descriptor of OVF 0.9 is not read'), hint);
  }
  if (!envelopeNamespaces.includes(root.namespace))
    warnings.add(root, `the namespace ${JSON.stringify(root.namespace)} is none of OVF 1 or 2`);
}

/** Sections of the standard that say nothing about one machine, and what is told of them; an empty text: nothing. */
const standardSections: Readonly<Record<string, string>> = {
  References: '',
  DiskSection: '',
  NetworkSection: '',
  VirtualSystem: '',
  VirtualSystemCollection: '',
  OperatingSystemSection: '',
  VirtualHardwareSection: '',
  AnnotationSection: '',
  ProductSection: '',
  Info: '',
  Name: '',
  Strings: '',
  DeploymentOptionSection: '',
  EulaSection: 'the licence is not in the machine',
  StartupSection: 'the order in which systems start is not in the machine',
  ResourceAllocationSection: 'what is set aside for the systems is not in the machine',
  InstallSection: 'that the machine is to be started once to be installed is not in it',
  EnvironmentFilesSection: 'files for the environment of the guest are not in the machine',
  BootDeviceSection: 'the settings of the boot are not in the machine',
  SharedDiskSection: 'that disks are shared is not in the machine',
  ScaleOutSection: 'that there may be several of the system is not in the machine',
  PlacementGroupSection: 'where systems are placed is not in the machine',
  PlacementSection: 'where the system is placed is not in the machine',
  NetworkPortProfileSection: 'profiles of networks are not in the machine',
};

/** Those of vendors that are read, or that say nothing about a machine. */
const vendorSections: readonly (readonly [namespace: string, name: string])[] = [
  [namespaces.vmw, 'BootOrderSection'],
  [namespaces.vmw, 'StorageSection'],
  [namespaces.vmw, 'StorageGroupSection'],
  [namespaces.gantry, 'MachineSection'],
  [VBOX_NAMESPACE, 'Machine'],
];

/**
 * Tells of the sections that are left out. Throws IMAGE_UNSUPPORTED for what the descriptor itself requires to be
 * understood (DSP0243, 7: `ovf:required`). The standard takes an absent attribute as true; programs forget it.
 */
export function tellSections(parent: XmlElement, warnings: Warnings): void {
  for (const element of parent.children) {
    const { name, namespace } = element;
    if (name === 'EncryptionSection') {
      const hint = 'decrypt the package with the program that made it';
      throw refusedOvf('IMAGE_UNSUPPORTED', warnings.at(element, 'an encrypted package is not read'), hint);
    }
    if (vendorSections.some(([known, section]) => known === namespace && section === name)) continue;
    const isOfParent = namespace === parent.namespace || envelopeNamespaces.includes(namespace);
    const told = isOfParent && Object.hasOwn(standardSections, name) ? standardSections[name] : undefined;
    if (told === '') continue;
    if (told === undefined) requireOptional(element, warnings);
    warnings.add(element, told ?? `<${name}> of ${namespace} is not in the machine`);
  }
}

export function requireOptional(element: XmlElement, warnings: Warnings): void {
  if (anyAttribute(element, 'required') !== 'true') return;
  throw refusedOvf(
    'IMAGE_UNSUPPORTED',
    warnings.at(element, `the descriptor requires a reader that understands <${element.name}>`),
    'import it with the program that made it, or set ovf:required to false there if the machine does without',
  );
}

/** All systems, those of nested collections too, in document order. */
export function systemsOf(parent: XmlElement): XmlElement[] {
  return parent.children.flatMap((child) =>
    child.name === 'VirtualSystem'
      ? [child]
      : child.name === 'VirtualSystemCollection'
        ? systemsOf(child)
        : [],
  );
}

/** The chain of elements from the envelope to a system, without it. */
export function containersOf(parent: XmlElement, system: XmlElement): XmlElement[] {
  for (const child of anyChildren(parent, 'VirtualSystemCollection')) {
    const chain = containersOf(child, system);
    if (chain.length > 0) return [parent, ...chain];
  }
  return parent.children.includes(system) ? [parent] : [];
}

/** The one system, or the one that is asked for by its id or name. */
export function chosenSystem(root: XmlElement, asked: string | undefined, warnings: Warnings): XmlElement {
  const systems = systemsOf(root);
  const namesOf = (system: XmlElement) =>
    [anyAttribute(system, 'id'), anyChild(system, 'Name')?.text.trim()].filter((name) => name !== undefined);
  const all = listed(systems.map((system) => namesOf(system)[0] ?? '?'));
  const found = asked === undefined ? systems : systems.filter((system) => namesOf(system).includes(asked));
  const [system] = found;
  if (systems.length === 0) throw malformedOvf(warnings, root, 'there is no <VirtualSystem>');
  if (system !== undefined && found.length === 1) return system;
  const what =
    asked !== undefined && system === undefined
      ? `there is no system ${JSON.stringify(asked)}`
      : `there are ${found.length} systems: ${all}`;
  throw refusedOvf('IMAGE_OPTION', warnings.at(system ?? root, what), `choose one of them: ${all}`);
}

/** As many as a line holds. */
const LISTED_MAX = 8;

/** Names for a message, the first of them when there are many. */
export function listed(names: readonly string[]): string {
  const more = names.length - LISTED_MAX;
  return names.slice(0, LISTED_MAX).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** Files, disks and properties. Throws IMAGE_MALFORMED for ids that stand there twice or lead nowhere. */
export function packageOf(root: XmlElement, holders: readonly XmlElement[], warnings: Warnings): Package {
  const properties = new Map<string, string>();
  for (const section of holders.flatMap((holder) => anyChildren(holder, 'ProductSection')))
    for (const property of anyChildren(section, 'Property')) {
      const key = anyAttribute(property, 'key');
      const value = anyAttribute(property, 'value');
      if (key !== undefined && value !== undefined && !properties.has(key)) properties.set(key, value);
    }
  const files = new Map<string, PackageFile>();
  for (const element of anyChildren(root, 'References').flatMap((list) => anyChildren(list, 'File'))) {
    const id = required(element, 'id', warnings);
    if (files.has(id)) throw malformedOvf(warnings, element, `the file ${JSON.stringify(id)} is named twice`);
    files.set(id, { path: pathOf(required(element, 'href', warnings)), element });
  }
  const disks = new Map<string, PackageDisk>();
  for (const element of anyChildren(root, 'DiskSection').flatMap((list) => anyChildren(list, 'Disk'))) {
    const disk = diskOf(element, files, properties, warnings);
    if (disks.has(disk.id))
      throw malformedOvf(warnings, element, `the disk ${JSON.stringify(disk.id)} is named twice`);
    disks.set(disk.id, disk);
  }
  return { files, disks, properties };
}

/** An href is a relative reference (RFC 3986), which some programs escape and others do not. */
function pathOf(href: string): string {
  try {
    return decodeURIComponent(href);
  } catch {
    return href;
  }
}

/** The path of a file as a relative reference. */
export function hrefOf(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

function diskOf(
  element: XmlElement,
  files: ReadonlyMap<string, PackageFile>,
  properties: ReadonlyMap<string, string>,
  warnings: Warnings,
): PackageDisk {
  const reference = anyAttribute(element, 'fileRef');
  const file = reference === undefined ? undefined : files.get(reference);
  if (reference !== undefined && file === undefined)
    throw malformedOvf(
      warnings,
      element,
      `the disk is in the file ${JSON.stringify(reference)}, which is not listed`,
    );
  return {
    id: required(element, 'diskId', warnings),
    element,
    file,
    virtualSizeBytes: capacityOf(element, properties, warnings),
    format: formatOf(anyAttribute(element, 'format'), file?.path),
  };
}

/** `${key}` stands for a property (DSP0243, 9.1), whose value may be asked for at deployment. */
function capacityOf(
  element: XmlElement,
  properties: ReadonlyMap<string, string>,
  warnings: Warnings,
): number | undefined {
  const written = anyAttribute(element, 'capacity');
  if (written === undefined) return undefined;
  const [, key] = /^\$\{(.*)\}$/.exec(written) ?? [];
  const capacity = key === undefined ? written : properties.get(key);
  if (capacity === undefined) {
    warnings.add(element, `the size of the disk is asked for at deployment (${key}), and not known`);
    return undefined;
  }
  const unit = anyAttribute(element, 'capacityAllocationUnits') ?? 'byte';
  const bytes = bytesOfUnits(capacity, unit);
  if (bytes !== undefined) return bytes;
  throw malformedOvf(warnings, element, `there is no such size: ${capacity} ${unit}`);
}

/** By the address, else by the ending of the file's name. */
export function formatOf(address: string | undefined, path: string | undefined): string | undefined {
  const lower = (address ?? '').toLowerCase();
  const word = Object.keys(formatWords).find((candidate) => lower.includes(candidate));
  const ending = path === undefined ? '' : path.slice(path.lastIndexOf('.') + 1).toLowerCase();
  return ownValue(formatWords, word ?? ending);
}

function required(element: XmlElement, name: string, warnings: Warnings): string {
  const value = anyAttribute(element, name);
  if (value !== undefined) return value;
  throw malformedOvf(warnings, element, `<${element.name}> has no ${name}`);
}
