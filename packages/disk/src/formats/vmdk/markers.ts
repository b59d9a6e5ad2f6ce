import { isZero, viewOf } from '../../bytes/fields.ts';
import { SECTOR_BYTES } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import { parseSparseHeader, type SparseHeader } from './header.ts';

const FOOTER = 'VMDK footer';

/** A progress marker, of vSphere, has nothing behind it whatever it counts. */
export const MARKER_TYPE = {
  endOfStream: 0,
  grainTable: 1,
  grainDirectory: 2,
  footer: 3,
  progress: 4,
} as const;
export type MarkerType = (typeof MARKER_TYPE)[keyof typeof MARKER_TYPE];

/** One sector that announces `sectorCount` sectors of metadata. All zeros for the end of the stream. */
export function encodeMetadataMarker(type: MarkerType, sectorCount: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR_BYTES);
  const view = viewOf(bytes);
  view.setBigUint64(0, BigInt(sectorCount), true);
  view.setUint32(12, type, true);
  return bytes;
}

/**
 * The footer of a file whose header leaves the grain directory's place to it: the third sector from the end
 * is its marker, the second itself, the last the end of the stream.
 */
export async function readFooter(
  source: ByteSource,
  header: SparseHeader,
  signal?: AbortSignal,
): Promise<SparseHeader> {
  const start = source.lengthBytes - 3 * SECTOR_BYTES;
  const refuse = (message: string, offsetBytes: number): never => {
    throw new ImageError('IMAGE_MALFORMED', message, {
      structure: FOOTER,
      offsetBytes,
      hint: 'the file is damaged or its end is missing: copy or download it again',
    });
  };
  if (start < SECTOR_BYTES) refuse('the VMDK file is too short for its footer', 56);
  const bytes = await readStructure(source, start, 3 * SECTOR_BYTES, FOOTER, signal);
  const view = viewOf(bytes);
  const marked =
    view.getBigUint64(0, true) === 1n &&
    view.getUint32(8, true) === 0 &&
    view.getUint32(12, true) === MARKER_TYPE.footer;
  if (!marked) {
    refuse('the VMDK file does not end with a footer, which has its grain directory', start);
  }
  if (!isZero(bytes.subarray(2 * SECTOR_BYTES))) {
    refuse('the VMDK file does not end with an end-of-stream marker', start + 2 * SECTOR_BYTES);
  }
  const footer = parseFooter(bytes.subarray(SECTOR_BYTES, 2 * SECTOR_BYTES), start + SECTOR_BYTES);
  const problem = footerProblem(footer, header);
  if (problem !== undefined) refuse(problem, start + SECTOR_BYTES);
  return footer;
}

/** The footer in `bytes`, which stood at `atBytes` of the file. */
export function parseFooter(bytes: Uint8Array, atBytes: number): SparseHeader {
  return parseSparseHeader(bytes, atBytes, FOOTER);
}

/** What is wrong with a footer as that of a header; undefined when nothing is. */
export function footerProblem(footer: SparseHeader, header: SparseHeader): string | undefined {
  const same =
    footer.capacitySectors === header.capacitySectors &&
    footer.grainSectors === header.grainSectors &&
    footer.tableEntryCount === header.tableEntryCount &&
    footer.compressed === header.compressed &&
    footer.zeroedGrains === header.zeroedGrains;
  if (!same) return 'the VMDK footer contradicts the header';
  if (footer.directorySector === undefined)
    return 'the VMDK footer does not say where the grain directory is';
  return undefined;
}
