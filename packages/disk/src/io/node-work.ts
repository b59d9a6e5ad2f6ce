import { ImageError, StoreError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';
import { accelerator } from './node-accelerator.ts';
import { blockForFiles, fileDescriptorOf, storeError } from './node-file.ts';
import { type LoadPart, type LookTask, runTask, type UnpackTask, type WorkTask } from './node-tasks.ts';
import { Threads } from './node-threads.ts';
import type { TaskFailure } from './node-work-worker.ts';

export type { CopyTask } from './node-tasks.ts';
export { compressedBound } from './node-zlib.ts';

// The built package has the same file as JavaScript beside it.
const script = new URL(
  import.meta.url.endsWith('.ts') ? './node-work-worker.ts' : './node-work-worker.js',
  import.meta.url,
);
const threads = new Threads<WorkTask, readonly number[]>(script, runTask);

/** How many tasks to have at work or waiting, so that no thread is ever idle. */
export function tasksAtOnce(): number {
  return threads.tasksAtOnce;
}

/**
 * Lets the calling thread work beside the others. For programs that only wait meanwhile, such as a command: it
 * takes one thread less, with its memory, and the event loop comes to its turn every few milliseconds.
 */
export function workInCallingThread(): void {
  threads.callerWorks = true;
  blockForFiles();
}

/**
 * Runs a task, on a thread where there is much to do. `what` names the stored data, for errors: damage throws
 * IMAGE_MALFORMED, a failed read or write the StoreError that `describe` gives.
 */
export async function runWork(task: WorkTask, what: WorkNames): Promise<readonly number[]> {
  try {
    return await threads.run(task);
  } catch (error) {
    throw errorOf(error as TaskFailure, what);
  }
}

/** Decompresses on a thread; gives the length of what came out. What it throws for damaged data says why. */
export async function unpackOnThread(task: UnpackTask): Promise<number> {
  const [writtenBytes = 0] = await threads.run(task);
  return writtenBytes;
}

/** Starts the threads, which takes them a while, before there is work: for work that is known to be much. */
export function startThreads(): void {
  // They look where this thread has found it.
  accelerator();
  threads.start();
}

/** A compressed unit that was decompressed and found sound. */
export interface UnitLook {
  readonly usedBytes: number;
  /** Of the plain bytes. */
  readonly adler32: number;
}

/** See `LookTask`. Throws IMAGE_MALFORMED for what does not decompress. */
export async function lookAtUnit(
  task: Omit<LookTask, 'kind'>,
  what: WorkNames,
): Promise<UnitLook | undefined> {
  const [usedBytes, adler32] = await runWork({ kind: 'look', ...task }, what);
  return usedBytes === undefined || adler32 === undefined ? undefined : { usedBytes, adler32 };
}

export interface WorkNames {
  readonly source: string;
  readonly target?: string;
  /** The structure that compressed data stands in. */
  readonly structure: string;
}

function errorOf(failure: TaskFailure, { source, target, structure }: WorkNames): unknown {
  const { name } = failure;
  if (name === 'DamagedPart') {
    const { message, sourceBytes } = failure;
    return new ImageError('IMAGE_MALFORMED', `${source}: ${message}`, {
      structure,
      offsetBytes: sourceBytes,
    });
  }
  if (name === 'FileShrank') {
    return new StoreError('STORE_CHANGED', `${source} became shorter while it was read`, {
      where: source,
      hint: 'stop what writes to the file, then try again',
    });
  }
  const error = failure instanceof Error ? failure : Object.assign(new Error(failure.message), failure);
  const where = failure.syscall === 'write' ? (target ?? source) : source;
  return storeError(error, where);
}

/** The file that a range of a source stands in, when it is one, for reading it without the source. */
export function fileRange(
  source: ByteSource,
  offsetBytes: number,
): Pick<LoadPart, 'descriptor' | 'sourceBytes'> | undefined {
  let sourceBytes = offsetBytes;
  for (let at: ByteSource | undefined = source; at !== undefined; at = at.within?.source) {
    const descriptor = fileDescriptorOf(at);
    if (descriptor !== undefined) return { descriptor, sourceBytes };
    sourceBytes += at.within?.offsetBytes ?? 0;
  }
  return undefined;
}
