import { forEachBounded } from '../../convert/bounded.ts';
import type { Disk, Extent, StoredRun } from '../../disk/disk.ts';
import { parentExtents, parentRuns } from '../../disk/parent-runs.ts';
import { ImageError, invariant } from '../../errors.ts';
import { readZeroExtended } from '../../view/view.ts';
import type { ExtentPart } from './extent-part.ts';
import type { CompressedRun, GrainRun } from './runs.ts';

const READS_AT_ONCE = 8;
/** Extents of data are joined up to this length, so that a walk over a full disk begins at once. */
const JOINED_BYTES_MAX = 2 ** 30;

export interface VmdkDiskParts {
  /** In the order of the disk, without gaps. */
  readonly parts: readonly ExtentPart[];
  /** Shows through where no part has anything. */
  readonly parent?: Disk | undefined;
  readonly details: Disk['details'];
  readonly warnings: readonly string[];
  /** Closes what was opened for the disk. */
  close(): Promise<void>;
}

/** A stretch of the disk in one part. */
interface Stretch {
  readonly part: ExtentPart;
  /** Where the part begins on the disk. */
  readonly startBytes: number;
  readonly runs: readonly GrainRun[];
}

/** The extents of a VMDK, one after the other, over its parent. */
export class VmdkDisk implements Disk {
  readonly format = 'vmdk';
  readonly virtualSizeBytes: number;
  readonly details: Disk['details'];
  readonly warnings: readonly string[];
  readonly sequential: boolean;
  readonly #parts: readonly ExtentPart[];
  /** Where each part begins on the disk. */
  readonly #starts: readonly number[];
  readonly #parent: Disk | undefined;
  readonly #close: () => Promise<void>;

  constructor(disk: VmdkDiskParts) {
    this.#parts = disk.parts;
    this.#parent = disk.parent;
    this.#close = () => disk.close();
    this.details = disk.details;
    this.warnings = disk.warnings;
    this.sequential =
      disk.parts.some(({ source }) => source?.sequential === true) || disk.parent?.sequential === true;
    const starts: number[] = [];
    let startBytes = 0;
    for (const part of disk.parts) {
      starts.push(startBytes);
      startBytes += part.lengthBytes;
    }
    this.#starts = starts;
    this.virtualSizeBytes = startBytes;
  }

  async *extents(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    let open: Extent | undefined;
    for await (const extent of this.#unjoined(fromBytes, toBytes, signal)) {
      // Of what arrives once, a long extent would be over before it was told.
      const joinedBytesMax = extent.kind !== 'data' ? Infinity : this.sequential ? 0 : JOINED_BYTES_MAX;
      if (
        open?.kind === extent.kind &&
        open.compressed === extent.compressed &&
        open.lengthBytes < joinedBytesMax
      ) {
        open = { ...open, lengthBytes: open.lengthBytes + extent.lengthBytes };
        continue;
      }
      if (open !== undefined) yield open;
      open = extent;
    }
    if (open !== undefined) yield open;
  }

  async *#unjoined(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Extent, void, undefined> {
    for await (const { startBytes, runs } of this.#stretches(fromBytes, toBytes, signal)) {
      for (const run of runs) {
        const { offsetBytes, lengthBytes } = clip(run, startBytes, fromBytes, toBytes);
        const end = offsetBytes + lengthBytes;
        if (run.kind === 'hole') yield* parentExtents(this.#parent, offsetBytes, end, signal);
        else if (run.kind === 'compressed')
          yield { offsetBytes, lengthBytes, kind: 'data', compressed: true };
        else yield { offsetBytes, lengthBytes, kind: run.kind === 'zero' ? 'zero' : 'data' };
      }
    }
  }

