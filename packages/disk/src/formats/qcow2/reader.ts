import { forEachBounded } from '../../convert/bounded.ts';
import type { Disk, Extent } from '../../disk/disk.ts';
import { ImageError, invariant } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { decompress } from '../../io/node-codec.ts';
import { readZeroExtended } from '../../view/view.ts';
import type { OpenOptions } from '../format.ts';
import { type OpenedReference, openReference } from '../reference.ts';
import { type Qcow2Header, readHeader } from './header.ts';
import { clusterRuns, type Qcow2Run } from './runs.ts';
import { Qcow2Tables } from './tables.ts';

type CompressedRun = Extract<Qcow2Run, { kind: 'compressed' }>;
type DataRun = Extract<Qcow2Run, { kind: 'data' }>;

/** Compressed clusters that stand closer than this in the file are fetched with one read. */
const COMPRESSED_GAP_BYTES = 4096;
/** Most bytes of one such read. */
const COMPRESSED_GROUP_BYTES = 2 * 1024 * 1024;
const DECOMPRESSIONS_AT_ONCE = 16;
const READS_AT_ONCE = 16;

/** What qemu calls formats that have another name here; its protocol names mean the bare bytes. */
const QEMU_FORMAT_NAMES: ReadonlyMap<string, string> = new Map([
  ['vpc', 'vhd'],
  ['file', 'raw'],
  ['host_device', 'raw'],
]);

/** Opens a qcow2 image (version 2 or 3) and its backing chain, through the gate. */
export async function openQcow2(source: ByteSource, options: OpenOptions): Promise<Disk> {
  const header = await readHeader(source, options.signal);
  if (header.externalDataName !== undefined) await refuseExternalData(header.externalDataName, options);
  const tables = await Qcow2Tables.open(source, header, options.signal);
  const backing =
    header.backingName === undefined
      ? undefined
      : await openReference(
          source,
          {
            kind: 'backing file',
            name: header.backingName,
            format: QEMU_FORMAT_NAMES.get(header.backingFormat ?? '') ?? header.backingFormat,
            structure: 'qcow2 backing file name',
          },
          options,
        );
  return new Qcow2Disk(source, header, tables, backing);
}

async function refuseExternalData(name: string, options: OpenOptions): Promise<never> {
  const structure = 'qcow2 external data file name';
  const resolved = await options.references.resolve(
    { kind: 'external data file', name, structure },
    options.signal,
  );
  await resolved.source.close();
  throw new ImageError('IMAGE_UNSUPPORTED', 'a qcow2 image with an external data file is not read', {
    structure,
    hint: 'convert it to a qcow2 without one first, with qemu-img convert',
  });
}

class Qcow2Disk implements Disk {
  readonly format = 'qcow2';
  readonly virtualSizeBytes: number;
  readonly details: Disk['details'];
  readonly warnings: string[] = [];
  readonly #source: ByteSource;
  readonly #header: Qcow2Header;
  readonly #tables: Qcow2Tables;
  readonly #backing: OpenedReference | undefined;

  constructor(
    source: ByteSource,
    header: Qcow2Header,
    tables: Qcow2Tables,
    backing: OpenedReference | undefined,
  ) {
    this.#source = source;
    this.#header = header;
    this.#tables = tables;
    this.#backing = backing;
    this.virtualSizeBytes = header.virtualSizeBytes;
    this.details = {
      version: header.version,
      clusterSizeBytes: header.clusterBytes,
      compressionType: header.compression === 'zstd' ? 'zstd' : 'zlib',
      extendedL2: header.extendedL2,
      refcountBits: header.refcountBits,
      snapshotCount: header.snapshotCount,
      backingFile: header.backingName ?? null,
      backingFormat: header.backingFormat ?? null,
    };
    if (header.dirty)
      this.warnings.push('the image was not closed cleanly (dirty bit); its refcounts may be wrong');
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
      if (run.kind === 'hole') yield* this.#backingExtents(offsetBytes, end, signal);
      else if (run.kind === 'compressed') yield { kind: 'data', compressed: true, offsetBytes, lengthBytes };
      else yield { kind: run.kind, offsetBytes, lengthBytes };
    }
  }

  async *#backingExtents(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    const backing = this.#backing?.disk;
    const inside = Math.min(toBytes, Math.max(fromBytes, backing?.virtualSizeBytes ?? fromBytes));
    if (backing !== undefined && inside > fromBytes) yield* backing.extents(fromBytes, inside, signal);
    if (inside < toBytes) yield { kind: 'hole', offsetBytes: inside, lengthBytes: toBytes - inside };
  }

  #runs(fromBytes: number, toBytes: number, signal?: AbortSignal): AsyncGenerator<Qcow2Run, void, undefined> {
    invariant(toBytes <= this.virtualSizeBytes, 'a range lies inside the disk');
    return clusterRuns(this.#source, this.#header, this.#tables, fromBytes, toBytes, signal);
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
    await this.#readCompressed(compressed, offsetBytes, into, signal);
  }

  /** A file may end inside its last cluster, on a sector: the rest of that cluster reads as zeros. */
  async #readData(run: DataRun, fromBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const hostBytes = run.hostBytes + (fromBytes - run.offsetBytes);
    const available = Math.min(into.length, Math.max(0, this.#source.lengthBytes - hostBytes));
    if (available < into.length) {
      const missing = into.length - available;
      if (missing >= this.#header.clusterBytes || this.#source.lengthBytes % 512 !== 0) {
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
    if (available > 0) await this.#source.read(hostBytes, into.subarray(0, available), signal);
  }

  async #readCompressed(
    runs: CompressedRun[],
    offsetBytes: number,
    into: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void> {
    const decompressOne = async ({ run, stored }: { run: CompressedRun; stored: Uint8Array }) => {
      signal?.throwIfAborted();
      const { compression, clusterBytes } = this.#header;
      const structure = 'qcow2 compressed cluster';
      const plain = await decompress(compression, stored, clusterBytes, structure, run.hostBytes);
      const from = Math.max(run.offsetBytes, offsetBytes);
      const to = Math.min(run.offsetBytes + run.lengthBytes, offsetBytes + into.length);
      into.set(plain.subarray(from - run.offsetBytes, to - run.offsetBytes), from - offsetBytes);
    };
    await forEachBounded(this.#storedClusters(runs, signal), DECOMPRESSIONS_AT_ONCE, decompressOne);
  }

  /** Fetches neighbours together: compressed clusters are small and mostly stand in guest order. */
  async *#storedClusters(
    runs: CompressedRun[],
    signal?: AbortSignal,
  ): AsyncGenerator<{ run: CompressedRun; stored: Uint8Array }, void, undefined> {
    for (let first = 0; first < runs.length; ) {
      const start = runs[first]?.hostBytes ?? 0;
      let end = start;
      let next = first;
      for (let run = runs[next]; run !== undefined; run = runs[++next]) {
        const runEnd = run.hostBytes + run.storedBytes;
        if (next > first) {
          if (run.hostBytes < start || run.hostBytes > end + COMPRESSED_GAP_BYTES) break;
          if (runEnd - start > COMPRESSED_GROUP_BYTES) break;
        }
        end = Math.max(end, runEnd);
      }
      const bytes = new Uint8Array(end - start);
      await this.#source.read(start, bytes, signal);
      for (const run of runs.slice(first, next)) {
        const at = run.hostBytes - start;
        yield { run, stored: bytes.subarray(at, at + run.storedBytes) };
      }
      first = next;
    }
  }

  async close(): Promise<void> {
    await this.#backing?.close();
  }
}
