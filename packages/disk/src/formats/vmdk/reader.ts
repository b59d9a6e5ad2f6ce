import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { forEachBounded } from '../../convert/bounded.ts';
import type { DetailValue, Disk, Extent } from '../../disk/disk.ts';
import { ImageError, invariant } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { OpenOptions } from '../format.ts';
import { CompressedGrains } from './compressed-grains.ts';
import { readDirectory, redundantTablesInFront, sameShape } from './directory.ts';
import { readSparseExtent, type SparseExtent } from './extent.ts';
import { type CompressedRun, type GrainRun, grainRuns } from './runs.ts';
import { GrainTables, requireSoundDirectory } from './tables.ts';

const READS_AT_ONCE = 8;
/** Extents of data are joined up to this length, so that a walk over a full disk begins at once. */
const JOINED_BYTES_MAX = 2 ** 30;

/** Opens a VMDK file that is a whole disk: monolithicSparse or streamOptimized. */
export async function openVmdk(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const extent = await readSparseExtent(source, options);
  const { header } = extent;
  const directory = await readDirectory(
    source,
    header,
    header.directorySector,
    'VMDK grain directory',
    options.signal,
  );
  requireSoundDirectory(source, header, header.directorySector, directory);
  const redundant = await readRedundantDirectory(source, extent, directory, options.signal);
  return new VmdkDisk(source, extent, new GrainTables(source, header, directory, redundant));
}

/**
 * The redundant grain directory when its tables are where no grain can be. A warning when it is for other
 * parts of the disk than the grain directory: that one counts.
 */
async function readRedundantDirectory(
  source: ByteSource,
  extent: SparseExtent,
  directory: Uint32Array,
  signal: AbortSignal | undefined,
): Promise<Uint32Array | undefined> {
  const sector = extent.header.redundantDirectorySector;
  if (sector === undefined) return undefined;
  const structure = 'VMDK redundant grain directory';
  try {
    const redundant = await readDirectory(source, extent.header, sector, structure, signal);
    if (sameShape(directory, redundant)) {
      return redundantTablesInFront(extent.header, redundant) ? redundant : undefined;
    }
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
  }
  extent.warnings.push(
    'the redundant grain directory differs from the grain directory; the latter was believed',
  );
  return undefined;
}

class VmdkDisk implements Disk {
  readonly format = 'vmdk';
  readonly virtualSizeBytes: number;
  readonly details: Disk['details'];
  readonly warnings: readonly string[];
  readonly #source: ByteSource;
  readonly #tables: GrainTables;
  readonly #compressed: CompressedGrains;

  constructor(source: ByteSource, extent: SparseExtent, tables: GrainTables) {
    this.#source = source;
    this.#tables = tables;
    this.#compressed = new CompressedGrains(source, extent.header.grainSectors * SECTOR_BYTES);
    this.virtualSizeBytes = extent.virtualSizeBytes;
    this.warnings = extent.warnings;
    this.details = detailsOf(extent);
  }

  async *extents(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    let open: Extent | undefined;
    for await (const runs of this.#runs(fromBytes, toBytes, signal)) {
      for (const run of runs) {
        const extent = clip(run, fromBytes, toBytes);
        if (open?.kind === extent.kind && (extent.kind !== 'data' || open.lengthBytes < JOINED_BYTES_MAX)) {
          open = { ...open, lengthBytes: open.lengthBytes + extent.lengthBytes };
          continue;
        }
        if (open !== undefined) yield open;
        open = extent;
      }
    }
    if (open !== undefined) yield open;
  }

  #runs(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<readonly GrainRun[], void, undefined> {
    invariant(fromBytes >= 0 && toBytes <= this.virtualSizeBytes, 'a range lies inside the disk');
    return grainRuns(
      this.#tables,
      this.virtualSizeBytes,
      this.#source.lengthBytes,
      fromBytes,
      toBytes,
      signal,
    );
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = offsetBytes + into.length;
    const reads: { fileOffsetBytes: number; part: Uint8Array }[] = [];
    const compressed: CompressedRun[] = [];
    for await (const runs of this.#runs(offsetBytes, end, signal)) {
      for (const run of runs) {
        const extent = clip(run, offsetBytes, end);
        const at = extent.offsetBytes - offsetBytes;
        const part = into.subarray(at, at + extent.lengthBytes);
        if (run.kind === 'compressed') compressed.push(run);
        else if (run.kind !== 'data') part.fill(0);
        else
          reads.push({ fileOffsetBytes: run.fileOffsetBytes + (extent.offsetBytes - run.offsetBytes), part });
      }
    }
    await forEachBounded(reads, READS_AT_ONCE, ({ fileOffsetBytes, part }) =>
      this.#source.read(fileOffsetBytes, part, signal),
    );
    await this.#compressed.read(compressed, offsetBytes, into, signal);
  }

  async close(): Promise<void> {}
}

/** The part of a run in [from, to) as an extent; the two overlap. */
function clip(run: GrainRun, fromBytes: number, toBytes: number): Extent {
  const offsetBytes = Math.max(run.offsetBytes, fromBytes);
  const lengthBytes = Math.min(run.offsetBytes + run.lengthBytes, toBytes) - offsetBytes;
  if (run.kind === 'compressed') return { offsetBytes, lengthBytes, kind: 'data', compressed: true };
  return { offsetBytes, lengthBytes, kind: run.kind };
}

function detailsOf(extent: SparseExtent): Record<string, DetailValue> {
  const { header, descriptor } = extent;
  const text = (key: string) => descriptor?.value(key) ?? null;
  return {
    createType: text('createType'),
    version: header.version,
    compressed: header.compressed,
    grainSizeBytes: header.grainSectors * SECTOR_BYTES,
    CID: text('CID'),
    parentCID: text('parentCID'),
    adapterType: text('ddb.adapterType'),
    virtualHWVersion: text('ddb.virtualHWVersion'),
    geometry: geometryOf(descriptor),
    longContentID: text('ddb.longContentID'),
    'uuid.image': text('ddb.uuid.image'),
    redundantGrainDirectory: header.redundantDirectorySector !== undefined,
    footer: extent.hasFooter,
  };
}

function geometryOf(descriptor: SparseExtent['descriptor']): DetailValue {
  const [cylinders, heads, sectors] = ['cylinders', 'heads', 'sectors'].map((key) =>
    descriptor?.value(`ddb.geometry.${key}`),
  );
  if (cylinders === undefined || heads === undefined || sectors === undefined) return null;
  return { cylinders, heads, sectors };
}
