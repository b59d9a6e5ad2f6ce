import { roundUp } from '../../bytes/numbers.ts';
import type { Layout } from '../../view/layout.ts';
import { bytesRegion, type Region, regionsLayout, zeroRegion } from '../../view/regions.ts';
import { encodeTarHeader, TAR_BLOCK_BYTES } from './header.ts';

/** GNU tar's record: archives are whole ones. */
const RECORD_BYTES: number = 20 * TAR_BLOCK_BYTES;

/** A file to be put into an archive: bytes, or a layout, whose pieces are of the same disk. */
export interface NewTarMember {
  readonly name: string;
  readonly content: Region;
}

/**
 * 2000-01-01 00:00 UTC, for every member: archives of the same disk are the same bytes, and GNU tar warns of
 * times as early as 0.
 */
export const MODIFIED_AT_SECONDS = 946_684_800;

/** An archive of these members as a layout: exact length, any range. */
export function tarLayout(
  format: string,
  members: readonly NewTarMember[],
  modifiedAtSeconds: number = MODIFIED_AT_SECONDS,
): Layout {
  const regions: Region[] = [];
  let lengthBytes = 0;
  for (const { name, content } of members) {
    const padBytes = roundUp(content.lengthBytes, TAR_BLOCK_BYTES) - content.lengthBytes;
    const header = encodeTarHeader(name, content.lengthBytes, modifiedAtSeconds);
    regions.push(bytesRegion(header), content, zeroRegion(padBytes));
    lengthBytes += TAR_BLOCK_BYTES + content.lengthBytes + padBytes;
  }
  regions.push(zeroRegion(tarEndBytes(lengthBytes)));
  return regionsLayout(format, regions);
}

/** Zeros that end an archive whose members take this many bytes: two blocks at least, to a whole record. */
export function tarEndBytes(membersBytes: number): number {
  return roundUp(membersBytes + 2 * TAR_BLOCK_BYTES, RECORD_BYTES) - membersBytes;
}
