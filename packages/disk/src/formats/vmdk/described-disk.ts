import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { DetailValue } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { type OpenedReference, openReference } from '../reference.ts';
import { contentIdOf, type Descriptor, type DescriptorExtent, parentContentId } from './descriptor.ts';
import { descriptorWarnings } from './extent.ts';
import type { ExtentPart } from './extent-part.ts';
import { VIRTUAL_SIZE_BYTES_MAX } from './limits.ts';
import { openNamedPart } from './open-part.ts';
import { emptyPart } from './plain-part.ts';
import { newSeSparseCache } from './se-sparse-tables.ts';
import { newTableCache } from './tables.ts';
import { VmdkDisk } from './vmdk-disk.ts';

const STRUCTURE = 'VMDK descriptor';

/** Types whose extents are read; the others name devices. */
const FILE_TYPES = ['FLAT', 'VMFS', 'SPARSE', 'VMFSSPARSE', 'SESPARSE'];

/** Opens the disk that a descriptor puts together of other files, each resolved through the gate. */
export async function openDescribed(
  source: ByteSource,
  descriptor: Descriptor,
  options: OpenOptions,
): Promise<VmdkDisk> {
  requireExtents(descriptor);
  const opened: { close(): Promise<void> }[] = [];
  const close = async () => {
    for (const each of opened) await each.close();
  };
  const parts: ExtentPart[] = [];
  const warnings = descriptorWarnings(descriptor);
  const caches = { tables: newTableCache(), seSparse: newSeSparseCache() };
  try {
    for (const extent of descriptor.extents) {
      if (extent.access === 'NOACCESS' || extent.type === 'ZERO') {
        const kind = extent.access === 'NOACCESS' ? 'denied' : 'zero';
        parts.push(emptyPart(kind, extent.sectorCount * SECTOR_BYTES));
        continue;
      }
      const file = await resolveExtent(source, extent, options);
      opened.push(file);
      const { part, warnings: found } = await openNamedPart(file, extent, caches, options.signal);
      parts.push(part);
      for (const warning of found) warnings.push(`${extent.fileName}: ${warning}`);
    }
    const parent = await openParent(source, descriptor, options);
    if (parent !== undefined) opened.push(parent);
    const details = { ...descriptorDetails(descriptor), extents: descriptor.extents.map(extentText) };
    return new VmdkDisk({ parts, parent: parent?.disk, details, warnings, close });
  } catch (error) {
    await close();
    throw error;
  }
}

/** Throws for extents that are not read, and for a disk of no size or too large a one. */
export function requireExtents(descriptor: Descriptor): void {
  let sectorCount = 0;
  for (const extent of descriptor.extents) {
    sectorCount += extent.sectorCount;
    const { type, access } = extent;
    if (access === 'NOACCESS' || type === 'ZERO' || FILE_TYPES.includes(type)) continue;
    throw new ImageError('IMAGE_UNSUPPORTED', `VMDK extents of the type ${type.slice(0, 40)} are not read`, {
      structure: STRUCTURE,
      hint: 'the data is on a device of the host: copy that instead, as a raw disk',
    });
  }
  if (sectorCount === 0) {
    throw new ImageError('IMAGE_MALFORMED', 'the VMDK descriptor names no extent that holds a sector', {
      structure: STRUCTURE,
    });
  }
  if (sectorCount > VIRTUAL_SIZE_BYTES_MAX / SECTOR_BYTES) {
    throw new ImageError('IMAGE_LIMIT', `the VMDK disk of ${sectorCount} sectors is above 64 TiB`, {
      structure: STRUCTURE,
    });
  }
}

/** The name goes to the gate as it is written: only the caller knows which file, if any, it means. */
export async function resolveExtent(
  from: ByteSource,
  extent: DescriptorExtent,
  options: OpenOptions,
): Promise<ByteSource> {
  const name = extent.fileName ?? '';
  const { source } = await options.references.resolve(
    { kind: 'extent file', name, structure: STRUCTURE },
    options.signal,
  );
  const chain = [...(options.chain ?? []), from];
  if (!chain.some((other) => other === source || other.name === source.name)) return source;
  // A gate that gives what is open already keeps it.
  if (!chain.includes(source)) await source.close();
  throw new ImageError('IMAGE_REFERENCE', `the extent ${JSON.stringify(name)} is the descriptor's own file`, {
    structure: STRUCTURE,
    hint: 'supply the right file',
  });
}

/** Opens the parent of a delta; undefined for a disk without one. Throws IMAGE_REFERENCE for another disk. */
export async function openParent(
  source: ByteSource,
  descriptor: Descriptor | undefined,
  options: OpenOptions,
): Promise<OpenedReference | undefined> {
  const expected = descriptor && parentContentId(descriptor);
  if (descriptor === undefined || expected === undefined) return undefined;
  const name = descriptor.value('parentFileNameHint') ?? '';
  const reference = { kind: 'parent', name, format: 'vmdk', structure: STRUCTURE } as const;
  const parent = await openReference(source, reference, options);
  const { CID } = parent.disk.details;
  const found = typeof CID === 'string' ? contentIdOf(CID) : undefined;
  if (found === expected && parent.disk.format === 'vmdk') return parent;
  await parent.close();
  const says = found === undefined ? 'has no CID' : `has the CID ${hex(found)}`;
  throw new ImageError(
    'IMAGE_REFERENCE',
    `the parent ${JSON.stringify(name)} ${says}, where the delta was made over ${hex(expected)}`,
    {
      structure: STRUCTURE,
      hint: 'supply the parent as it was when the delta was made: with another one, or a changed one, the disk would be garbage',
    },
  );
}

function hex(id: number): string {
  return id.toString(16).padStart(8, '0');
}

function extentText({ access, sectorCount, type, fileName, offsetSectors }: DescriptorExtent): string {
  const file = fileName === undefined ? '' : ` ${JSON.stringify(fileName)}`;
  return `${access} ${sectorCount} ${type}${file}${offsetSectors === 0 ? '' : ` ${offsetSectors}`}`;
}

/** Facts that a descriptor tells, in its own words. */
export function descriptorDetails(descriptor: Descriptor | undefined): Record<string, DetailValue> {
  const text = (key: string) => descriptor?.value(key) ?? null;
  return {
    createType: text('createType'),
    CID: text('CID'),
    parentCID: text('parentCID'),
    ...(descriptor?.value('parentFileNameHint') !== undefined && {
      parentFileNameHint: text('parentFileNameHint'),
    }),
    adapterType: text('ddb.adapterType'),
    virtualHWVersion: text('ddb.virtualHWVersion'),
    geometry: geometryOf(descriptor),
    longContentID: text('ddb.longContentID'),
    'uuid.image': text('ddb.uuid.image'),
  };
}

function geometryOf(descriptor: Descriptor | undefined): DetailValue {
  const [cylinders, heads, sectors] = ['cylinders', 'heads', 'sectors'].map((key) =>
    descriptor?.value(`ddb.geometry.${key}`),
  );
  if (cylinders === undefined || heads === undefined || sectors === undefined) return null;
  return { cylinders, heads, sectors };
}
