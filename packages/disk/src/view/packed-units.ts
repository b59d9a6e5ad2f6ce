import { MIB } from '../bytes/numbers.ts';
import { mapOrdered } from '../convert/bounded.ts';
import type { ProgressListener } from '../convert/progress.ts';
import { SlotPool } from '../convert/slot-pool.ts';
import { type StoredJob, storedJobs, usualJobBytes } from '../convert/stored-jobs.ts';
import type { Disk } from '../disk/disk.ts';
import type { Compression } from '../io/codec.ts';
import { compressedBound, runWork, tasksAtOnce } from '../io/node-work.ts';
import { readZeroExtended } from './view.ts';

export interface PackOptions {
  /** Length of a unit of the disk that is compressed by itself: a cluster, a grain, a block. */
  readonly unitBytes: number;
  readonly compression: Compression;
  /** Deflate history window as a power of two, 9 to 15; 15 when not given. */
  readonly windowBits?: number | undefined;
  /**
   * Deflate without a last block, ended by a full flush: units that follow each other then are one stream. What is
   * stored compressed is compressed anew.
   */
  readonly openEnd?: boolean | undefined;
  /** A unit that takes more than this, compressed, is given plain. */
  readonly limitBytes: number;
  /** The first unit to do. */
  readonly fromUnit?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

/** A unit of the disk that is not all zero. */
export interface PackedUnit {
  readonly unit: number;
  /** Compressed, or where that takes more than the limit the unit itself, whole: zero padded at the disk's end. */
  readonly bytes: Uint8Array;
  readonly compressed: boolean;
}

export interface PackedRun {
  /** Units before this one are done: those that are all zero are left out. */
  readonly endUnit: number;
  readonly units: readonly PackedUnit[];
}

/**
 * Compresses the units of a disk that hold data, in guest order and many at once. What is stored compressed in the
 * same way already is checked and passed through. What a run holds stays valid until the next one is asked for.
 * The walk and the reads go forward only.
 */
export async function* packedUnits(
  disk: Disk,
  options: PackOptions,
): AsyncGenerator<PackedRun, void, undefined> {
  const { unitBytes, fromUnit = 0, signal, onProgress } = options;
  const totalBytes = disk.virtualSizeBytes;
  const packer = new UnitPacker(disk, options);
  const atOnce = unitBytes > MIB ? 2 : tasksAtOnce();
  const jobs = mapOrdered(storedJobs(disk, unitBytes, fromUnit * unitBytes, signal), atOnce, (job) =>
    packer.load(job),
  );
  for await (const { run, slot } of mapOrdered(jobs, atOnce, (job) => packer.pack(job))) {
    yield run;
    packer.release(slot);
    onProgress?.({ phase: 'compress', doneBytes: Math.min(run.endUnit * unitBytes, totalBytes), totalBytes });
  }
  onProgress?.({ phase: 'compress', doneBytes: totalBytes, totalBytes });
}

interface LoadedJob extends StoredJob {
  /** Absent when a thread reads the bytes. */
  readonly slot?: Uint8Array;
}

class UnitPacker {
  readonly #disk: Disk;
  readonly #options: PackOptions;
  readonly #slots: SlotPool;

  constructor(disk: Disk, options: PackOptions) {
    this.#disk = disk;
    this.#options = options;
    this.#slots = new SlotPool(this.#slotBytes(usualJobBytes(options.unitBytes)));
  }

  async load(job: StoredJob): Promise<LoadedJob> {
    this.#options.signal?.throwIfAborted();
    if (job.parts !== undefined) return job;
    const { offsetBytes, lengthBytes } = job;
    const slot = this.#slots.take(this.#slotBytes(lengthBytes));
    await readZeroExtended(this.#disk, offsetBytes, slot.subarray(0, lengthBytes), this.#options.signal);
    return { ...job, slot };
  }

  /** Room for the plain bytes and for what they are packed into, of which the last may be too long to be kept. */
  #slotBytes(lengthBytes: number): number {
    const { unitBytes, limitBytes } = this.#options;
    const keptBytes = Math.min(limitBytes, compressedBound(unitBytes));
    return lengthBytes + (lengthBytes / unitBytes) * keptBytes + compressedBound(unitBytes);
  }

  async pack({ slot: loaded, offsetBytes, lengthBytes, parts }: LoadedJob): Promise<{
    run: PackedRun;
    slot: Uint8Array;
  }> {
    const { unitBytes, compression, windowBits, openEnd, limitBytes } = this.#options;
    const slot = loaded ?? this.#slots.take(this.#slotBytes(lengthBytes));
    const plain = slot.subarray(0, lengthBytes);
    const packed = slot.subarray(lengthBytes);
    const endBytes = Math.min(lengthBytes, this.#disk.virtualSizeBytes - offsetBytes);
    const { format } = this.#disk;
    const sizes = await runWork(
      {
        kind: 'pack',
        plain,
        parts,
        endBytes,
        packed,
        unitBytes,
        compression,
        windowBits,
        openEnd,
        limitBytes,
      },
      { source: `the ${format} image`, structure: `${format} compressed data` },
    );
    const firstUnit = offsetBytes / unitBytes;
    const units: PackedUnit[] = [];
    let at = 0;
    for (const [i, size] of sizes.entries()) {
      if (size === 0) continue;
      const bytes =
        size < 0 ? plain.subarray(i * unitBytes, (i + 1) * unitBytes) : packed.subarray(at, at + size);
      units.push({ unit: firstUnit + i, bytes, compressed: size > 0 });
      at += Math.max(0, size);
    }
    return { run: { endUnit: firstUnit + sizes.length, units }, slot };
  }

  release(slot: Uint8Array): void {
    this.#slots.give(slot);
  }
}
