import { forEachBounded } from '../../convert/bounded.ts';
import type { DetailValue, Disk, Extent, StoredRun } from '../../disk/disk.ts';
import { parentExtents, parentRuns } from '../../disk/parent-runs.ts';
import { ImageError, invariant } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { readZeroExtended } from '../../view/view.ts';
import type { OpenOptions } from '../format.ts';
import { type OpenedReference, openReference } from '../reference.ts';
import { CompressedClusters, type CompressedRun } from './compressed-clusters.ts';
import { type Qcow2Header, readHeader } from './header.ts';
import { clusterRuns, type Qcow2Files, type Qcow2Run } from './runs.ts';
import {
  chosenSnapshot,
  headerOfSnapshot,
  readSnapshots,
  type Snapshot,
  snapshotDetails,
} from './snapshots.ts';
import { Qcow2Tables } from './tables.ts';

type DataRun = Extract<Qcow2Run, { kind: 'data' }>;

const READS_AT_ONCE = 16;

/** What qemu calls formats that have another name here; its protocol names mean the bare bytes. */
const QEMU_FORMAT_NAMES: ReadonlyMap<string, string> = new Map([
  ['vpc', 'vhd'],
  ['file', 'raw'],
  ['host_device', 'raw'],
]);

/**
 * Opens a qcow2 image (version 2 or 3), in its present state or that of an internal snapshot, with its external
 * data file and its backing chain, both through the gate.
 */
export async function openQcow2(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const { signal } = options;
  const present = await readHeader(source, signal);
  const warnings: string[] = [];
  const snapshots = await snapshotsOf(source, present, options, warnings);
  const header =
    options.snapshot === undefined
      ? present
      : headerOfSnapshot(present, chosenSnapshot(snapshots, options.snapshot));
  const tables = await Qcow2Tables.open(source, header, signal);
  const data =
    header.externalDataName === undefined
      ? source
      : await openExternalData(source, header.externalDataName, options);
  try {
    const files = { header, source, data };
    return new Qcow2Disk(files, tables, await openBacking(source, header, options), snapshots, warnings);
  } catch (error) {
    if (data !== source) await data.close();
    throw error;
  }
}

/** Only who chooses one needs them: damage is a warning to all others, and what arrives is not asked ahead. */
async function snapshotsOf(
  source: ByteSource,
  header: Qcow2Header,
  options: OpenOptions,
  warnings: string[],
): Promise<readonly Snapshot[]> {
  const isChosen = options.snapshot !== undefined;
  if (header.snapshotCount === 0 || (source.sequential && !isChosen)) return [];
  try {
    return (await readSnapshots(source, header, options.signal)).snapshots;
  } catch (error) {
    if (isChosen || !(error instanceof ImageError)) throw error;
    warnings.push(`the internal snapshots cannot be read: ${error.message}`);
    return [];
  }
}

async function openExternalData(source: ByteSource, name: string, options: OpenOptions): Promise<ByteSource> {
  const structure = 'qcow2 external data file name';
  const reference = { kind: 'external data file', name, format: 'raw', structure } as const;
  const { source: data } = await options.references.resolve(reference, options.signal);
  if (data !== source && data.name !== source.name) return data;
  await data.close();
  throw new ImageError('IMAGE_REFERENCE', 'the image is given as its own external data file', {
    structure,
    hint: 'supply the right file',
  });
}

async function openBacking(
  source: ByteSource,
  header: Qcow2Header,
  options: OpenOptions,
): Promise<OpenedReference | undefined> {
  if (header.backingName === undefined) return undefined;
  const reference = {
    kind: 'backing file',
    name: header.backingName,
    format: QEMU_FORMAT_NAMES.get(header.backingFormat ?? '') ?? header.backingFormat,
    structure: 'qcow2 backing file name',
  } as const;
  // The snapshot that was chosen is one of this image.
  return openReference(source, reference, { ...options, snapshot: undefined });
}

function detailsOf(header: Qcow2Header, snapshots: readonly Snapshot[]): Record<string, DetailValue> {
  return {
    version: header.version,
    clusterSizeBytes: header.clusterBytes,
    compressionType: header.compression === 'zstd' ? 'zstd' : 'zlib',
    extendedL2: header.extendedL2,
    refcountBits: header.refcountBits,
    snapshotCount: header.snapshotCount,
    snapshots: snapshotDetails(snapshots),
    backingFile: header.backingName ?? null,
    backingFormat: header.backingFormat ?? null,
    externalDataFile: header.externalDataName ?? null,
    externalDataFileRaw: header.externalDataRaw,
  };
}

