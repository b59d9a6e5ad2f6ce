import { GRAIN_MARKER_BYTES } from '../bytes/grain-marker.ts';
import { MIB, roundDown, roundUp } from '../bytes/numbers.ts';
import type { Disk, StoredRun } from '../disk/disk.ts';
import { fileRange } from '../io/node-work.ts';

/** Where the plain bytes of a job come from. */
interface JobPart {
  readonly at: number;
  readonly lengthBytes: number;
  readonly descriptor: number;
  readonly sourceBytes: number;
  readonly storedBytes: number;
  readonly compression?: 'deflate-raw' | 'zlib' | 'zstd';
  readonly grainSector?: number | undefined;
}

/** A stretch of the disk that holds data, to be worked on as one. */
export interface StoredJob {
  /** Both are whole units; the end may lie beyond the virtual size. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Absent when the bytes have to be read through the disk. */
  readonly parts?: readonly JobPart[];
}

/** Long enough that a job's own costs do not count, short enough for the caches of a processor. */
const JOB_BYTES: number = MIB;
/** Compressed units up to this length are whole in one job. */
const LARGE_JOB_BYTES: number = 2 * MIB;

/** How long most jobs are at most. */
export function usualJobBytes(unitBytes: number): number {
  return Math.max(JOB_BYTES, unitBytes);
}

/**
 * The data of a disk from `fromBytes` on as jobs, in order, found lazily. Jobs begin at multiples of their unit;
 * none is longer than the larger of 2 MiB and a unit.
 */
export async function* storedJobs(
  disk: Disk,
  unitBytes: number,
  fromBytes: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<StoredJob, void, undefined> {
  let windowBytes = usualJobBytes(unitBytes);
  let builder: JobBuilder | undefined;
  for await (const run of storedRuns(disk, fromBytes, signal)) {
    if (run.kind === 'zero' || run.kind === 'hole') continue;
    if (run.kind === 'packed' && run.lengthBytes > windowBytes && run.lengthBytes <= LARGE_JOB_BYTES) {
      windowBytes = LARGE_JOB_BYTES;
    }
    const end = run.offsetBytes + run.lengthBytes;
    for (let at = Math.max(run.offsetBytes, fromBytes); at < end; ) {
      const windowEnd = roundDown(at, windowBytes) + windowBytes;
      if (builder !== undefined && (at >= builder.endLimit || at < builder.endBytes)) {
        yield builder.job(unitBytes);
        builder = undefined;
      }
      builder ??= new JobBuilder(roundDown(at, unitBytes), windowEnd);
      const partEnd = Math.min(end, builder.endLimit);
      builder.add(run, at, partEnd);
      at = partEnd;
    }
  }
  if (builder !== undefined) yield builder.job(unitBytes);
}

async function* storedRuns(
  disk: Disk,
  fromBytes: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<StoredRun, void, undefined> {
  const end = disk.virtualSizeBytes;
  if (fromBytes >= end) return;
  if (disk.storedRuns !== undefined && disk.sequential !== true) {
    yield* disk.storedRuns(fromBytes, end, signal);
    return;
  }
  for await (const { kind, offsetBytes, lengthBytes } of disk.extents(fromBytes, end, signal)) {
    yield { kind: kind === 'data' ? 'opaque' : kind, offsetBytes, lengthBytes };
  }
}

class JobBuilder {
  readonly offsetBytes: number;
  /** The job goes no further. */
  readonly endLimit: number;
  endBytes: number;
  readonly #parts: JobPart[] = [];
  /** Something has no place in a file: the whole job is read through the disk. */
  #isOpaque = false;

  constructor(offsetBytes: number, endLimit: number) {
    this.offsetBytes = offsetBytes;
    this.endLimit = endLimit;
    this.endBytes = offsetBytes;
  }

  add(run: StoredRun, fromBytes: number, toBytes: number): void {
    this.endBytes = toBytes;
    const part = this.#isOpaque ? undefined : partOf(run, fromBytes, toBytes, this.offsetBytes);
    if (part === undefined) this.#isOpaque = true;
    else this.#parts.push(part);
  }

  job(unitBytes: number): StoredJob {
    const { offsetBytes } = this;
    const lengthBytes = roundUp(this.endBytes - offsetBytes, unitBytes);
    return this.#isOpaque ? { offsetBytes, lengthBytes } : { offsetBytes, lengthBytes, parts: this.#parts };
  }
}

function partOf(run: StoredRun, fromBytes: number, toBytes: number, jobBytes: number): JobPart | undefined {
  if (run.kind !== 'plain' && run.kind !== 'packed') return undefined;
  const at = fromBytes - jobBytes;
  const lengthBytes = toBytes - fromBytes;
  if (run.kind === 'plain') {
    const place = fileRange(run.source, run.sourceBytes + (fromBytes - run.offsetBytes));
    return place && { ...place, at, lengthBytes, storedBytes: lengthBytes };
  }
  // A compressed unit that is cut cannot be decompressed into its part of the job.
  if (fromBytes !== run.offsetBytes || lengthBytes !== run.lengthBytes) return undefined;
  const { compression, grainSector } = run;
  // The thread that decompresses a grain looks at its marker.
  const markerBytes = grainSector === undefined ? 0 : GRAIN_MARKER_BYTES;
  const place = fileRange(run.source, run.sourceBytes - markerBytes);
  const storedBytes = markerBytes + run.storedBytes;
  return place && { ...place, at, lengthBytes, storedBytes, compression, grainSector };
}
