import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, requireInside } from '../../io/byte-source.ts';
import { HEAD_BYTES } from '../../io/forward.ts';
import { readCowdHeader } from './cowd.ts';
import type { DescriptorExtent } from './descriptor.ts';
import { readDirectory, redundantTablesInFront, sameShape } from './directory.ts';
import { isCapacityOf, readTableHeader, uncleanWarnings } from './extent.ts';
import type { ExtentPart } from './extent-part.ts';
import { readSparseHeader, type SparseHeader } from './header.ts';
import { readKind } from './kind.ts';
import { flatPart } from './plain-part.ts';
import { readSeSparseHeader } from './se-sparse.ts';
import { SeSparseTables } from './se-sparse-tables.ts';
import { SparsePart } from './sparse-part.ts';
import { StreamPart } from './stream-part.ts';
import type { TableCache } from './table-cache.ts';
import { GrainTables, requireSoundDirectory } from './tables.ts';

/** What the extents of one disk have in common. */
export interface PartCaches {
  readonly tables: TableCache<Uint32Array>;
  readonly seSparse: TableCache<Float64Array>;
}

export interface OpenedPart {
  readonly part: ExtentPart;
  /** Oddities that were tolerated, one sentence each. */
  readonly warnings: readonly string[];
}

/** Opens a hosted sparse extent, of which `lengthBytes` are shown. */
export async function openSparsePart(
  source: ByteSource,
  header: SparseHeader,
  lengthBytes: number,
  signal?: AbortSignal,
  cache?: TableCache<Uint32Array>,
): Promise<OpenedPart> {
  if (source.sequential && header.compressed && !hasTablesInFront(header)) {
    if (header.redundantDirectorySector !== undefined) refuseRedundantStream(source);
    return { part: new StreamPart(source, header, lengthBytes), warnings: [] };
  }
  const last = await readTableHeader(source, header, signal);
  const warnings: string[] = [];
  const directory = await readDirectory(source, last, last.directorySector, 'VMDK grain directory', signal);
  requireSoundDirectory(source, last, last.directorySector, directory);
  const redundant = await readRedundantDirectory(source, last, directory, warnings, signal);
  const tables = new GrainTables(source, last, directory, redundant, cache?.extent());
  return { part: new SparsePart(source, tables, lengthBytes), warnings };
}

/** Tables that stay readable while the rest arrives. */
function hasTablesInFront(header: SparseHeader): boolean {
  const { directorySector, overheadSectors } = header;
  return (
    directorySector !== undefined &&
    directorySector < overheadSectors &&
    overheadSectors * SECTOR_BYTES <= HEAD_BYTES
  );
}

function refuseRedundantStream(source: ByteSource): never {
  throw new ImageError(
    'IMAGE_NOT_SEQUENTIAL',
    `${source.name} has two sets of tables: it is not read while it arrives`,
    {
      structure: 'VMDK sparse header',
      hint: 'put the file where it can be read at any offset',
    },
  );
}

/**
 * The redundant grain directory when its tables are where no grain can be. A warning when it is for other
 * parts of the disk than the grain directory: that one counts.
 */
async function readRedundantDirectory(
  source: ByteSource,
  header: SparseHeader,
  directory: Uint32Array,
  warnings: string[],
  signal: AbortSignal | undefined,
): Promise<Uint32Array | undefined> {
  const sector = header.redundantDirectorySector;
  if (sector === undefined) return undefined;
  const structure = 'VMDK redundant grain directory';
  try {
    const redundant = await readDirectory(source, header, sector, structure, signal);
    if (sameShape(directory, redundant))
      return redundantTablesInFront(header, redundant) ? redundant : undefined;
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
  }
  warnings.push('the redundant grain directory differs from the grain directory; the latter was believed');
  return undefined;
}

/** Opens the file of an extent that a descriptor names. */
export async function openNamedPart(
  source: ByteSource,
  extent: DescriptorExtent,
  caches: PartCaches,
  signal?: AbortSignal,
): Promise<OpenedPart> {
  const lengthBytes = extent.sectorCount * SECTOR_BYTES;
  if (extent.type === 'FLAT' || extent.type === 'VMFS') {
    const startBytes = extent.offsetSectors * SECTOR_BYTES;
    requireInside(source, startBytes, lengthBytes, `VMDK extent ${JSON.stringify(extent.fileName)}`);
    return { part: flatPart(source, startBytes, lengthBytes), warnings: [] };
  }
  const kind = await requireKind(source, extent, signal);
  if (kind === 'seSparse') {
    const header = await readSeSparseHeader(source, signal);
    requireExtentCapacity(header, extent);
    const tables = await SeSparseTables.open(source, header, signal, caches.seSparse.extent());
    return { part: new SparsePart(source, tables, lengthBytes), warnings: [] };
  }
  const header =
    kind === 'COWD' ? await readCowdHeader(source, signal) : await readSparseHeader(source, signal);
  requireExtentCapacity(header, extent);
  if (header.compressed) refuseCompressed(extent);
  const { part, warnings } = await openSparsePart(source, header, lengthBytes, signal, caches.tables);
  return { part, warnings: [...uncleanWarnings(header), ...warnings] };
}

/** No program writes them; each would have caches of its own. */
function refuseCompressed({ fileName }: DescriptorExtent): never {
  throw new ImageError(
    'IMAGE_UNSUPPORTED',
    `the extent ${JSON.stringify(fileName)} is compressed, which only a whole disk in one file is`,
    { structure: 'VMDK descriptor', hint: 'open that file itself, if it is the disk' },
  );
}

/** The kind of an extent's file, which must be what its line says. */
export async function requireKind(
  source: ByteSource,
  extent: DescriptorExtent,
  signal?: AbortSignal,
): Promise<'sparse' | 'COWD' | 'seSparse'> {
  if (extent.offsetSectors !== 0) refuseExtent(extent, 'cannot begin inside its file');
  const kind = await readKind(source, signal);
  if (kind === 'descriptor') refuseExtent(extent, 'is a descriptor itself');
  if ((kind === 'seSparse') !== (extent.type === 'SESPARSE')) refuseExtent(extent, `is a file of ${kind}`);
  return kind;
}

/** Readers differ in what they believe; where the next extent begins depends on it. */
export function requireExtentCapacity(
  header: Pick<SparseHeader, 'capacitySectors' | 'grainSectors'>,
  extent: DescriptorExtent,
): void {
  if (isCapacityOf(header, extent.sectorCount)) return;
  refuseExtent(extent, `has ${header.capacitySectors} sectors, not ${extent.sectorCount} as its line says`);
}

function refuseExtent(extent: DescriptorExtent, why: string): never {
  throw new ImageError(
    'IMAGE_MALFORMED',
    `the ${extent.type} extent ${JSON.stringify(extent.fileName)} ${why}`,
    { structure: 'VMDK descriptor', hint: 'supply the file that the descriptor was made with' },
  );
}
