import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { type ClusterRun, joinRuns } from '../qcow2/cluster-disk.ts';
import { MappedBytes } from '../qcow2/mapped-bytes.ts';
import { compressedPlace, placeOf, type QcowHeader } from './header.ts';
import type { QcowTables } from './tables.ts';

const L1_STRUCTURE = 'qcow L1 table';
const L2_STRUCTURE = 'qcow L2 table';

/**
 * The runs that overlap [from, to), which they cover, in guest order, those of one kind joined within an L2 table
 * when they also follow each other in the file. Throws IMAGE_LIMIT when tables or clusters share bytes of the
 * file.
 */
export async function* clusterRuns(
  source: ByteSource,
  header: QcowHeader,
  tables: QcowTables,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<ClusterRun, void, undefined> {
  if (fromBytes >= toBytes) return;
  const { clusterBytes, l2EntryCount, l2TableBytes } = header;
  const { lengthBytes } = source;
  const mapped = new MappedBytes(lengthBytes, lengthBytes, clusterBytes, 'deflate-raw', 'qcow tables');
  const tableSpan = clusterBytes * l2EntryCount;
  for (let at = fromBytes - (fromBytes % clusterBytes); at < toBytes; ) {
    signal?.throwIfAborted();
    const l1Index = Math.floor(at / tableSpan);
    const { page, firstEntry, entryCount } = await tables.l1Page(l1Index, signal);
    let endIndex = l1Index;
    while (
      endIndex < firstEntry + entryCount &&
      endIndex * tableSpan < toBytes &&
      page.getBigUint64((endIndex - firstEntry) * 8) === 0n
    ) {
      endIndex++;
    }
    if (endIndex > l1Index) {
      const end = Math.min(endIndex * tableSpan, toBytes);
      yield { kind: 'hole', offsetBytes: at, lengthBytes: end - at };
      at = end;
      continue;
    }
    const entryAt = (l1Index - firstEntry) * 8;
    const place = { structure: L1_STRUCTURE, offsetBytes: header.l1OffsetBytes + l1Index * 8 };
    const l2Offset = placeOf(page.getUint32(entryAt), page.getUint32(entryAt + 4), place);
    requireOutsideTables(header, l2Offset, l2TableBytes, place);
    const table = await tables.l2Table(l2Offset, signal);
    mapped.addTable(l2TableBytes);
    const tableEnd = Math.min((l1Index + 1) * tableSpan, toBytes);
    const first = Math.floor(at / clusterBytes) % l2EntryCount;
    const end = first + Math.ceil((tableEnd - at) / clusterBytes);
    const entries = tableRuns(source, header, table, l2Offset, l1Index * tableSpan, first, end);
    for (const run of joinRuns(entries)) {
      if (run.kind === 'compressed') mapped.addCompressed(run);
      else if (run.kind === 'data') mapped.addPlain(run.lengthBytes);
      yield run;
    }
    at = tableEnd;
  }
}

function* tableRuns(
  source: ByteSource,
  header: QcowHeader,
  table: DataView,
  tableOffset: number,
  guestBytes: number,
  first: number,
  end: number,
): Iterable<ClusterRun> {
  const { clusterBytes, clusterBits } = header;
  for (let index = first; index < end; index++) {
    const high = table.getUint32(index * 8);
    const low = table.getUint32(index * 8 + 4);
    const run = { offsetBytes: guestBytes + index * clusterBytes, lengthBytes: clusterBytes };
    const place = { structure: L2_STRUCTURE, offsetBytes: tableOffset + index * 8 };
    if (high === 0 && low === 0) yield { kind: 'hole', ...run };
    else if (high >= 2 ** 31) {
      const stored = compressedPlace(high, low, clusterBits);
      if (stored.storedBytes === 0) {
        throw new ImageError('IMAGE_MALFORMED', 'a compressed cluster has no bytes', place);
      }
      requireBefore(source, stored.hostBytes + stored.storedBytes - 1, place);
      yield { kind: 'compressed', ...run, ...stored };
    } else {
      const hostBytes = placeOf(high, low, place);
      requireOutsideTables(header, hostBytes, clusterBytes, place);
      const isInTable =
        hostBytes < tableOffset + header.l2TableBytes && tableOffset < hostBytes + clusterBytes;
      if (isInTable) refuseMisleading('its own L2 table', place);
      requireBefore(source, hostBytes, place);
      yield { kind: 'data', ...run, hostBytes };
    }
  }
}

interface Place {
  readonly structure: string;
  readonly offsetBytes: number;
}

function requireBefore(source: ByteSource, lastBytes: number, place: Place): void {
  if (lastBytes < source.lengthBytes) return;
  throw new ImageError('IMAGE_TRUNCATED', `a cluster stands at ${lastBytes}, beyond the end`, place);
}

/** Refuses a cluster or an L2 table on top of the header, which has a cluster to itself, or of the L1 table. */
function requireOutsideTables(
  header: QcowHeader,
  hostBytes: number,
  lengthBytes: number,
  place: Place,
): void {
  const { clusterBytes, l1OffsetBytes, l1EntryCount } = header;
  const end = hostBytes + lengthBytes;
  const isOutside = end <= l1OffsetBytes || hostBytes >= l1OffsetBytes + l1EntryCount * 8;
  if (hostBytes < clusterBytes || !isOutside) refuseMisleading('the header or the L1 table', place);
}

function refuseMisleading(what: string, place: Place): never {
  throw new ImageError('IMAGE_MALFORMED', `an entry points into ${what} of the image`, {
    ...place,
    hint: 'the image is damaged or was made to mislead: do not use it',
  });
}
