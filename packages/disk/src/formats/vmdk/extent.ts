import { roundUp, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { type Descriptor, parseDescriptor } from './descriptor.ts';
import { readSparseHeader, type SparseHeader } from './header.ts';
import { DESCRIPTOR_BYTES_MAX } from './limits.ts';
import { readFooter } from './markers.ts';

const DESCRIPTOR = 'VMDK descriptor';

/** A hosted sparse extent with the descriptor that is embedded in it. */
export interface EmbeddedExtent {
  readonly header: SparseHeader;
  readonly descriptor: Descriptor | undefined;
}

/** Reads the header at the start of the file and the text that it points to. */
export async function readEmbedded(source: ByteSource, signal?: AbortSignal): Promise<EmbeddedExtent> {
  const header = await readSparseHeader(source, signal);
  return { header, descriptor: await readEmbeddedDescriptor(source, header, signal) };
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
    DESCRIPTOR,
    signal,
  );
  return bytes[0] === 0 ? undefined : parseDescriptor(bytes);
}

/** Reads a file that is a descriptor. */
export async function readDescriptorFile(source: ByteSource, signal?: AbortSignal): Promise<Descriptor> {
  if (source.lengthBytes > DESCRIPTOR_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `the VMDK descriptor of ${source.lengthBytes} bytes is above 1 MiB`, {
      structure: DESCRIPTOR,
    });
  }
  return parseDescriptor(await readStructure(source, 0, source.lengthBytes, DESCRIPTOR, signal));
}

const EMBEDDING_SUBFORMATS = ['monolithicSparse', 'streamOptimized'];

/** True when the file is all of the disk; else its descriptor says which files are. */
export function isWholeDisk({ header, descriptor }: EmbeddedExtent): boolean {
  if (descriptor === undefined) return true;
  const createType = descriptor.value('createType');
  return (
    header.capacitySectors > 0 &&
    descriptor.extents.length <= 1 &&
    descriptor.extents.every((extent) => extent.type === 'SPARSE') &&
    (createType === undefined || EMBEDDING_SUBFORMATS.some((name) => equalNames(name, createType)))
  );
}

/** Throws IMAGE_MALFORMED for a file without sectors. */
export function requireSectors({ header }: EmbeddedExtent): void {
  if (header.capacitySectors > 0) return;
  throw new ImageError('IMAGE_MALFORMED', 'the VMDK file has a capacity of 0', {
    structure: 'VMDK sparse header',
    offsetBytes: 12,
  });
}

/** True for a part of a split disk. Compressed files are whole disks, though some tools leave the text out. */
export function isLoneExtent({ header, descriptor }: EmbeddedExtent): boolean {
  return descriptor === undefined && !header.compressed && header.capacitySectors > 0;
}

/** A part of a disk shows nothing that is right by itself. */
export function refuseLoneExtent(source: ByteSource): never {
  throw new ImageError('IMAGE_UNSUPPORTED', `${source.name} is one extent of a disk of several files`, {
    structure: 'VMDK file',
    offsetBytes: 0,
    hint: 'open the descriptor instead, a small text file whose name has no -s001, -delta or -sesparse, and supply this file with it',
  });
}

/** The header that says where the tables are: the footer, where the header leaves it to that. */
export async function readTableHeader(
  source: ByteSource,
  header: SparseHeader,
  signal?: AbortSignal,
): Promise<SparseHeader & { readonly directorySector: number }> {
  const last = header.directorySector === undefined ? await readFooter(source, header, signal) : header;
  return { ...last, directorySector: last.directorySector ?? 0 };
}

function equalNames(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase();
}

/** VirtualBox rounds the capacity up to a whole grain; the descriptor's extent line has the true size. */
export function virtualSectors({ header, descriptor }: EmbeddedExtent): number {
  const sectors = descriptor?.extents[0]?.sectorCount ?? 0;
  return isCapacityOf(header, sectors) ? sectors : header.capacitySectors;
}

/** True when an extent of this capacity can be that of a line of so many sectors. */
export function isCapacityOf(
  header: Pick<SparseHeader, 'capacitySectors' | 'grainSectors'>,
  sectorCount: number,
): boolean {
  const { capacitySectors, grainSectors } = header;
  return (
    sectorCount > 0 &&
    (sectorCount === capacitySectors || roundUp(sectorCount, grainSectors) === capacitySectors)
  );
}

/** Oddities of a file that is a whole disk, one sentence each. */
export function embeddedWarnings(embedded: EmbeddedExtent): string[] {
  const { header, descriptor } = embedded;
  const warnings: string[] = uncleanWarnings(header);
  if (descriptor === undefined) return [...warnings, 'the file has no descriptor; the header was believed'];
  const createType = descriptor.value('createType');
  const expected = header.compressed ? 'streamOptimized' : 'monolithicSparse';
  if (createType === undefined) warnings.push('the descriptor has no createType; the header was believed');
  else if (!equalNames(createType, expected)) {
    warnings.push(`the descriptor says ${createType}, the header ${expected}; the header was believed`);
  }
  const [extent] = descriptor.extents;
  if (extent === undefined) warnings.push('the descriptor has no extent; the header was believed');
  else if (virtualSectors(embedded) !== extent.sectorCount) {
    const { sectorCount } = extent;
    warnings.push(
      `the descriptor says ${sectorCount} sectors, the header ${header.capacitySectors}; the header was believed`,
    );
  }
  return [...warnings, ...descriptorWarnings(descriptor)];
}

export function uncleanWarnings(header: SparseHeader): string[] {
  return header.uncleanShutdown ? ['the file was not closed cleanly (uncleanShutdown is set)'] : [];
}

export function descriptorWarnings(descriptor: Descriptor): string[] {
  return descriptor.duplicateKeys
    .slice(0, 10)
    .map(
      (key) =>
        `the descriptor has ${JSON.stringify(key.slice(0, 80))} more than once; the first value was taken`,
    );
}
