import type { Disk } from '../../disk/disk.ts';
import { sourceExtents, sourceRuns } from '../../disk/source-runs.ts';
import { ImageError, invariant } from '../../errors.ts';
import { type ByteSource, requireInside } from '../../io/byte-source.ts';
import { endsWarnings, readEnds, type VhdEnds } from './ends.ts';
import { FOOTER_BYTES, FOOTER_STRUCTURE, footerDetails, footerWarnings } from './footer.ts';

const FIXED_STRUCTURE = 'VHD fixed disk with its footer';

/** Bytes between the disk and the footer of a fixed image. Throws IMAGE_TRUNCATED when the disk is cut. */
export function fixedSlackBytes(source: ByteSource, ends: VhdEnds): number {
  const slackBytes = ends.dataEndBytes - ends.footer.currentSizeBytes;
  requireInside(source, 0, source.lengthBytes - slackBytes, FIXED_STRUCTURE);
  return slackBytes;
}

export function openFixed(source: ByteSource, ends: VhdEnds): Disk {
  const slackBytes = fixedSlackBytes(source, ends);
  const warnings = [...endsWarnings(ends), ...footerWarnings(ends.footer)];
  if (slackBytes > 0) warnings.push(`${slackBytes} bytes between the disk and the footer were ignored`);
  return fixedDisk(source, ends.footer.currentSizeBytes, footerDetails(ends.footer), warnings);
}

/**
 * A fixed disk that is still arriving: as long as the file is without a footer. Draining it takes the footer in and
 * throws IMAGE_NOT_SEQUENTIAL when the disk has another size, IMAGE_MALFORMED when there is no footer. So does
 * opening one whose end is not known.
 */
export function openArrivingFixed(source: ByteSource): Disk {
  requireInside(source, 0, FOOTER_BYTES + 1, FIXED_STRUCTURE);
  if (source.openEnded === true) {
    throw new ImageError(
      'IMAGE_NOT_SEQUENTIAL',
      `${source.name}: how large a fixed VHD is, is known at its end`,
      {
        structure: FIXED_STRUCTURE,
        hint: 'say its length, or put it into a file first',
      },
    );
  }
  const sizeBytes = source.lengthBytes - FOOTER_BYTES;
  const disk = fixedDisk(source, sizeBytes, { diskType: 'fixed' }, []);
  return {
    ...disk,
    sequential: true,
    drain: (signal) => requireFooter(source, sizeBytes, signal),
  };
}

async function requireFooter(
  source: ByteSource,
  sizeBytes: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { footer } = await readEnds(source, signal);
  if (footer.diskType === 'fixed' && footer.currentSizeBytes === sizeBytes) return;
  throw new ImageError(
    'IMAGE_NOT_SEQUENTIAL',
    `the VHD footer is about a ${footer.diskType} disk of ${footer.currentSizeBytes} bytes, not ${sizeBytes}`,
    {
      structure: FOOTER_STRUCTURE,
      offsetBytes: sizeBytes,
      hint: 'store the file first: its footer is at the end',
    },
  );
}

function fixedDisk(
  source: ByteSource,
  sizeBytes: number,
  details: Disk['details'],
  warnings: readonly string[],
): Disk {
  return {
    format: 'vhd',
    virtualSizeBytes: sizeBytes,
    details,
    warnings,
    extents(from, to, signal) {
      invariant(to <= sizeBytes, 'extents lie inside the disk');
      return sourceExtents(source, 0, from, to, signal);
    },
    async read(offsetBytes, into, signal) {
      invariant(offsetBytes + into.length <= sizeBytes, 'a read lies inside the disk');
      await source.read(offsetBytes, into, signal);
    },
    storedRuns: (from, to, signal) => sourceRuns(source, 0, from, to, signal),
    async close() {},
  };
}
