import { roundUp } from '../../bytes/numbers.ts';
import type { OpenOptions } from '../../formats/format.ts';
import { type Qcow2Header, readHeader } from '../../formats/qcow2/header.ts';
import { compressedPlace, Qcow2Tables } from '../../formats/qcow2/tables.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { type FormatFacts, type Rule, rule } from '../profile.ts';
import { Tally } from './tally.ts';

const HEADER = 'qcow2 header';
const L2 = 'qcow2 L2 table';

export interface Qcow2Facts extends FormatFacts {
  readonly header: Qcow2Header;
  /** Entries with the zero flag. */
  readonly zeroFlags: Tally;
  /** Compressed clusters whose last sector the file does not hold whole. */
  readonly cutSectors: Tally;
}

/** Reads the header and every L2 table once. */
export async function qcow2Facts(source: ByteSource, options: OpenOptions): Promise<Qcow2Facts> {
  const { signal } = options;
  const header = await readHeader(source, signal);
  const facts = {
    virtualSizeBytes: header.virtualSizeBytes,
    fileLengthBytes: source.lengthBytes,
    header,
    zeroFlags: new Tally(),
    cutSectors: new Tally(),
  };
  // Entries with subclusters have no zero flag; what needs one of these rules refuses such images anyway.
  if (header.extendedL2 || header.externalDataName !== undefined) return facts;
  const tables = await Qcow2Tables.open(source, header, signal);
  for (let index = 0; ; ) {
    const next = await tables.nextTable(index, header.l1EntryCount, signal);
    if (next === undefined) return facts;
    const leased = await tables.l2Table(next.offsetBytes, signal);
    countEntries(leased.table, next.offsetBytes, facts);
    leased.release();
    index = next.index + 1;
  }
}

function countEntries(table: DataView, tableBytes: number, facts: Qcow2Facts): void {
  const { header, zeroFlags, cutSectors, fileLengthBytes } = facts;
  for (let at = 0; at < table.byteLength; at += 8) {
    const high = table.getUint32(at);
    const low = table.getUint32(at + 4);
    if ((high & 0x40000000) === 0) {
      if ((low & 1) !== 0) zeroFlags.add(tableBytes + at);
      continue;
    }
    const { hostBytes, sectorCount } = compressedPlace(high, low, header.clusterBits);
    if (hostBytes - (hostBytes % 512) + sectorCount * 512 > fileLengthBytes) cutSectors.add(tableBytes + at);
  }
}

export const standsAlone: Rule<Qcow2Facts> = rule('qcow2-one-file', HEADER, ({ header }) => {
  if (header.backingName !== undefined) return 'the image needs a backing file';
  return header.externalDataName !== undefined ? 'the image keeps its data in another file' : undefined;
});

export const noSnapshots: Rule<Qcow2Facts> = rule(
  'qcow2-snapshots',
  HEADER,
  ({ header: { snapshotCount } }) =>
    snapshotCount === 0 ? undefined : `the image has ${snapshotCount} internal snapshots`,
  () => 60,
);

export const noIncompatibleFeatures: Rule<Qcow2Facts> = rule(
  'qcow2-features',
  HEADER,
  ({ header }) => {
    const features = [
      ...(header.dirty ? ['dirty'] : []),
      ...(header.externalDataName !== undefined ? ['external data file'] : []),
      ...(header.compression === 'zstd' ? ['zstd compression'] : []),
      ...(header.extendedL2 ? ['extended L2 entries'] : []),
    ];
    return features.length === 0 ? undefined : `the image has incompatible features: ${features.join(', ')}`;
  },
  () => 72,
);

export const notDirty: Rule<Qcow2Facts> = rule(
  'qcow2-dirty',
  HEADER,
  ({ header }) => (header.dirty ? 'the image was not closed: its refcounts may be behind' : undefined),
  () => 72,
);

export const noZeroFlags: Rule<Qcow2Facts> = {
  id: 'qcow2-zero-flags',
  breach: ({ zeroFlags }) => zeroFlags.breach(L2, 'entries have the zero flag, which would show the header'),
};

/** Both are read as whole clusters. */
export const wholeTables: Rule<Qcow2Facts> = {
  id: 'qcow2-tables',
  breach({ header, fileLengthBytes }) {
    const { clusterBytes, l1OffsetBytes, l1EntryCount } = header;
    const l1End = l1OffsetBytes + roundUp(l1EntryCount * 8, clusterBytes);
    if (l1End > fileLengthBytes) {
      const message = 'the file ends inside the last cluster of the L1 table';
      return { message, structure: 'qcow2 L1 table', offsetBytes: l1OffsetBytes };
    }
    const offsetBytes = header.refcountTableOffsetBytes;
    if (offsetBytes + header.refcountTableClusters * clusterBytes <= fileLengthBytes) return undefined;
    const message = 'the file ends inside the refcount table';
    return { message, structure: 'qcow2 refcount table', offsetBytes };
  },
};

export const wholeSectorsOfData: Rule<Qcow2Facts> = {
  id: 'qcow2-compressed-sectors',
  breach: ({ cutSectors }) => cutSectors.breach(L2, 'compressed clusters end in a sector that the file cuts'),
};
