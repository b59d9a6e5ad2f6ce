import { bytesEqual, viewOf } from '../../bytes/fields.ts';
import { ceilDivide, SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { decodeEntries } from './directory.ts';
import { directoryEntryCount, type SparseHeader, tableSectors } from './header.ts';
import { REPAIR_BYTES_MAX } from './limits.ts';
import { ReservedPlaces } from './reserved-places.ts';
import type { SoundTables } from './sound-tables.ts';

export interface Patch {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/**
 * What makes the directory at a sector, and its tables, a copy of the sound ones: only what differs, in the order
 * of the file. Undefined where there is no place that is certainly free for them: before the first grain.
 */
export async function rebuildTables(
  source: ByteSource,
  header: SparseHeader,
  sound: SoundTables,
  directorySector: number,
  signal?: AbortSignal,
): Promise<readonly Patch[] | undefined> {
  const held = await heldEntries(source, header, directorySector, signal);
  const places = usablePlaces(header, sound, directorySector, held);
  if (places === undefined) return undefined;
  const patches: Patch[] = [];
  const add = async (sector: number, bytes: Uint8Array) => {
    const patch = { offsetBytes: sector * SECTOR_BYTES, bytes };
    if (await isThere(source, patch, signal)) return;
    patches.push(patch);
    if (patches.length * bytes.length > REPAIR_BYTES_MAX) {
      throw new ImageError('IMAGE_LIMIT', 'too many grain tables would have to be written again', {
        structure: 'VMDK grain table',
        hint: 'convert the image to a new one: what can be read is in it then',
      });
    }
  };
  await add(directorySector, encodeEntries(places));
  for (const [index, sector] of places.entries()) {
    const table = await sound.tables.table(index, signal);
    if (table !== undefined) await add(sector, encodeEntries(table));
  }
  return patches.sort((a, b) => a.offsetBytes - b.offsetBytes);
}

/** What stands where the directory should. */
async function heldEntries(
  source: ByteSource,
  header: SparseHeader,
  directorySector: number,
  signal: AbortSignal | undefined,
): Promise<Uint32Array | undefined> {
  const bytes = new Uint8Array(directoryEntryCount(header) * 4);
  const offsetBytes = directorySector * SECTOR_BYTES;
  if (offsetBytes + bytes.length > source.lengthBytes) return undefined;
  await source.read(offsetBytes, bytes, signal);
  return decodeEntries(bytes);
}

/** Where each table goes: where it is, or else right behind the directory, as every writer places them. */
function usablePlaces(
  header: SparseHeader,
  sound: SoundTables,
  directorySector: number,
  held: Uint32Array | undefined,
): Uint32Array | undefined {
  const { directory } = sound.tables;
  if (held !== undefined && isUsable(header, sound, directorySector, held)) return held;
  const first = directorySector + ceilDivide(directory.length * 4, SECTOR_BYTES);
  const places = directory.map((sector, i) => (sector === 0 ? 0 : first + i * tableSectors(header)));
  return isUsable(header, sound, directorySector, places) ? places : undefined;
}

/** True when these tables lie apart from each other and from all that is sound, before the first grain. */
function isUsable(
  header: SparseHeader,
  sound: SoundTables,
  directorySector: number,
  places: Uint32Array,
): boolean {
  const { directory } = sound.tables;
  const length = tableSectors(header);
  const end = Math.min(header.overheadSectors, sound.firstGrainSector);
  const directorySectors = ceilDivide(directory.length * 4, SECTOR_BYTES);
  const descriptorEnd = header.descriptorSector + header.descriptorSectorCount;
  const fixed = [
    { start: 0, end: 1 },
    { start: header.descriptorSector, end: descriptorEnd },
    { start: sound.directorySector, end: sound.directorySector + directorySectors },
  ];
  const soundPlaces = new ReservedPlaces(fixed, directory.filter((sector) => sector !== 0).sort(), length);
  const directoryEnd = directorySector + directorySectors;
  if (directoryEnd > end || soundPlaces.overlaps(directorySector, directoryEnd)) return false;
  const sorted = places.filter((sector) => sector !== 0).sort();
  return (
    places.every((sector, i) => (sector === 0) === (directory[i] === 0)) &&
    sorted.every(
      (sector, i) =>
        sector + length <= end &&
        (i === 0 || (sorted[i - 1] ?? 0) + length <= sector) &&
        (sector >= directoryEnd || sector + length <= directorySector) &&
        !soundPlaces.overlaps(sector, sector + length),
    )
  );
}

function encodeEntries(entries: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(entries.length * 4);
  const view = viewOf(bytes);
  for (const [i, entry] of entries.entries()) view.setUint32(i * 4, entry, true);
  return bytes;
}

async function isThere(
  source: ByteSource,
  { offsetBytes, bytes }: Patch,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (offsetBytes + bytes.length > source.lengthBytes) return false;
  const found = new Uint8Array(bytes.length);
  await source.read(offsetBytes, found, signal);
  return bytesEqual(found, bytes);
}
