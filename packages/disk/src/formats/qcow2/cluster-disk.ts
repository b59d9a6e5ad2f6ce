import { forEachBounded } from '../../convert/bounded.ts';
import type { Disk, Extent, StoredRun } from '../../disk/disk.ts';
import { parentExtents, parentRuns } from '../../disk/parent-runs.ts';
import { ImageError, invariant } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import type { Compression } from '../../io/codec.ts';
import { readZeroExtended } from '../../view/view.ts';
import type { OpenedReference } from '../reference.ts';
import { CompressedClusters, type CompressedRun } from './compressed-clusters.ts';

const READS_AT_ONCE = 16;

/** Clusters that stand in the file as they are, one after the other. */
interface DataRun {
  readonly kind: 'data';
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly hostBytes: number;
}

/** What a run of guest bytes is made of in the file. */
export type ClusterRun =
  | { readonly kind: 'hole' | 'zero'; readonly offsetBytes: number; readonly lengthBytes: number }
  | DataRun
  | CompressedRun;

interface ClusterParts {
  readonly format: string;
  readonly virtualSizeBytes: number;
  readonly clusterBytes: number;
  readonly compression: Compression;
  readonly details: Disk['details'];
  readonly warnings: readonly string[];
  /** Holds the tables, and compressed clusters. The caller's to close. */
  readonly source: ByteSource;
  /** Holds the plain clusters: the same file, or another that is closed with the disk. */
  readonly data: ByteSource;
  readonly backing: OpenedReference | undefined;
  /** The runs that overlap a range of the disk, which they cover, in order. */
  readonly runs: (
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ) => AsyncGenerator<ClusterRun, void, undefined>;
}

/** A disk of clusters in a file, some of them compressed, over a backing file: of qcow as of qcow2. */
export class ClusterDisk implements Disk {
  readonly format: string;
  readonly virtualSizeBytes: number;
  readonly sequential: boolean;
  readonly details: Disk['details'];
  readonly warnings: readonly string[];
  readonly #parts: ClusterParts;
  readonly #compressed: CompressedClusters;

