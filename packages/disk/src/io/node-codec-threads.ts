import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Compression } from './codec.ts';
import type { CompressOptions } from './node-zlib.ts';

/** What a thread is asked to compress; both ranges are in shared memory. */
export interface CodecTask {
  readonly kind: Compression;
  readonly input: Uint8Array;
  readonly output: Uint8Array;
  readonly options: CompressOptions;
}

export type CodecAnswer = { readonly length: number } | { readonly error: unknown };

interface Waiting {
  readonly task: CodecTask;
  resolve(lengthBytes: number): void;
  reject(error: unknown): void;
}

interface Thread {
  readonly worker: Worker;
  /** Asked for and not answered, in order. */
  readonly waiting: Waiting[];
}

const THREADS_MAX = 8;
/** A thread has the next task at hand when it finishes one. */
const TASKS_A_THREAD = 2;

/**
 * Compression on threads: synchronous there, which costs half of what Node's asynchronous calls do. Started when
 * first used, they do not keep the process alive while they are idle.
 */
export class CodecThreads {
  readonly #threads: Thread[] = [];
  readonly #queue: Waiting[] = [];

  /** The length of what stands in the task's output then. */
  compress(task: CodecTask): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ task, resolve, reject });
      this.#dispatch();
    });
  }

  #dispatch(): void {
    const wanted = Math.min(THREADS_MAX, availableParallelism());
    while (this.#threads.length < wanted && this.#queue.length > 0) this.#threads.push(this.#start());
    while (this.#queue.length > 0) {
      const least = this.#threads.reduce((a, b) => (b.waiting.length < a.waiting.length ? b : a));
      if (least.waiting.length >= TASKS_A_THREAD) return;
      const next = this.#queue.shift() as Waiting;
      if (least.waiting.length === 0) least.worker.ref();
      least.waiting.push(next);
      least.worker.postMessage(next.task);
    }
  }

  #start(): Thread {
    // The built package has the same file as JavaScript beside it.
    const name = import.meta.url.endsWith('.ts') ? './node-codec-worker.ts' : './node-codec-worker.js';
    // A small nursery: what a task leaves behind is garbage at once, and would pile up in a large one.
    const worker = new Worker(new URL(name, import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
      // What the program was started with is not for a thread: `--input-type` would keep it from starting.
      execArgv: [],
    });
    worker.unref();
    const thread: Thread = { worker, waiting: [] };
    worker.on('message', (answer: CodecAnswer) => {
      const done = thread.waiting.shift();
      if ('length' in answer) done?.resolve(answer.length);
      else done?.reject(answer.error);
      if (thread.waiting.length === 0) worker.unref();
      this.#dispatch();
    });
    worker.on('error', (error) => this.#lose(thread, error));
    worker.on('exit', (code) => this.#lose(thread, new Error(`a thread of the codec ended with ${code}`)));
    return thread;
  }

  /** What a thread that died was asked for fails; the others' work goes on. */
  #lose(thread: Thread, error: unknown): void {
    const at = this.#threads.indexOf(thread);
    if (at >= 0) this.#threads.splice(at, 1);
    for (const { reject } of thread.waiting.splice(0)) reject(error);
    this.#dispatch();
  }
}
