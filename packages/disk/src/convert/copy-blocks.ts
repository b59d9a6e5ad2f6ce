import { isZero } from '../bytes/fields.ts';
import { ceilDivide } from '../bytes/numbers.ts';
import type { Disk } from '../disk/disk.ts';
import { ZERO_UNIT_BYTES } from '../disk/zero-detection.ts';
import type { ByteSink } from '../io/byte-sink.ts';
import { sinkDescriptorOf } from '../io/node-file.ts';
import { type CopyTask, runWork, tasksAtOnce } from '../io/node-work.ts';
import { AllocationMap } from '../view/allocation-map.ts';
import type { BlockPlacement } from '../view/block-placement.ts';
import {
  type CopyProgress,
  newCopyProgress,
  placeUnits,
  stopCopy,
  type UnitsToPlace,
} from '../view/placed-units.ts';
import { readZeroExtended } from '../view/view.ts';
import { mapOrdered } from './bounded.ts';
import { SlotPool } from './slot-pool.ts';
import { type StoredJob, storedJobs, usualJobBytes } from './stored-jobs.ts';
import type { WriteOptions } from './write.ts';

/**
 * Copies the data of a disk to where its blocks go, zeros left out, in one pass and forward only. Gives the map
 * of the blocks that hold data. Memory: a few MiB, and a bit for each block.
 */
export async function copyBlocks(
  disk: Disk,
  sink: ByteSink,
  placement: BlockPlacement,
  options: WriteOptions = {},
): Promise<AllocationMap> {
  const { signal, onProgress } = options;
  const totalBytes = disk.virtualSizeBytes;
  const blockCount = ceilDivide(totalBytes, placement.blockBytes);
  AllocationMap.requireCount(placement.blockBytes, blockCount);
  const progress = newCopyProgress(blockCount);
  const copier = new BlockCopier(disk, sink, placement, progress, signal);
  try {
    const jobs = mapOrdered(storedJobs(disk, copier.unitBytes, 0, signal), tasksAtOnce(), (job) =>
      copier.load(job),
    );
    // Given out in the order of the disk, and not before they are loaded: none waits for one that is not.
    for await (const endBytes of mapOrdered(jobs, tasksAtOnce(), (loaded) => copier.store(loaded))) {
      onProgress?.({ phase: 'copy', doneBytes: Math.min(endBytes, totalBytes), totalBytes });
    }
  } catch (error) {
    stopCopy(progress);
    throw error;
  }
  onProgress?.({ phase: 'copy', doneBytes: totalBytes, totalBytes });
  return AllocationMap.ofBits(placement.blockBytes, blockCount, progress.used);
}

interface LoadedJob extends StoredJob {
  /** Absent when a thread reads the bytes. */
  readonly slot?: Uint8Array;
}

class BlockCopier {
  readonly unitBytes: number;
  readonly #disk: Disk;
  readonly #sink: ByteSink;
  readonly #placement: BlockPlacement;
  readonly #progress: CopyProgress;
  readonly #signal: AbortSignal | undefined;
  readonly #descriptor: number | undefined;
  readonly #slots = new SlotPool(usualJobBytes(ZERO_UNIT_BYTES));
  #turn = 0;

  constructor(
    disk: Disk,
    sink: ByteSink,
    placement: BlockPlacement,
    progress: CopyProgress,
    signal: AbortSignal | undefined,
  ) {
    this.#disk = disk;
    this.#sink = sink;
    this.#placement = placement;
    this.#progress = progress;
    this.#signal = signal;
    this.#descriptor = sinkDescriptorOf(sink);
    this.unitBytes = Math.min(placement.blockBytes, ZERO_UNIT_BYTES);
  }

  /** Reads the job's bytes unless a thread will. */
  async load(job: StoredJob): Promise<LoadedJob> {
    this.#signal?.throwIfAborted();
    if (job.parts !== undefined && this.#descriptor !== undefined) return job;
    const { offsetBytes, lengthBytes } = job;
    const slot = this.#slots.take(lengthBytes);
    await readZeroExtended(this.#disk, offsetBytes, slot.subarray(0, lengthBytes), this.#signal);
    return { offsetBytes, lengthBytes, slot };
  }

  /** Writes what is not zero; gives where the job ends on the disk. */
  async store({ slot, offsetBytes, lengthBytes, parts }: LoadedJob): Promise<number> {
    const { unitBytes } = this;
    const placement = this.#placement;
    const progress = this.#progress;
    const plain = slot?.subarray(0, lengthBytes);
    const units = { offsetBytes, lengthBytes, unitBytes, placement, progress };
    if (this.#descriptor !== undefined) {
      const copy: CopyTask = {
        ...units,
        kind: 'copy',
        plain,
        parts,
        endBytes: Math.min(lengthBytes, this.#disk.virtualSizeBytes - offsetBytes),
        descriptor: this.#descriptor,
        turn: this.#turn++,
      };
      const { format } = this.#disk;
      const names = { source: `the ${format} image`, target: this.#sink.name, structure: `${format} data` };
      await runWork(copy, names);
    } else if (plain !== undefined) await this.#storeHere(units, plain);
    if (slot !== undefined) this.#slots.give(slot);
    return offsetBytes + lengthBytes;
  }

  /** For sinks that are no files. Jobs come here in order: what is placed before the first wait is too. */
  async #storeHere(task: UnitsToPlace, plain: Uint8Array): Promise<void> {
    const units: number[] = [];
    for (let at = 0; at < plain.length; at += task.unitBytes) {
      if (!isZero(plain.subarray(at, at + task.unitBytes))) units.push(at);
    }
    for (const { at, lengthBytes, targetBytes } of placeUnits(task, units)) {
      await this.#sink.write(targetBytes, plain.subarray(at, at + lengthBytes), this.#signal);
    }
  }
}
