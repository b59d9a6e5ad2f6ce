import { MIB } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import { HEAD_BYTES, WINDOW_BYTES } from '../../io/forward.ts';
import type { VhdxBlockTable } from './block-table.ts';
import type { VhdxImage } from './image.ts';

/** Reads run side by side and come out of order by this much at most. */
const READS_BYTES: number = 8 * MIB;

/**
 * Makes sure, before data arrives, that an image can be decoded while it does: tables in front, blocks in guest
 * order but for what the window of a forward source holds. Throws IMAGE_NOT_SEQUENTIAL.
 */
export async function requireStreamOrder(
  { regions, metadata, source }: VhdxImage,
  table: VhdxBlockTable,
  signal?: AbortSignal,
): Promise<void> {
  const refuse = (what: string, offsetBytes: number): never => {
    throw new ImageError(
      'IMAGE_NOT_SEQUENTIAL',
      `${source.name} cannot be decoded while it arrives: ${what}`,
      {
        structure: 'order of the file',
        offsetBytes,
        hint: 'give it as a file, or put it into a bucket first and import it from there',
      },
    );
  };
  for (const { offsetBytes, lengthBytes } of [regions.metadata, regions.bat]) {
    if (offsetBytes + lengthBytes > HEAD_BYTES) refuse('its tables do not stand in front', offsetBytes);
  }
  const { geometry } = table;
  let furthest = HEAD_BYTES;
  for await (const { kind, first, end, fileBytes } of table.spans(0, geometry.blockCount, signal)) {
    if (kind !== 'full' && kind !== 'partial') continue;
    const sizeBytes =
      Math.min(end * geometry.blockBytes, metadata.virtualSizeBytes) - first * geometry.blockBytes;
    if (kind === 'partial') {
      const bitmap = await table.entry(geometry.bitmapIndexOf(Math.floor(first / geometry.chunkBlocks)));
      if (bitmap.fileBytes + MIB > HEAD_BYTES)
        refuse('a sector bitmap stands among the data', bitmap.fileBytes);
    }
    // What stands in the head stays; the window is what was behind it when the furthest byte was read.
    const windowStart = furthest - (WINDOW_BYTES - READS_BYTES);
    const isKept = fileBytes + sizeBytes <= HEAD_BYTES || Math.max(fileBytes, HEAD_BYTES) >= windowStart;
    if (!isKept) refuse('its blocks are not in guest order', fileBytes);
    if (fileBytes > furthest + WINDOW_BYTES) refuse('there are gaps between its blocks', fileBytes);
    furthest = Math.max(furthest, fileBytes + sizeBytes);
  }
}
