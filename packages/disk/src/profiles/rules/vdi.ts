import { MIB, SECTOR_BYTES } from '../../bytes/numbers.ts';
import type { OpenOptions } from '../../formats/format.ts';
import { HEADER_STRUCTURE, NULL_UUID, readHeader, type VdiHeader } from '../../formats/vdi/header.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { type FormatFacts, type Rule, rule } from '../profile.ts';

export interface VdiFacts extends FormatFacts {
  readonly virtualSizeBytes: number;
  readonly header: VdiHeader;
}

export async function vdiFacts(source: ByteSource, options: OpenOptions): Promise<VdiFacts> {
  const header = await readHeader(source, options.signal);
  return { virtualSizeBytes: header.virtualSizeBytes, fileLengthBytes: source.lengthBytes, header };
}

export const ownUuids: Rule<VdiFacts> = rule(
  'vdi-uuids',
  HEADER_STRUCTURE,
  ({ header }) => {
    if (header.uuidCreate === NULL_UUID) return 'uuidCreate is null';
    return header.uuidModify === NULL_UUID ? 'uuidModify is null' : undefined;
  },
  () => 392,
);

export const noParent: Rule<VdiFacts> = rule(
  'vdi-parent',
  HEADER_STRUCTURE,
  ({ header }) =>
    header.type === 'differencing' ||
    header.uuidLinkage !== NULL_UUID ||
    header.uuidParentModify !== NULL_UUID
      ? 'the image depends on a parent, or names one'
      : undefined,
  () => 424,
);

export const wholeSectors: Rule<VdiFacts> = rule(
  'vdi-sectors',
  HEADER_STRUCTURE,
  ({ virtualSizeBytes }) =>
    virtualSizeBytes % SECTOR_BYTES === 0
      ? undefined
      : `the disk has ${virtualSizeBytes} bytes, which are no whole sectors`,
  () => 368,
);

export const usualGeometry: Rule<VdiFacts> = rule(
  'vdi-geometry',
  HEADER_STRUCTURE,
  ({ header: { lchsSectorBytes } }) =>
    lchsSectorBytes === undefined || lchsSectorBytes === SECTOR_BYTES
      ? undefined
      : `the geometry has sectors of ${lchsSectorBytes} bytes`,
  () => 468,
);

export const usualBlocks: Rule<VdiFacts> = rule(
  'vdi-blocks',
  HEADER_STRUCTURE,
  ({ header: { blockBytes, blockExtraBytes } }) => {
    if (blockBytes !== MIB) return `blocks of ${blockBytes} bytes, not of 1 MiB`;
    return blockExtraBytes === 0 ? undefined : `${blockExtraBytes} extra bytes before each block`;
  },
  () => 376,
);