class Qcow2Disk implements Disk {
  readonly format = 'qcow2';
  readonly virtualSizeBytes: number;
  readonly sequential: boolean;
  readonly details: Disk['details'];
  readonly warnings: readonly string[];
  readonly #files: Qcow2Files;
  readonly #tables: Qcow2Tables;
  readonly #backing: OpenedReference | undefined;
  readonly #compressed: CompressedClusters;

  constructor(
    files: Qcow2Files,
    tables: Qcow2Tables,
    backing: OpenedReference | undefined,
    snapshots: readonly Snapshot[],
    warnings: readonly string[],
  ) {
    const { header, source, data } = files;
    this.#files = files;
    this.#tables = tables;
    this.#backing = backing;
    this.#compressed = new CompressedClusters(
      source,
      header.compression,
      header.clusterBytes,
      'qcow2 compressed cluster',
    );
    this.virtualSizeBytes = header.virtualSizeBytes;
    this.sequential = [source, data, backing?.disk].some((part) => part?.sequential === true);
    this.details = detailsOf(header, snapshots);
    this.warnings = header.dirty
      ? [...warnings, 'the image was not closed cleanly (dirty bit); its refcounts may be wrong']
      : warnings;
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
      if (run.kind === 'hole') yield* parentExtents(this.#backing?.disk, offsetBytes, end, signal);
      else if (run.kind === 'compressed') yield { kind: 'data', compressed: true, offsetBytes, lengthBytes };
      else yield { kind: run.kind, offsetBytes, lengthBytes };
    }
  }

  async *storedRuns(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<StoredRun, void, undefined> {
    const { source, header } = this.#files;
    for await (const run of this.#runs(fromBytes, toBytes, signal)) {
      const offsetBytes = Math.max(run.offsetBytes, fromBytes);
      const end = Math.min(run.offsetBytes + run.lengthBytes, toBytes);
      const lengthBytes = end - offsetBytes;
      if (run.kind === 'compressed') {
        const { hostBytes: sourceBytes, storedBytes } = run;
        const unit = { offsetBytes: run.offsetBytes, lengthBytes: run.lengthBytes };
        yield { kind: 'packed', ...unit, compression: header.compression, source, sourceBytes, storedBytes };
      } else if (run.kind === 'hole') yield* parentRuns(this.#backing?.disk, offsetBytes, end, signal);
      else if (run.kind === 'data') yield* this.#dataRuns(run, offsetBytes, end);
      else yield { kind: 'zero', offsetBytes, lengthBytes };
    }
  }

  /** What a file that ends inside its last cluster has not is left to `read`. */
  *#dataRuns(run: DataRun, offsetBytes: number, end: number): Iterable<StoredRun> {
    const { data } = this.#files;
    const sourceBytes = run.hostBytes + (offsetBytes - run.offsetBytes);
    const available = Math.min(end - offsetBytes, Math.max(0, data.lengthBytes - sourceBytes));
    if (available > 0)
      yield { kind: 'plain', offsetBytes, lengthBytes: available, source: data, sourceBytes };
    const missing = end - offsetBytes - available;
    if (missing > 0) yield { kind: 'opaque', offsetBytes: offsetBytes + available, lengthBytes: missing };
  }

  #runs(fromBytes: number, toBytes: number, signal?: AbortSignal): AsyncGenerator<Qcow2Run, void, undefined> {
    invariant(toBytes <= this.virtualSizeBytes, 'a range lies inside the disk');
    return clusterRuns(this.#files, this.#tables, fromBytes, toBytes, signal);
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
      const backing = this.#backing?.disk;
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
    const { data, header } = this.#files;
    const hostBytes = run.hostBytes + (fromBytes - run.offsetBytes);
    const available = Math.min(into.length, Math.max(0, data.lengthBytes - hostBytes));
    if (available < into.length) {
      const missing = into.length - available;
      if (missing >= header.clusterBytes || data.lengthBytes % 512 !== 0) {
        throw new ImageError(
          'IMAGE_TRUNCATED',
          `the file ends inside the data of guest offset ${fromBytes}`,
          {
            structure: 'qcow2 data cluster',
            offsetBytes: hostBytes,
          },
        );
      }
      into.fill(0, available);
    }
    if (available > 0) await data.read(hostBytes, into.subarray(0, available), signal);
  }

  async close(): Promise<void> {
    const { source, data } = this.#files;
    await this.#backing?.close();
    if (data !== source) await data.close();
  }
}
