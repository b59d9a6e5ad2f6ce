import { crc32cAround } from '../../bytes/crc32c.ts';
import { bytesEqual, hasMagic, viewOf } from '../../bytes/fields.ts';
import { KIB, MIB, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure, requireInside } from '../../io/byte-source.ts';
import { guidAt } from './guids.ts';
import { HEADER_SECTION_BYTES, type VhdxHeader } from './header.ts';
import { TABLE_ENTRIES_MAX } from './limits.ts';

export const REGION_STRUCTURE = 'VHDX region table';
export const REGION_TABLE_OFFSETS: readonly [number, number] = [192 * KIB, 256 * KIB];
export const REGION_TABLE_BYTES: number = 64 * KIB;
export const REGION_SIGNATURE = 'regi';
export const REGION_HEADER_BYTES = 16;
export const REGION_ENTRY_BYTES = 32;
export const BAT_REGION_GUID = '2dc27766-f623-4200-9d64-115e9bfd4a08';
export const METADATA_REGION_GUID = '8b7ca206-4790-4b9a-b8fe-575f050f886e';

export interface VhdxRegion {
  readonly guid: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly required: boolean;
}

export interface VhdxRegions {
  readonly bat: VhdxRegion;
  readonly metadata: VhdxRegion;
  readonly all: readonly VhdxRegion[];
  /** Where a copy of the table stands that cannot be used. */
  readonly damagedOffsetBytes: number | undefined;
  /** Both copies can be used and say different things: the first one counts. */
  readonly copiesDiffer: boolean;
  /** The table that counts, all 64 KiB. */
  readonly bytes: Uint8Array;
}

function refuse(code: ImageErrorCode, message: string, offsetBytes: number): never {
  throw new ImageError(code, message, { structure: REGION_STRUCTURE, offsetBytes });
}

/**
 * Reads both copies of the region table (MS-VHDX 2.2.3) and checks the first that is valid. Throws
 * IMAGE_MALFORMED, IMAGE_TRUNCATED, IMAGE_LIMIT for damage, IMAGE_UNSUPPORTED for a required region that is not
 * known.
 */
export async function readRegions(
  source: ByteSource,
  header: VhdxHeader,
  signal?: AbortSignal,
): Promise<VhdxRegions> {
  const [firstOffset, secondOffset] = REGION_TABLE_OFFSETS;
  const first = await readStructure(source, firstOffset, REGION_TABLE_BYTES, REGION_STRUCTURE, signal);
  const second = await readStructure(source, secondOffset, REGION_TABLE_BYTES, REGION_STRUCTURE, signal);
  const firstIsValid = isValid(first);
  const secondIsValid = isValid(second);
  if (!firstIsValid && !secondIsValid) {
    refuse('IMAGE_MALFORMED', 'both copies of the VHDX region table are damaged', firstOffset);
  }
  const bytes = firstIsValid ? first : second;
  const all = parseEntries(bytes, firstIsValid ? firstOffset : secondOffset);
  requireApart(all, header);
  const bat = regionOf(all, BAT_REGION_GUID, 'block allocation table');
  const metadata = regionOf(all, METADATA_REGION_GUID, 'metadata');
  for (const { offsetBytes, lengthBytes } of [metadata, bat]) {
    requireInside(source, offsetBytes, lengthBytes, 'VHDX region');
  }
  return {
    bat,
    metadata,
    all,
    damagedOffsetBytes: firstIsValid ? (secondIsValid ? undefined : secondOffset) : firstOffset,
    copiesDiffer: firstIsValid && secondIsValid && !bytesEqual(first, second),
    bytes,
  };
}

function isValid(bytes: Uint8Array): boolean {
  return hasMagic(bytes, REGION_SIGNATURE) && viewOf(bytes).getUint32(4, true) === crc32cAround(bytes, 4);
}

function parseEntries(bytes: Uint8Array, tableOffset: number): readonly VhdxRegion[] {
  const view = viewOf(bytes);
  const count = view.getUint32(8, true);
  if (count > TABLE_ENTRIES_MAX) {
    refuse('IMAGE_MALFORMED', `the VHDX region table says ${count} entries`, tableOffset + 8);
  }
  const regions: VhdxRegion[] = [];
  for (let i = 0; i < count; i++) {
    const at = REGION_HEADER_BYTES + i * REGION_ENTRY_BYTES;
    const place = { structure: REGION_STRUCTURE, offsetBytes: tableOffset + at };
    const region: VhdxRegion = {
      guid: guidAt(bytes, at),
      offsetBytes: toSafeInteger(view.getBigUint64(at + 16, true), place),
      lengthBytes: view.getUint32(at + 24, true),
      // Bit 0; the others are reserved.
      required: view.getUint32(at + 28, true) % 2 === 1,
    };
    requireRegion(region, place.offsetBytes);
    regions.push(region);
  }
  return regions;
}

function requireRegion({ guid, offsetBytes, lengthBytes, required }: VhdxRegion, at: number): void {
  const isKnown = guid === BAT_REGION_GUID || guid === METADATA_REGION_GUID;
  if (!isKnown && required) {
    refuse('IMAGE_UNSUPPORTED', `the VHDX region ${guid} is required and not known`, at);
  }
  if (offsetBytes % MIB !== 0 || lengthBytes % MIB !== 0 || offsetBytes < HEADER_SECTION_BYTES) {
    const message = `a VHDX region of ${lengthBytes} bytes at ${offsetBytes} does not stand on whole MiB`;
    refuse('IMAGE_MALFORMED', message, at);
  }
  if (lengthBytes === 0) refuse('IMAGE_MALFORMED', `the VHDX region ${guid} is empty`, at);
}

function regionOf(regions: readonly VhdxRegion[], guid: string, what: string): VhdxRegion {
  const found = regions.filter((region) => region.guid === guid);
  const [region] = found;
  if (region !== undefined && found.length === 1) return region;
  const message = `the VHDX region table has ${found.length} entries for the ${what}, not one`;
  return refuse('IMAGE_MALFORMED', message, REGION_TABLE_OFFSETS[0]);
}

/** Regions lie over neither each other nor the log. */
function requireApart(regions: readonly VhdxRegion[], header: VhdxHeader): void {
  const log = { offsetBytes: header.logOffsetBytes, lengthBytes: header.logLengthBytes };
  const places = [...regions, ...(log.lengthBytes > 0 ? [log] : [])];
  places.sort((a, b) => a.offsetBytes - b.offsetBytes);
  let end = 0;
  for (const { offsetBytes, lengthBytes } of places) {
    if (offsetBytes < end) {
      refuse('IMAGE_MALFORMED', `two VHDX regions lie over each other at ${offsetBytes}`, offsetBytes);
    }
    end = offsetBytes + lengthBytes;
  }
}
