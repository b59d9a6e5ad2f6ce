import { hasMagic } from '../../bytes/fields.ts';
import { roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { refuseParent } from '../refuse-parent.ts';
import { type Descriptor, isDelta, looksLikeDescriptor, parseDescriptor } from './descriptor.ts';
import { readSparseHeader, SPARSE_MAGIC, type SparseHeader } from './header.ts';
import { DESCRIPTOR_BYTES_MAX } from './limits.ts';
import { readFooter } from './markers.ts';

const HEAD_BYTES = 64 * 1024;
/** const header of a seSparse extent: 0xcafebabe in 8 bytes. */
const SE_SPARSE_MAGIC = '\xbe\xba\xfe\xca\0\0\0\0';

/** The kind of VMDK file that begins with these bytes; undefined for no VMDK. */
export function vmdkKind(head: Uint8Array): 'sparse' | 'COWD' | 'seSparse' | 'descriptor' | undefined {
  if (hasMagic(head, SPARSE_MAGIC)) return 'sparse';
  if (hasMagic(head, 'COWD')) return 'COWD';
  if (hasMagic(head, SE_SPARSE_MAGIC)) return 'seSparse';
  return looksLikeDescriptor(head) ? 'descriptor' : undefined;
}

/** A hosted sparse extent that is a whole disk, without its tables. */
export interface SparseExtent {
  /** The footer, where the header leaves the grain directory's place to it. */
  readonly header: SparseHeader & { readonly directorySector: number };
  readonly hasFooter: boolean;
  readonly descriptor: Descriptor | undefined;
  readonly virtualSizeBytes: number;
  /** Oddities that were tolerated, one sentence each. */
  readonly warnings: string[];
}

/**
 * Reads the header, the footer and the descriptor. Throws ImageError for all that could not be read right
 * and for the subformats that are not read; names of other files go through the gate first.
 */
export async function readSparseExtent(source: ByteSource, options: OpenOptions): Promise<SparseExtent> {
  const { signal } = options;
  const head = await readStructure(source, 0, Math.min(HEAD_BYTES, source.lengthBytes), 'VMDK file', signal);
  const kind = vmdkKind(head);
  if (kind === 'descriptor') return refuseDescriptorFile(source, options);
  if (kind !== 'sparse') refuseKind(kind);
  const first = await readSparseHeader(source, signal);
  const descriptor = await readEmbeddedDescriptor(source, first, signal);
  if (descriptor !== undefined) await refuseOtherFiles(first, descriptor, options);
  if (first.capacitySectors === 0) {
    throw new ImageError('IMAGE_MALFORMED', 'the VMDK file has a capacity of 0', {
      structure: 'VMDK sparse header',
      offsetBytes: 12,
    });
  }
  const hasFooter = first.directorySector === undefined;
  const footer = hasFooter ? await readFooter(source, first, signal) : first;
  const header = { ...footer, directorySector: footer.directorySector ?? 0 };
  return {
    header,
    hasFooter,
    descriptor,
    virtualSizeBytes: virtualSectors(header, descriptor) * SECTOR_BYTES,
    warnings: warningsOf(header, descriptor),
  };
}

function refuseKind(kind: 'COWD' | 'seSparse' | undefined): never {
  if (kind === undefined) {
    throw new ImageError('IMAGE_MALFORMED', 'this is not a VMDK file: no mark of one is there', {
      structure: 'VMDK file',
      offsetBytes: 0,
    });
  }
  const name = kind === 'COWD' ? 'vmfsSparse (COWD)' : kind;
  throw new ImageError('IMAGE_UNSUPPORTED', `VMDK extents of the subformat ${name} cannot be read yet`, {
    structure: 'VMDK file',
    offsetBytes: 0,
    hint: 'consolidate the snapshots, or convert the disk with qemu-img convert first',
  });
}

async function refuseDescriptorFile(source: ByteSource, options: OpenOptions): Promise<never> {
  if (source.lengthBytes > DESCRIPTOR_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `the VMDK descriptor of ${source.lengthBytes} bytes is above 1 MiB`, {
      structure: 'VMDK descriptor',
    });
  }
  const bytes = await readStructure(source, 0, source.lengthBytes, 'VMDK descriptor', options.signal);
  return refuseSubformat(parseDescriptor(bytes), options);
}