  async *storedRuns(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<StoredRun, void, undefined> {
    for await (const { part, startBytes, runs } of this.#stretches(fromBytes, toBytes, signal)) {
      for (const run of runs) {
        const { offsetBytes, lengthBytes } = clip(run, startBytes, fromBytes, toBytes);
        const end = offsetBytes + lengthBytes;
        if (run.kind === 'hole') yield* parentRuns(this.#parent, offsetBytes, end, signal);
        else if (run.kind === 'zero') yield { kind: 'zero', offsetBytes, lengthBytes };
        else if (run.kind === 'data' && part.source !== undefined) {
          const sourceBytes = run.fileOffsetBytes + (offsetBytes - startBytes - run.offsetBytes);
          yield { kind: 'plain', offsetBytes, lengthBytes, source: part.source, sourceBytes };
        } else if (run.kind === 'compressed' && part.storedGrain !== undefined) {
          const stored = await part.storedGrain(run, signal);
          yield stored.kind === 'packed'
            ? { ...stored, offsetBytes: startBytes + run.offsetBytes }
            : { kind: 'opaque', offsetBytes, lengthBytes };
        } else yield { kind: 'opaque', offsetBytes, lengthBytes };
      }
    }
  }

  async *#stretches(
    fromBytes: number,
    toBytes: number,
    signal?: AbortSignal,
  ): AsyncGenerator<Stretch, void, undefined> {
    invariant(fromBytes >= 0 && toBytes <= this.virtualSizeBytes, 'a range lies inside the disk');
    for (let index = this.#partAt(fromBytes); index < this.#parts.length; index++) {
      const part = this.#parts[index];
      const startBytes = this.#starts[index] ?? 0;
      if (part === undefined || startBytes >= toBytes) return;
      const from = Math.max(0, fromBytes - startBytes);
      const to = Math.min(part.lengthBytes, toBytes - startBytes);
      if (from >= to) continue;
      for await (const runs of part.runs(from, to, signal)) yield { part, startBytes, runs };
    }
  }

  /** The last part that begins at or before a place of the disk. */
  #partAt(offsetBytes: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if ((this.#starts[middle] ?? 0) <= offsetBytes) low = middle;
      else high = middle;
    }
    return low;
  }

  async read(offsetBytes: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const end = offsetBytes + into.length;
    // All runs are known before the first read begins: no read is left alone when an entry is refused.
    const reads: (() => Promise<void>)[] = [];
    const compressed: { part: ExtentPart; startBytes: number; runs: CompressedRun[] }[] = [];
    for await (const { part, startBytes, runs } of this.#stretches(offsetBytes, end, signal)) {
      let last = compressed.at(-1);
      for (const run of runs) {
        const extent = clip(run, startBytes, offsetBytes, end);
        const at = extent.offsetBytes - offsetBytes;
        const bytes = into.subarray(at, at + extent.lengthBytes);
        if (run.kind === 'compressed') {
          last = last?.part === part ? last : { part, startBytes, runs: [] };
          if (last !== compressed.at(-1)) compressed.push(last);
          last.runs.push(run);
        } else if (run.kind === 'denied') refuseAccess(extent.offsetBytes);
        else if (run.kind === 'data') {
          const fileOffsetBytes = run.fileOffsetBytes + (extent.offsetBytes - startBytes - run.offsetBytes);
          reads.push(async () => part.source?.read(fileOffsetBytes, bytes, signal));
        } else if (run.kind === 'hole' && this.#parent !== undefined) {
          const parent = this.#parent;
          reads.push(() => readZeroExtended(parent, extent.offsetBytes, bytes, signal));
        } else bytes.fill(0);
      }
    }
    await forEachBounded(reads, READS_AT_ONCE, (read) => read());
    for (const { part, startBytes, runs } of compressed) {
      // Offsets count from the part: what lies before it is cut off.
      const skip = Math.max(0, startBytes - offsetBytes);
      await part.readCompressed?.(runs, offsetBytes + skip - startBytes, into.subarray(skip), signal);
    }
  }

  async drain(signal?: AbortSignal): Promise<void> {
    for (const part of this.#parts) await part.drain?.(signal);
    await this.#parent?.drain?.(signal);
  }

  close(): Promise<void> {
    return this.#close();
  }
}

/** The part of a run in [from, to) of the disk; the two overlap. */
function clip(
  run: GrainRun,
  startBytes: number,
  fromBytes: number,
  toBytes: number,
): { readonly offsetBytes: number; readonly lengthBytes: number } {
  const offsetBytes = Math.max(startBytes + run.offsetBytes, fromBytes);
  const lengthBytes = Math.min(startBytes + run.offsetBytes + run.lengthBytes, toBytes) - offsetBytes;
  return { offsetBytes, lengthBytes };
}

function refuseAccess(offsetBytes: number): never {
  throw new ImageError('IMAGE_UNSUPPORTED', `the descriptor lets nobody read the disk at ${offsetBytes}`, {
    structure: 'VMDK extent (NOACCESS)',
    hint: 'change NOACCESS to RW in a copy of the descriptor, if the data there is to be read',
  });
}
