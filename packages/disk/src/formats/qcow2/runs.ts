import { ImageError } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { type ClusterRun, joinRuns } from './cluster-disk.ts';
import type { Qcow2Header } from './header.ts';
import { MappedBytes } from './mapped-bytes.ts';
import { compressedPlace, entryOffset, type Qcow2Tables, requireOutsideTables } from './tables.ts';

/** Host offsets have 56 bits. */
const HOST_BYTES_END = 2 ** 56;
const SUBCLUSTER_COUNT = 32;

/** The files of an image, and where in them its tables are. */
export interface Qcow2Files {
  readonly header: Qcow2Header;
  /** Holds the tables, and compressed clusters. */
  readonly source: ByteSource;
  /** Holds the plain clusters: the same file, or the external data file. */
  readonly data: ByteSource;
}

interface Place {
  readonly structure: string;
  readonly offsetBytes: number;
}

/**
 * The runs that overlap [from, to), which they cover, in guest order, those of one kind joined within an L2 table
 * when they also follow each other in the file. The first and the last may reach beyond the range, but not
 * beyond the virtual size rounded up to a cluster. Throws IMAGE_LIMIT when clusters share bytes of the file.
 */
export async function* clusterRuns(
  files: Qcow2Files,
  tables: Qcow2Tables,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<ClusterRun, void, undefined> {
  const { clusterBytes, l2EntryCount, compression } = files.header;
  const mapped = new MappedBytes(
    files.data.lengthBytes,
    files.source.lengthBytes,
    clusterBytes,
    compression,
    'qcow2 L2 tables',
  );
  const tableBytes = clusterBytes * l2EntryCount;
  if (fromBytes >= toBytes) return;
  for (let at = fromBytes - (fromBytes % clusterBytes); at < toBytes; ) {
    signal?.throwIfAborted();
    const l1Index = Math.floor(at / tableBytes);
    const next = await tables.nextTable(l1Index, Math.ceil(toBytes / tableBytes), signal);
    const isHole = next === undefined || next.index > l1Index;
    const endIndex = next === undefined ? Number.POSITIVE_INFINITY : isHole ? next.index : l1Index + 1;
    const tableEnd = Math.min(endIndex * tableBytes, toBytes);
    if (isHole) {
      yield { kind: 'hole', offsetBytes: at, lengthBytes: tableEnd - at };
    } else {
      const l2Offset = next.offsetBytes;
      const leased = await tables.l2Table(l2Offset, signal);
      tables.fetchAhead(l1Index + 1, Math.ceil(toBytes / tableBytes));
      try {
        const first = Math.floor(at / clusterBytes) % l2EntryCount;
        const count = Math.ceil((tableEnd - at) / clusterBytes);
        const decoder = new TableDecoder(files, leased.table, l2Offset);
        for (const run of joinRuns(decoder.runs(l1Index * tableBytes, first, first + count))) {
          // Subclusters of the first and the last cluster may lie outside of the range.
          const overlaps = run.offsetBytes < toBytes && run.offsetBytes + run.lengthBytes > fromBytes;
          if (!overlaps) continue;
          if (run.kind === 'compressed') mapped.addCompressed(run);
          else if (run.kind === 'data') mapped.addPlain(run.lengthBytes);
          yield run;
        }
      } finally {
        leased.release();
      }
    }
    at = tableEnd;
  }
}

function isUnused(words: Int32Array, at: number): boolean {
  const low = (words[at] as number) | (words[at + 1] as number);
  return (low | (words[at + 2] as number) | (words[at + 3] as number)) === 0;
}

class TableDecoder {
  readonly #source: ByteSource;
  readonly #data: ByteSource;
  readonly #header: Qcow2Header;
  readonly #table: DataView;
  /** The same bytes: only whether any is set can be seen here. */
  readonly #words: Int32Array;
  readonly #tableOffset: number;

  constructor({ header, source, data }: Qcow2Files, table: DataView, tableOffset: number) {
    this.#source = source;
    this.#data = data;
    this.#header = header;
    this.#table = table;
    this.#words = new Int32Array(table.buffer, table.byteOffset, table.byteLength / 4);
    this.#tableOffset = tableOffset;
  }

  *runs(tableGuestBytes: number, first: number, end: number): Iterable<ClusterRun> {
    const { clusterBytes, l2EntryBytes, extendedL2 } = this.#header;
    for (let index = first; index < end; index++) {
      const at = index * l2EntryBytes;
      const high = this.#table.getUint32(at);
      const low = this.#table.getUint32(at + 4);
      const offsetBytes = tableGuestBytes + index * clusterBytes;
      const holesEnd = this.#unusedEnd(index, end);
      if (holesEnd > index) {
        yield { kind: 'hole', offsetBytes, lengthBytes: (holesEnd - index) * clusterBytes };
        index = holesEnd - 1;
      } else if ((high & 0x40000000) !== 0) yield this.#compressed(at, high, low, offsetBytes);
      else if (extendedL2) yield* this.#subclusters(at, high, low, offsetBytes);
      else yield this.#standard(at, high, low, offsetBytes);
    }
  }

  /** Where the entries end, from `index` on, that are all zero: most of the table of a sparse disk. */
  #unusedEnd(index: number, end: number): number {
    const words = this.#words;
    const entryWords = this.#header.l2EntryBytes / 4;
    const endWord = end * entryWords;
    let at = index * entryWords;
    // Four at a time: there are millions in a large disk.
    while (at + 4 <= endWord && isUnused(words, at)) at += 4;
    while (at < endWord && words[at] === 0) at++;
    return Math.floor(at / entryWords);
  }

  #place(at: number): Place {
    return { structure: 'qcow2 L2 table', offsetBytes: this.#tableOffset + at };
  }

  #standard(at: number, high: number, low: number, offsetBytes: number): ClusterRun {
    const lengthBytes = this.#header.clusterBytes;
    if ((low & 1) !== 0 && this.#header.version === 3) return { kind: 'zero', offsetBytes, lengthBytes };
    const hostBytes = this.#hostCluster(at, high, low);
    return { kind: 'data', offsetBytes, lengthBytes, hostBytes };
  }

  #compressed(at: number, high: number, low: number, offsetBytes: number): ClusterRun {
    const place = this.#place(at);
    if (this.#data !== this.#source) {
      throw new ImageError(
        'IMAGE_MALFORMED',
        'a compressed cluster cannot be in an external data file',
        place,
      );
    }
    const { hostBytes, sectorCount } = compressedPlace(high, low, this.#header.clusterBits);
    if (hostBytes >= HOST_BYTES_END || high >= 0x80000000) {
      throw new ImageError('IMAGE_MALFORMED', 'a compressed cluster has reserved bits set', place);
    }
    if (
      this.#header.extendedL2 &&
      (this.#table.getUint32(at + 8) !== 0 || this.#table.getUint32(at + 12) !== 0)
    ) {
      throw new ImageError('IMAGE_MALFORMED', 'a compressed cluster has subclusters', place);
    }
    const storedBytes = sectorCount * 512 - (hostBytes % 512);
    if (hostBytes >= this.#source.lengthBytes) {
      throw new ImageError(
        'IMAGE_TRUNCATED',
        `a compressed cluster stands at ${hostBytes}, beyond the end`,
        place,
      );
    }
    return {
      kind: 'compressed',
      offsetBytes,
      lengthBytes: this.#header.clusterBytes,
      hostBytes,
      storedBytes: Math.min(storedBytes, this.#source.lengthBytes - hostBytes),
    };
  }

  /** Extended L2: 32 allocation bits (low word) and 32 zero bits (high word) for the subclusters. */
  *#subclusters(at: number, high: number, low: number, offsetBytes: number): Iterable<ClusterRun> {
    const lengthBytes = this.#header.clusterBytes / SUBCLUSTER_COUNT;
    const zeros = this.#table.getUint32(at + 8);
    const allocated = this.#table.getUint32(at + 12);
    if ((zeros & allocated) !== 0) {
      throw new ImageError('IMAGE_MALFORMED', 'a subcluster is both allocated and zero', this.#place(at));
    }
    const hostBytes = allocated === 0 ? this.#soundOffset(at, high, low) : this.#hostCluster(at, high, low);
    for (let i = 0; i < SUBCLUSTER_COUNT; i++) {
      const bit = 2 ** i;
      const start = offsetBytes + i * lengthBytes;
      if (Math.floor(allocated / bit) % 2 === 1) {
        yield { kind: 'data', offsetBytes: start, lengthBytes, hostBytes: hostBytes + i * lengthBytes };
      } else {
        const kind = Math.floor(zeros / bit) % 2 === 1 ? 'zero' : 'hole';
        yield { kind, offsetBytes: start, lengthBytes };
      }
    }
  }

  /** The host offset of an entry without reserved bits; a cluster's start, or 0. */
  #soundOffset(at: number, high: number, low: number): number {
    const place = this.#place(at);
    const hostBytes = entryOffset(high, low);
    if ((low & 0x1ff) !== 0 || (high & 0x3f000000) !== 0) {
      throw new ImageError('IMAGE_MALFORMED', 'an L2 entry has reserved bits set', place);
    }
    if (hostBytes % this.#header.clusterBytes !== 0) {
      throw new ImageError('IMAGE_MALFORMED', `an L2 entry names ${hostBytes}, not a cluster's start`, place);
    }
    return hostBytes;
  }

  /** The host offset of a cluster that holds data. */
  #hostCluster(at: number, high: number, low: number): number {
    const place = this.#place(at);
    const hostBytes = this.#soundOffset(at, high, low);
    if (this.#data === this.#source) {
      requireOutsideTables(this.#header, hostBytes, 'an L2 entry', place);
      if (hostBytes === this.#tableOffset) {
        throw new ImageError('IMAGE_MALFORMED', 'an L2 entry names its own table as data', place);
      }
    }
    if (hostBytes >= this.#data.lengthBytes) {
      throw new ImageError('IMAGE_TRUNCATED', `a cluster stands at ${hostBytes}, beyond the end`, place);
    }
    return hostBytes;
  }
}
