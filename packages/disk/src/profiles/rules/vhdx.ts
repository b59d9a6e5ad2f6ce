import type { OpenOptions } from '../../formats/format.ts';
import { NULL_GUID } from '../../formats/vhdx/guids.ts';
import { HEADER_STRUCTURE } from '../../formats/vhdx/header.ts';
import { readVhdx, type VhdxImage } from '../../formats/vhdx/image.ts';
import { METADATA_STRUCTURE } from '../../formats/vhdx/metadata.ts';
import { REGION_STRUCTURE } from '../../formats/vhdx/region-table.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { type FormatFacts, type Rule, rule } from '../profile.ts';

export interface VhdxFacts extends FormatFacts {
  readonly virtualSizeBytes: number;
  readonly image: VhdxImage;
}

export async function vhdxFacts(source: ByteSource, options: OpenOptions): Promise<VhdxFacts> {
  const image = await readVhdx(source, options.signal);
  return {
    virtualSizeBytes: image.metadata.virtualSizeBytes,
    fileLengthBytes: source.lengthBytes,
    image,
  };
}

/** Who reads without writing cannot replay a log. */
export const emptyLog: Rule<VhdxFacts> = rule(
  'vhdx-log',
  HEADER_STRUCTURE,
  ({ image }) =>
    image.headers.current.logGuid === NULL_GUID
      ? undefined
      : 'LogGuid is set: the file was not closed, or its log is to be replayed',
  ({ image }) => image.headers.current.offsetBytes + 48,
);

export const requiredRegions: Rule<VhdxFacts> = rule(
  'vhdx-regions',
  REGION_STRUCTURE,
  ({ image: { regions } }) =>
    regions.bat.required && regions.metadata.required
      ? undefined
      : 'the table or the metadata is not marked as a required region',
);

export const noParent: Rule<VhdxFacts> = rule('vhdx-parent', METADATA_STRUCTURE, ({ image }) =>
  image.metadata.parent === undefined ? undefined : 'the image depends on a parent',
);

export const smallSectors: Rule<VhdxFacts> = rule(
  'vhdx-sector-size',
  METADATA_STRUCTURE,
  ({ image: { metadata } }) =>
    metadata.logicalSectorBytes === 512
      ? undefined
      : `the guest sees sectors of ${metadata.logicalSectorBytes} bytes`,
);

export const wholeSectors: Rule<VhdxFacts> = rule(
  'vhdx-sectors',
  METADATA_STRUCTURE,
  ({ virtualSizeBytes, image: { metadata } }) =>
    virtualSizeBytes % metadata.logicalSectorBytes === 0
      ? undefined
      : `the disk has ${virtualSizeBytes} bytes, which are no whole sectors`,
);
