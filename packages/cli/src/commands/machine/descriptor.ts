import { open, stat } from 'node:fs/promises';
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
import { CommandError, usageError } from '../../errors/command-error.ts';

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

/** The readers take as much; of more no more is read. */
const DESCRIPTOR_BYTES_MAX: number = 2 ** 20;

/**
 * The descriptor in a file, or in the OVA that the file is. Throws IMAGE_UNSUPPORTED for the image of a disk,
 * IMAGE_LIMIT for more than a descriptor has, and what the engine throws for a malformed archive.
 */
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
    if (format === undefined || format.name === 'raw') return undefined;
    if (format.name !== 'ova') throw noDescriptor(file, format.name);
    const { bytes, name } = await readOvaDescriptor(source, signal);
    return { bytes, name: `${file}: ${name}` };
  } finally {
    await source.close();
  }
}

function noDescriptor(file: string, format: string): CommandError {
  return new CommandError('IMAGE_UNSUPPORTED', `${file} is an image (${format}), and no descriptor`, {
    where: file,
    hint: 'name the descriptor of the machine; gantry disk inspect tells what an image holds',
  });
}

/** Reads a file, or what comes through a pipe. Throws IMAGE_LIMIT for more than a descriptor has. */
export async function readDescriptor(file: string): Promise<Uint8Array> {
  const told = (error: unknown) => {
    throw storeError(error, file);
  };
  const handle = await open(file).catch(told);
  const chunks: Uint8Array[] = [];
  let lengthBytes = 0;
  try {
    // One byte more than is taken shows that there is more.
    const stream = handle.createReadStream({ end: DESCRIPTOR_BYTES_MAX });
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
      lengthBytes += chunk.length;
    }
  } catch (error) {
    told(error);
  } finally {
    await handle.close();
  }
  if (lengthBytes <= DESCRIPTOR_BYTES_MAX) return Buffer.concat(chunks);
  throw new ImageError('IMAGE_LIMIT', `${file} has more than 1 MiB, and no descriptor has`, {
    structure: 'descriptor',
    hint: 'name the descriptor of the machine, and not its disk',
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
