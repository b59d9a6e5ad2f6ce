import { randomInt } from 'node:crypto';
import { type ByteSource, type Disk, denyReferences, openDisk } from '@gantry/disk';
import { DomainError } from './errors.ts';

const SAMPLE_BYTES = 64 * 1024;
/** How many places are looked at, and how far from each the next data is searched. */
const SAMPLE_COUNT = 24;
const SEARCH_BYTES: number = 8 * 1024 ** 3;

/**
 * Opens a view as any reader would, and compares its ends and the data at random places with the image's.
 * Gives how many bytes were compared. Throws VERIFY_FAILED.
 */
export async function requireSamplesEqual(
  disk: Disk,
  view: ByteSource,
  format: string,
  signal: AbortSignal,
): Promise<number> {
  const shown = await openDisk(view, { references: denyReferences, format, signal });
  try {
    if (shown.virtualSizeBytes < disk.virtualSizeBytes) throw different('it is smaller than the image');
    let comparedBytes = 0;
    for (const offsetBytes of await samplePlaces(disk, signal)) {
      const lengthBytes = Math.min(SAMPLE_BYTES, disk.virtualSizeBytes - offsetBytes);
      const expected = new Uint8Array(lengthBytes);
      const found = new Uint8Array(lengthBytes);
      await Promise.all([disk.read(offsetBytes, expected, signal), shown.read(offsetBytes, found, signal)]);
      if (Buffer.compare(expected, found) !== 0)
        throw different(`it differs from the image behind byte ${offsetBytes}`);
      comparedBytes += lengthBytes;
    }
    return comparedBytes;
  } finally {
    await shown.close();
  }
}

/** The first and the last bytes, and data behind random places where there is some. */
async function samplePlaces(disk: Disk, signal: AbortSignal): Promise<Set<number>> {
  const end = disk.virtualSizeBytes;
  const places = new Set([0, Math.max(0, end - SAMPLE_BYTES)]);
  for (let i = 0; i < SAMPLE_COUNT && end > SAMPLE_BYTES; i++) {
    const from = randomPlace(end - SAMPLE_BYTES);
    for await (const extent of disk.extents(from, Math.min(end, from + SEARCH_BYTES), signal)) {
      if (extent.kind !== 'data') continue;
      places.add(Math.min(extent.offsetBytes, end - SAMPLE_BYTES));
      break;
    }
  }
  return places;
}

/** randomInt takes ranges below 2^48 only: larger disks are sampled at whole megabytes. */
function randomPlace(end: number): number {
  return end < 2 ** 47 ? randomInt(end + 1) : randomInt(Math.floor(end / 2 ** 20)) * 2 ** 20;
}

function different(how: string): DomainError {
  return new DomainError('VERIFY_FAILED', `the exported file was read back: ${how}`, {
    hint: 'nothing was put into the bucket; check the vault with gantry vault check --data',
  });
}