/** A text that the header points to; undefined when there is none but zeros. */
async function readEmbeddedDescriptor(
  source: ByteSource,
  header: SparseHeader,
  signal: AbortSignal | undefined,
): Promise<Descriptor | undefined> {
  const { descriptorSector, descriptorSectorCount } = header;
  if (descriptorSector === 0 || descriptorSectorCount === 0) return undefined;
  const bytes = await readStructure(
    source,
    descriptorSector * SECTOR_BYTES,
    descriptorSectorCount * SECTOR_BYTES,
    'VMDK descriptor',
    signal,
  );
  return bytes[0] === 0 ? undefined : parseDescriptor(bytes);
}

const EMBEDDING_SUBFORMATS = ['monolithicSparse', 'streamOptimized'];

/** The header of a file that is the whole disk rules over its descriptor; anything else is refused. */
async function refuseOtherFiles(
  header: SparseHeader,
  descriptor: Descriptor,
  options: OpenOptions,
): Promise<void> {
  const createType = descriptor.value('createType');
  const whole =
    header.capacitySectors > 0 &&
    descriptor.extents.length <= 1 &&
    descriptor.extents.every((extent) => extent.type === 'SPARSE') &&
    (createType === undefined || EMBEDDING_SUBFORMATS.some((name) => equalNames(name, createType)));
  if (!whole) await refuseSubformat(descriptor, options);
  if (isDelta(descriptor)) await refuseDelta(descriptor, options);
}

/** Asks the gate about every name, as a reader would; what it gives is closed unread. */
async function refuseSubformat(descriptor: Descriptor, options: OpenOptions): Promise<never> {
  for (const { fileName } of descriptor.extents) {
    if (fileName === undefined) continue;
    const reference = { kind: 'extent file', name: fileName, structure: 'VMDK descriptor' } as const;
    const resolved = await options.references.resolve(reference, options.signal);
    await resolved.source.close();
  }
  if (isDelta(descriptor)) await refuseDelta(descriptor, options);
  const createType = descriptor.value('createType') ?? 'unknown';
  throw new ImageError(
    'IMAGE_UNSUPPORTED',
    `VMDK disks of the subformat ${createType.slice(0, 40)}, made of a descriptor and extent files, cannot be read yet`,
    { structure: 'VMDK descriptor', hint: 'convert the disk to one file with qemu-img convert first' },
  );
}

function refuseDelta(descriptor: Descriptor, options: OpenOptions): Promise<never> {
  const name = descriptor.value('parentFileNameHint') ?? '';
  const hint = 'consolidate the snapshots first, or flatten the chain with qemu-img convert';
  return refuseParent('VMDK', { name, structure: 'VMDK descriptor' }, hint, options);
}

function equalNames(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase();
}

/** VirtualBox rounds the capacity up to a whole grain; the descriptor's extent line has the true size. */
function virtualSectors(header: SparseHeader, descriptor: Descriptor | undefined): number {
  const sectors = descriptor?.extents[0]?.sectorCount ?? 0;
  const rounded = sectors > 0 && roundUp(sectors, header.grainSectors) === header.capacitySectors;
  return rounded ? sectors : header.capacitySectors;
}

function warningsOf(header: SparseHeader, descriptor: Descriptor | undefined): string[] {
  const warnings: string[] = [];
  if (header.uncleanShutdown) warnings.push('the file was not closed cleanly (uncleanShutdown is set)');
  if (descriptor === undefined) {
    warnings.push(
      'the file has no descriptor: if it is one extent of a split disk, it is only that part of it',
    );
    return warnings;
  }
  const createType = descriptor.value('createType');
  const expected = header.compressed ? 'streamOptimized' : 'monolithicSparse';
  if (createType === undefined) warnings.push('the descriptor has no createType; the header was believed');
  else if (!equalNames(createType, expected)) {
    warnings.push(`the descriptor says ${createType}, the header ${expected}; the header was believed`);
  }
  const [extent] = descriptor.extents;
  if (extent === undefined) warnings.push('the descriptor has no extent; the header was believed');
  else if (virtualSectors(header, descriptor) !== extent.sectorCount) {
    const { sectorCount } = extent;
    warnings.push(
      `the descriptor says ${sectorCount} sectors, the header ${header.capacitySectors}; the header was believed`,
    );
  }
  for (const key of descriptor.duplicateKeys.slice(0, 10)) {
    warnings.push(
      `the descriptor has ${JSON.stringify(key.slice(0, 80))} more than once; the first value was taken`,
    );
  }
  return warnings;
}
