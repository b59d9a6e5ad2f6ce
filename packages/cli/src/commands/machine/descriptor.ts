import { readFile, stat } from 'node:fs/promises';
import { fileSource, ImageError, probeFormat, readOvaDescriptor, storeError } from '@gantry/disk';
import {
  type DescriptorReading,
  readLibvirtDomain,
  readOvf,
  readVirtImage,
  readVirtImageMachine,
  readVirtualBoxSettings,
  virtImageFacts,
} from '@gantry/machine';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';

export type DescriptorKind = 'virt-image' | 'libvirt' | 'ovf' | 'vbox';

/** A descriptor as it was found. */
export interface OpenedDescriptor {
  readonly kind: DescriptorKind;
  readonly bytes: Uint8Array;
  /** What messages call it. */
  readonly name: string;
  /** It stands in an OVA, and its disks with it. */
  readonly isPacked: boolean;
}

/** What chooses one machine of a descriptor that has several. */
export interface DescriptorChoice {
  readonly boot?: number | undefined;
  readonly system?: string | undefined;
}

/** No descriptor is larger; the readers say so with more words. */
const DESCRIPTOR_BYTES_MAX: number = 2 * 2 ** 20;

/** The descriptor in a file, or in the OVA that the file is. Throws what the engine throws for a malformed archive. */
export async function openDescriptor(context: Context, file: string): Promise<OpenedDescriptor> {
  const packed = await descriptorInOva(file, context.signal);
  if (packed !== undefined) return { ...packed, kind: 'ovf', isPacked: true };
  const bytes = await readDescriptor(file);
  return { kind: kindOf(bytes), bytes, name: file, isPacked: false };
}

async function descriptorInOva(
  file: string,
  signal: AbortSignal,
): Promise<Pick<OpenedDescriptor, 'bytes' | 'name'> | undefined> {
  const found = await stat(file).catch((error) => {
    throw storeError(error, file);
  });
  if (!found.isFile()) return undefined;
  const source = await fileSource(file);
  try {
    // What carries no mark of an image is a text, and for its reader to judge.
    const format = await probeFormat(source, signal).catch((error) => {
      if (error instanceof ImageError) return undefined;
      throw error;
    });
    if (format?.name !== 'ova') return undefined;
    const { bytes, name } = await readOvaDescriptor(source, signal);
    return { bytes, name: `${file}: ${name}` };
  } finally {
    await source.close();
  }
}

export async function readDescriptor(file: string): Promise<Uint8Array> {
  const found = await stat(file).catch((error) => {
    throw storeError(error, file);
  });
  if (found.size > DESCRIPTOR_BYTES_MAX)
    throw new ImageError(
      'IMAGE_LIMIT',
      `${file} has ${found.size} bytes, and no descriptor more than 1 MiB`,
      { structure: 'descriptor' },
    );
  return readFile(file).catch((error) => {
    throw storeError(error, file);
  });
}

const kinds: Readonly<Record<string, DescriptorKind>> = {
  domain: 'libvirt',
  domstatus: 'libvirt',
  domainsnapshot: 'libvirt',
  Envelope: 'ovf',
  VirtualBox: 'vbox',
};

/** By the first element; the reader of that kind says what is wrong with the rest. */
function kindOf(bytes: Uint8Array): DescriptorKind {
  const root = firstElement(new TextDecoder('latin1').decode(bytes).replaceAll('\0', ''));
  return (Object.hasOwn(kinds, root) ? kinds[root] : undefined) ?? 'virt-image';
}

/** Goes over what may stand before the first element, once. */
function firstElement(text: string): string {
  let at = text.indexOf('<');
  for (let end = ''; at >= 0; at = text.indexOf('<', at)) {
    if (text.startsWith('<!--', at)) end = '-->';
    else if (text.startsWith('<?', at)) end = '?>';
    else return /^<(?:[\w.-]+:)?([\w.-]+)/.exec(text.slice(at, at + 128))?.[1] ?? '';
    at = text.indexOf(end, at);
    if (at < 0) return '';
  }
  return '';
}

/** Throws USAGE for a choice that a descriptor of this kind does not have. */
export function requireChoice(kind: DescriptorKind, { boot, system }: DescriptorChoice): void {
  if (boot !== undefined && kind !== 'virt-image')
    throw usageError('--boot is for virt-image descriptors', 'leave it away: this one has no boots');
  if (system !== undefined && kind !== 'ovf')
    throw usageError('--system is for OVF descriptors', 'leave it away: this one says one machine');
}

/** The machine that a descriptor says, a virt-image by the boot that is asked for, or its first. */
export function readMachine(opened: OpenedDescriptor, choice: DescriptorChoice): DescriptorReading {
  const { bytes, kind, name } = opened;
  const { boot, system } = choice;
  requireChoice(kind, choice);
  if (kind === 'libvirt') return readLibvirtDomain(bytes, name);
  if (kind === 'ovf') return readOvf(bytes, name, { system });
  if (kind === 'vbox') return readVirtualBoxSettings(bytes, name);
  if (boot === undefined) return readVirtImageMachine(bytes, name);
  const { image, warnings } = readVirtImage(bytes, name);
  return { facts: virtImageFacts(image, { bootIndex: boot, file: name }), warnings };
}
