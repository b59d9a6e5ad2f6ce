import { isZero } from '../bytes/fields.ts';
import { MIB } from '../bytes/numbers.ts';
import { mapOrdered } from '../convert/bounded.ts';
import { BufferPool } from '../convert/buffer-pool.ts';
import type { ProgressListener } from '../convert/progress.ts';
import { dataRuns } from '../disk/data-runs.ts';
import type { Disk } from '../disk/disk.ts';
import type { Compression } from '../io/codec.ts';
import { compress } from '../io/node-codec.ts';
import { readZeroExtended } from './view.ts';

const RUN_BYTES = MIB;
const RUNS_AT_ONCE = 4;

export interface PackOptions {
  /** Length of a unit of the disk that is compressed by itself: a cluster, a grain, a block. */
  readonly unitBytes: number;
  readonly compression: Compression;
  /** Deflate history window as a power of two, 9 to 15; 15 when not given. */
  readonly windowBits?: number | undefined;
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
 * Compresses the units of a disk that hold data, in guest order and many at once. What a run holds stays valid
 * until the next one is asked for. The walk and the reads go forward only.
 */
export async function* packedUnits(
  disk: Disk,
  options: PackOptions,
): AsyncGenerator<PackedRun, void, undefined> {
  const { unitBytes, fromUnit = 0, signal, onProgress } = options;
  const runBytes = Math.max(1, Math.floor(RUN_BYTES / unitBytes)) * unitBytes;
  const pool = new BufferPool(runBytes);
  const totalBytes = disk.virtualSizeBytes;
  const runs = dataRuns(disk, unitBytes, runBytes, {
    signal,
    phase: 'compress',
    fromBytes: fromUnit * unitBytes,
  });
  const packed = mapOrdered(runs, RUNS_AT_ONCE, async ({ offsetBytes, lengthBytes }) => {
    signal?.throwIfAborted();
    const buffer = pool.take();
    const bytes = buffer.subarray(0, lengthBytes);
    await readZeroExtended(disk, offsetBytes, bytes, signal);
    const units: Promise<PackedUnit>[] = [];
    for (let at = 0; at < lengthBytes; at += unitBytes) {
      const plain = bytes.subarray(at, at + unitBytes);
      if (!isZero(plain)) units.push(packUnit((offsetBytes + at) / unitBytes, plain, options));
    }
    const result = { endUnit: (offsetBytes + lengthBytes) / unitBytes, units: await Promise.all(units) };
    pool.give(buffer);
    return result;
  });
  for await (const run of packed) {
    onProgress?.({ phase: 'compress', doneBytes: Math.min(run.endUnit * unitBytes, totalBytes), totalBytes });
    yield run;
  }
  onProgress?.({ phase: 'compress', doneBytes: totalBytes, totalBytes });
}

const DEFLATE_LEVEL = 6;
const ZSTD_LEVEL = 3;

async function packUnit(unit: number, plain: Uint8Array, options: PackOptions): Promise<PackedUnit> {
  const { compression, windowBits, limitBytes } = options;
  const level = compression === 'zstd' ? ZSTD_LEVEL : DEFLATE_LEVEL;
  const bytes = await compress(compression, plain, { level, windowBits });
  if (bytes.length <= limitBytes) return { unit, bytes, compressed: true };
  return { unit, bytes: plain.slice(), compressed: false };
}
