import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { TABLE_ENTRY_BYTES, TABLE_STRUCTURE, VhdxBlockTable } from './block-table.ts';
import { readHeaders, type VhdxHeaders } from './header.ts';
import { FILE_BYTES_MAX } from './limits.ts';
import { type LogReplay, replayedSource, replayLog } from './log-replay.ts';
import { readMetadata, type VhdxMetadata } from './metadata.ts';
import { readRegions, type VhdxRegions } from './region-table.ts';

/** The structures of a VHDX file, read and checked, before its blocks. */
export interface VhdxImage {
  /** The file as it is after its log. */
  readonly source: ByteSource;
  /** The file as it is stored. */
  readonly stored: ByteSource;
  readonly headers: VhdxHeaders;
  /** Set when the log was not empty. */
  readonly replay: LogReplay | undefined;
  readonly regions: VhdxRegions;
  readonly metadata: VhdxMetadata;
}

/**
 * Reads headers, log, region table and metadata in the order that they depend on each other. Throws ImageError
 * for all that could not be read right.
 */
export async function readVhdx(stored: ByteSource, signal?: AbortSignal): Promise<VhdxImage> {
  const headers = await readHeaders(stored, signal);
  if (stored.lengthBytes > FILE_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `a VHDX file of ${stored.lengthBytes} bytes is not read`, {
      structure: 'VHDX file',
    });
  }
  const replay = await replayLog(stored, headers.current, signal);
  const source = replay === undefined ? stored : replayedSource(stored, replay);
  const regions = await readRegions(source, headers.current, signal);
  const metadata = await readMetadata(source, regions.metadata, signal);
  return { source, stored, headers, replay, regions, metadata };
}

/** The table of an image; its entries are not checked. Throws IMAGE_MALFORMED when its region is too short. */
export function blockTableOf({ source, regions, metadata }: VhdxImage): VhdxBlockTable {
  const table = new VhdxBlockTable(source, regions.bat, metadata);
  const neededBytes = table.geometry.entryCount * TABLE_ENTRY_BYTES;
  if (neededBytes <= regions.bat.lengthBytes) return table;
  throw new ImageError(
    'IMAGE_MALFORMED',
    `the VHDX block allocation table has ${regions.bat.lengthBytes} bytes, and the disk needs ${neededBytes}`,
    { structure: TABLE_STRUCTURE, offsetBytes: regions.bat.offsetBytes },
  );
}

/** What is odd in a file that can be read all the same, one sentence each. */
export function imageWarnings({ headers, replay, regions }: VhdxImage): string[] {
  const warnings: string[] = [];
  if (headers.damagedOffsetBytes !== undefined) {
    warnings.push(`the header at byte ${headers.damagedOffsetBytes} is damaged; the other one was used`);
  }
  if (regions.damagedOffsetBytes !== undefined) {
    warnings.push(
      `the region table at byte ${regions.damagedOffsetBytes} is damaged; the other copy was used`,
    );
  }
  if (regions.copiesDiffer) {
    warnings.push('the two copies of the region table differ; the first one was used');
  }
  if (replay !== undefined) {
    const entries = replay.entryCount === 1 ? '1 entry' : `${replay.entryCount} entries`;
    warnings.push(`the file was not closed cleanly: ${entries} of its log were replayed in memory`);
  }
  return warnings;
}
