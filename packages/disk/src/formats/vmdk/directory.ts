import { viewOf } from '../../bytes/fields.ts';
import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { directoryEntryCount, type SparseHeader, tableSectors } from './header.ts';

/** What is wrong with an entry of a table, and where the entry stands in the file. */
export interface EntryProblem {
  readonly code: ImageErrorCode;
  readonly message: string;
  readonly offsetBytes: number;
}

/** A grain directory: the first sectors of the grain tables, 0 where there is none. */
export async function readDirectory(
  source: ByteSource,
  header: SparseHeader,
  directorySector: number,
  structure: string,
  signal?: AbortSignal,
): Promise<Uint32Array> {
  const offsetBytes = directorySector * SECTOR_BYTES;
  if (directorySector === 0) {
    throw new ImageError('IMAGE_MALFORMED', `the ${structure} cannot stand at sector 0`, { structure });
  }
  const entryCount = directoryEntryCount(header);
  return decodeEntries(await readStructure(source, offsetBytes, entryCount * 4, structure, signal));
}

/** Little-endian 32-bit words. */
export function decodeEntries(bytes: Uint8Array): Uint32Array {
  const view = viewOf(bytes);
  const entries = new Uint32Array(bytes.length / 4);
  for (let i = 0; i < entries.length; i++) entries[i] = view.getUint32(i * 4, true);
  return entries;
}

/** The places of an extent's metadata other than its grain tables, in sectors. */
export function fixedPlaces(header: SparseHeader): { start: number; end: number }[] {
  const directorySectors = Math.ceil((directoryEntryCount(header) * 4) / SECTOR_BYTES);
  const places = [{ start: 0, end: 1 }];
  const add = (start: number | undefined, sectorCount: number) => {
    if (start !== undefined && start > 0) places.push({ start, end: start + sectorCount });
  };
  add(header.descriptorSector, header.descriptorSectorCount);
  add(header.redundantDirectorySector, directorySectors);
  add(header.directorySector, directorySectors);
  return places;
}

/** The tables that a directory names, ascending. */
export function sortedTables(...directories: Uint32Array[]): Uint32Array {
  let count = 0;
  for (const directory of directories) for (const sector of directory) if (sector !== 0) count++;
  const sorted = new Uint32Array(count);
  let at = 0;
  for (const directory of directories)
    for (const sector of directory) if (sector !== 0) sorted[at++] = sector;
  return sorted.sort();
}

/**
 * Entries of a directory that no reader may follow: tables beyond the end of the file, on top of other
 * metadata, or on top of each other (one table named twice shows the same data in two places).
 */
export function* directoryProblems(
  source: ByteSource,
  header: SparseHeader,
  directorySector: number,
  directory: Uint32Array,
): Generator<EntryProblem & { readonly index: number }, void, undefined> {
  const fileSectors = source.lengthBytes / SECTOR_BYTES;
  const length = tableSectors(header);
  const places = fixedPlaces(header);
  const shared = overlappingTables(sortedTables(directory), length);
  for (const [index, sector] of directory.entries()) {
    if (sector === 0) continue;
    const offsetBytes = directorySector * SECTOR_BYTES + index * 4;
    const problem = (code: ImageErrorCode, what: string) => ({
      index,
      code,
      offsetBytes,
      message: `grain table ${index}, at sector ${sector}, ${what}`,
    });
    if (sector + length > fileSectors) yield problem('IMAGE_TRUNCATED', 'lies beyond the end of the file');
    else if (places.some((place) => sector < place.end && place.start < sector + length)) {
      yield problem('IMAGE_MALFORMED', 'lies inside other metadata');
    } else if (shared.has(sector))
      yield problem('IMAGE_MALFORMED', 'shares its place with another grain table');
  }
}

function overlappingTables(sorted: Uint32Array, tableLength: number): Set<number> {
  const shared = new Set<number>();
  let previous = Number.NEGATIVE_INFINITY;
  for (const sector of sorted) {
    if (sector - previous < tableLength) {
      // A hostile directory could name millions: one is enough to refuse, a few to report.
      if (shared.size >= 1000) break;
      shared.add(previous).add(sector);
    }
    previous = sector;
  }
  return shared;
}

/** True when two directories have tables for the same parts of the disk, and none in common. */
export function sameShape(directory: Uint32Array, redundant: Uint32Array): boolean {
  return directory.every(
    (sector, i) => (sector === 0) === (redundant[i] === 0) && (sector === 0 || sector !== redundant[i]),
  );
}

/**
 * True when the redundant tables stand before the first grain, as all writers place them: then no grain may
 * point at them. Elsewhere the grain directory is believed, and they are not asked.
 */
export function redundantTablesInFront(header: SparseHeader, redundant: Uint32Array): boolean {
  const last = header.overheadSectors - tableSectors(header);
  return redundant.every((sector) => sector <= last);
}
