import { hasMagic, latin1Text, viewOf } from '../../bytes/fields.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { DESCRIPTOR_COUNT_MAX } from './limits.ts';

/** Volume descriptors stand in sectors of 2048 bytes, from the 17th on (ECMA-119, section 8). */
const SECTOR_BYTES = 2048;
const FIRST_OFFSET: number = 16 * SECTOR_BYTES;
const STANDARD_ID = 'CD001';
const STRUCTURE = 'ISO 9660 volume descriptor';
/** Where recognition looks: the standard identifier of the first descriptor. */
const STANDARD_ID_OFFSET: number = FIRST_OFFSET + 1;
const PRIMARY = 1;
const TERMINATOR = 255;

/** What is shown of the primary volume descriptor; names as in ECMA-119, section 8.4. */
export interface PrimaryVolume {
  readonly systemId: string;
  readonly volumeId: string;
  readonly blockBytes: number;
  /** The volume's length: volume space size times logical block size. */
  readonly volumeBytes: number;
}

export function hasStandardId(bytes: Uint8Array, offset: number = STANDARD_ID_OFFSET): boolean {
  return hasMagic(bytes, STANDARD_ID, offset);
}

/** Throws IMAGE_MALFORMED where no volume descriptor is, IMAGE_TRUNCATED where none fits. */
export async function requireStandardId(source: ByteSource, signal?: AbortSignal): Promise<void> {
  const bytes = await readStructure(source, FIRST_OFFSET, SECTOR_BYTES, STRUCTURE, signal);
  if (hasStandardId(bytes, 1)) return;
  throw new ImageError('IMAGE_MALFORMED', 'this is not an ISO 9660 image: its mark is missing', {
    structure: STRUCTURE,
    offsetBytes: STANDARD_ID_OFFSET,
    hint: 'declare the format that it has; raw for the bare bytes of a disk',
  });
}

/** The primary volume descriptor, undefined where none is found. */
export async function readPrimaryVolume(
  source: ByteSource,
  signal?: AbortSignal,
): Promise<PrimaryVolume | undefined> {
  for (let i = 0; i < DESCRIPTOR_COUNT_MAX; i++) {
    const offsetBytes = FIRST_OFFSET + i * SECTOR_BYTES;
    if (offsetBytes + SECTOR_BYTES > source.lengthBytes) return undefined;
    const bytes = await readStructure(
      source,
      offsetBytes,
      SECTOR_BYTES,
      'ISO 9660 volume descriptor',
      signal,
    );
    if (!hasStandardId(bytes, 1) || bytes[0] === TERMINATOR) return undefined;
    if (bytes[0] === PRIMARY) return parsePrimary(bytes);
  }
  return undefined;
}

function parsePrimary(bytes: Uint8Array): PrimaryVolume {
  const view = viewOf(bytes);
  // Both numbers are recorded twice, little endian first.
  const blockBytes = view.getUint16(128, true);
  return {
    systemId: fieldText(bytes, 8),
    volumeId: fieldText(bytes, 40),
    blockBytes,
    volumeBytes: view.getUint32(80, true) * blockBytes,
  };
}

/** A field of 32 characters, filled up with spaces. */
function fieldText(bytes: Uint8Array, offset: number): string {
  return latin1Text(bytes.subarray(offset, offset + 32)).replace(/[ \0]+$/, '');
}