  constructor(parts: ClusterParts) {
    const { format, source, data, backing } = parts;
    this.#parts = parts;
    this.#compressed = new CompressedClusters(
      source,
      parts.compression,
      parts.clusterBytes,
      `${format} compressed cluster`,
    );
    this.format = format;
    this.virtualSizeBytes = parts.virtualSizeBytes;
    this.sequential = [source, data, backing?.disk].some((part) => part?.sequential === true);
    this.details = parts.details;
    this.warnings = parts.warnings;
  }

  async *extents(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    for await (const run of this.#runs(fromBytes, toBytes, signal)) {
      const offsetBytes = Math.max(run.offsetBytes, fromBytes);
      const end = Math.min(run.offsetBytes + run.lengthBytes, toBytes);
      const lengthBytes = end - offsetBytes;
      if (run.kind === 'hole') yield* parentExtents(this.#parts.backing?.disk, offsetBytes, end, signal);
      else if (run.kind === 'compressed') yield { kind: 'data', compressed: true, offsetBytes, lengthBytes };
      else yield { kind: run.kind, offsetBytes, lengthBytes };
    }
  }

  async *storedRuns(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<StoredRun, void, undefined> {
    const { source, compression } = this.#parts;
    for await (const run of this.#runs(fromBytes, toBytes, signal)) {
      const offsetBytes = Math.max(run.offsetBytes, fromBytes);
      const end = Math.min(run.offsetBytes + run.lengthBytes, toBytes);
      const lengthBytes = end - offsetBytes;
      if (run.kind === 'compressed') {
        const { hostBytes: sourceBytes, storedBytes } = run;
        const unit = { offsetBytes: run.offsetBytes, lengthBytes: run.lengthBytes };
        yield { kind: 'packed', ...unit, compression, source, sourceBytes, storedBytes };
      } else if (run.kind === 'hole') yield* parentRuns(this.#parts.backing?.disk, offsetBytes, end, signal);
      else if (run.kind === 'data') yield* this.#dataRuns(run, offsetBytes, end);
      else yield { kind: 'zero', offsetBytes, lengthBytes };
    }
  }

  /** What a file that ends inside its last cluster has not is left to `read`. */
  *#dataRuns(run: DataRun, offsetBytes: number, end: number): Iterable<StoredRun> {
    const { data } = this.#parts;
    const sourceBytes = run.hostBytes + (offsetBytes - run.offsetBytes);
    const available = Math.min(end - offsetBytes, Math.max(0, data.lengthBytes - sourceBytes));
    if (available > 0)
      yield { kind: 'plain', offsetBytes, lengthBytes: available, source: data, sourceBytes };
    const missing = end - offsetBytes - available;
    if (missing > 0) yield { kind: 'opaque', offsetBytes: offsetBytes + available, lengthBytes: missing };
  }

  #runs(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<ClusterRun, void, undefined> {
    invariant(toBytes <= this.virtualSizeBytes, 'a range lies inside the disk');
    return this.#parts.runs(fromBytes, toBytes, signal);
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = offsetBytes + into.length;
    // All runs are known before the first read begins: no read is left alone when an entry is refused.
    const reads: (() => Promise<void>)[] = [];
    const compressed: CompressedRun[] = [];
    for await (const run of this.#runs(offsetBytes, end, signal)) {
      const from = Math.max(run.offsetBytes, offsetBytes);
      const to = Math.min(run.offsetBytes + run.lengthBytes, end);
      const part = into.subarray(from - offsetBytes, to - offsetBytes);
      const backing = this.#parts.backing?.disk;
      if (run.kind === 'compressed') compressed.push(run);
      else if (run.kind === 'data') reads.push(() => this.#readData(run, from, part, signal));
      else if (run.kind === 'zero' || backing === undefined) part.fill(0);
      else reads.push(() => readZeroExtended(backing, from, part, signal));
    }
    await forEachBounded(reads, READS_AT_ONCE, (read) => read());
    await this.#compressed.read(compressed, offsetBytes, into, signal);
  }

  /** A file may end inside its last cluster, on a sector: the rest of that cluster reads as zeros. */
  async #readData(run: DataRun, fromBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const { data, clusterBytes, format } = this.#parts;
    const hostBytes = run.hostBytes + (fromBytes - run.offsetBytes);
    const available = Math.min(into.length, Math.max(0, data.lengthBytes - hostBytes));
    if (available < into.length) {
      const missing = into.length - available;
      if (missing >= clusterBytes || data.lengthBytes % 512 !== 0) {
        throw new ImageError(
          'IMAGE_TRUNCATED',
          `the file ends inside the data of guest offset ${fromBytes}`,
          {
            structure: `${format} data cluster`,
            offsetBytes: hostBytes,
          },
        );
      }
      into.fill(0, available);
    }
    if (available > 0) await data.read(hostBytes, into.subarray(0, available), signal);
  }

  async close(): Promise<void> {
    const { source, data, backing } = this.#parts;
    await backing?.close();
    if (data !== source) await data.close();
  }
}

/** Joins neighbours of one kind; data only where it is contiguous in the file, compressed clusters never. */
export function* joinRuns(runs: Iterable<ClusterRun>): Iterable<ClusterRun> {
  let open: ClusterRun | undefined;
  for (const run of runs) {
    if (open !== undefined && open.kind === run.kind && run.kind !== 'compressed') {
      if (
        run.kind !== 'data' ||
        (open.kind === 'data' && open.hostBytes + open.lengthBytes === run.hostBytes)
      ) {
        open = { ...open, lengthBytes: open.lengthBytes + run.lengthBytes };
        continue;
      }
    }
    if (open !== undefined) yield open;
    open = run;
  }
  if (open !== undefined) yield open;
}
