import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { directoryProblems, readDirectory } from './directory.ts';
import { GrainClaims } from './grain-claims.ts';
import type { SparseHeader } from './header.ts';
import { GrainTables } from './tables.ts';

const DIRECTORY = 'VMDK grain directory';

/** One of the two sets of tables of a sparse extent, of which every entry can be followed. */
export interface SoundTables {
  readonly tables: GrainTables;
  readonly directorySector: number;
  /** The lowest sector of a grain. */
  readonly firstGrainSector: number;
}

/** The tables of a directory when nothing is wrong with any of them. */
export async function soundTables(
  source: ByteSource,
  header: SparseHeader,
  directorySector: number,
  signal?: AbortSignal,
): Promise<SoundTables | undefined> {
  const directory = await readable(source, header, directorySector, signal);
  if (directory === undefined) return undefined;
  for (const _ of directoryProblems(source, header, directorySector, directory)) return undefined;
  const tables = new GrainTables(source, header, directory);
  const claims = new GrainClaims(header.grainSectors);
  let firstGrainSector = Number.POSITIVE_INFINITY;
  for (let index = 0; index < directory.length; index++) {
    signal?.throwIfAborted();
    const table = await tables.table(index, signal);
    for (const [entry, sector] of table?.entries() ?? []) {
      if (sector === 0 || tables.isZeroed(sector)) continue;
      if (!isSoundEntry(tables, index, entry, sector) || !claims.claim(sector)) return undefined;
      firstGrainSector = Math.min(firstGrainSector, sector);
    }
  }
  return { tables, directorySector, firstGrainSector };
}

function isSoundEntry(tables: GrainTables, index: number, entry: number, sector: number): boolean {
  const { header } = tables;
  const startSectors = (index * header.tableEntryCount + entry) * header.grainSectors;
  const lengthSectors = Math.min(header.grainSectors, header.capacitySectors - startSectors);
  return (
    lengthSectors > 0 && tables.placeProblem(sector, lengthSectors * SECTOR_BYTES, index, entry) === undefined
  );
}

/**
 * True when a damaged set of tables says of every grain either nothing that can be followed, or what the sound set
 * says: then the sound one is what was there.
 */
export async function tablesAgree(
  source: ByteSource,
  header: SparseHeader,
  sound: SoundTables,
  damagedSector: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const directory = await readable(source, header, damagedSector, signal);
  if (directory === undefined) return true;
  for (const { index } of directoryProblems(source, header, damagedSector, directory)) directory[index] = 0;
  const damaged = new GrainTables(source, header, directory);
  for (let index = 0; index < directory.length; index++) {
    signal?.throwIfAborted();
    const table = await damaged.table(index, signal);
    if (table === undefined) continue;
    const expected = await sound.tables.table(index, signal);
    for (const [entry, sector] of table.entries()) {
      if (sector === (expected?.[entry] ?? 0)) continue;
      const canBeFollowed =
        sector === 0 || damaged.isZeroed(sector) || isSoundEntry(damaged, index, entry, sector);
      if (canBeFollowed) return false;
    }
  }
  return true;
}

/** A directory that is inside the file. */
async function readable(
  source: ByteSource,
  header: SparseHeader,
  directorySector: number,
  signal: AbortSignal | undefined,
): Promise<Uint32Array | undefined> {
  try {
    return await readDirectory(source, header, directorySector, DIRECTORY, signal);
  } catch (error) {
    if (error instanceof ImageError) return undefined;
    throw error;
  }
}
