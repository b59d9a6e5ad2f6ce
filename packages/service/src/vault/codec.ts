import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { BLOCK_BYTES, RECORD_LIMIT_BYTES } from './block-record.ts';
import type { CodecAnswer, CodecTask } from './codec-worker.ts';

/** Memory for one block on its way: shared with the threads, so that nothing is copied to them. */
export interface Slot {
  /** The block's guest bytes. */
  readonly plain: Uint8Array;
  /** Its record. */
  readonly record: Uint8Array;
  readonly offsetBytes: number;
}

/** Slots are 516 KiB each: 32 of them bound what all imports and reads together have in flight. */
const SLOT_COUNT = 32;
const SLOT_BYTES: number = Math.ceil((BLOCK_BYTES + RECORD_LIMIT_BYTES) / 4096) * 4096;
/** More would feed a disk that writes over 1 GB/s; each costs memory. */
const THREADS_LIMIT = 4;
/** A thread has the next task at hand when it finishes one. */
const TASKS_A_THREAD = 2;

interface Job {
  readonly task: CodecTask;
  resolve(answer: CodecAnswer): void;
  reject(error: unknown): void;
}

interface Thread {
  readonly worker: Worker;
  /** Asked for and not answered, in order. */
  readonly jobs: Job[];
}

interface Waiter {
  readonly count: number;
  resolve(slots: Slot[]): void;
  reject(error: unknown): void;
}

/**
 * Hashes, compresses and decompresses blocks on threads of its own, started when first needed. Slots are
 * handed out in the order of asking, and only all at once, so that no two askers wait for each other.
 */
export class Codec {
  readonly #threadCount: number;
  readonly #threads: Thread[] = [];
  readonly #jobs: Job[] = [];
  #memory: SharedArrayBuffer | undefined;
  readonly #free: Slot[] = [];
  readonly #waiters: Waiter[] = [];
  #closed = false;

  constructor(threadCount: number = Math.min(availableParallelism(), THREADS_LIMIT)) {
    this.#threadCount = threadCount;
  }

  /** Takes `count` slots (1 to 8); each must be given back by `release`. */
  acquire(count: number): Promise<Slot[]> {
    if (this.#closed) return Promise.reject(closedError());
    if (this.#memory === undefined) this.#makeSlots();
    if (this.#waiters.length === 0 && this.#free.length >= count) {
      return Promise.resolve(this.#free.splice(-count));
    }
    return new Promise((resolve, reject) => this.#waiters.push({ count, resolve, reject }));
  }

  release(slots: readonly Slot[]): void {
    this.#free.push(...slots);
    for (
      let waiter = this.#waiters[0];
      waiter !== undefined && waiter.count <= this.#free.length;
      waiter = this.#waiters[0]
    ) {
      this.#waiters.shift();
      waiter.resolve(this.#free.splice(-waiter.count));
    }
  }

  /** Writes the SHA-256 of `slot.plain` into `slot.record`. */
  async hash(slot: Slot): Promise<void> {
    await this.#run('hash', slot);
  }

  /** Makes the record of a slot that was hashed; returns the record's length in bytes. */
  async pack(slot: Slot): Promise<number> {
    return (await this.#run('pack', slot)).length ?? 0;
  }

  /** Fills `slot.plain` from `slot.record` with every check; returns what is wrong, or undefined. */
  async unpack(slot: Slot): Promise<string | undefined> {
    return (await this.#run('unpack', slot)).fault;
  }

  /** Stops the threads; what is still asked for is refused. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(closedError());
    await Promise.all(this.#threads.map((thread) => thread.worker.terminate()));
    for (const job of this.#jobs.splice(0)) job.reject(closedError());
  }

  #makeSlots(): void {
    this.#memory = new SharedArrayBuffer(SLOT_COUNT * SLOT_BYTES);
    for (let i = SLOT_COUNT - 1; i >= 0; i--) {
      const offsetBytes = i * SLOT_BYTES;
      const plain = new Uint8Array(this.#memory, offsetBytes, BLOCK_BYTES);
      const record = new Uint8Array(this.#memory, offsetBytes + BLOCK_BYTES, RECORD_LIMIT_BYTES);
      this.#free.push({ plain, record, offsetBytes });
    }
  }

  #run(kind: CodecTask['kind'], slot: Slot): Promise<CodecAnswer> {
    if (this.#closed) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      this.#jobs.push({ task: { kind, offsetBytes: slot.offsetBytes }, resolve, reject });
      this.#dispatch();
    });
  }

  #dispatch(): void {
    while (this.#jobs.length > 0) {
      const thread = this.#readyThread();
      if (thread === undefined) return;
      const job = this.#jobs.shift();
      if (job === undefined) return;
      // A thread keeps the process alive only while it has something to do.
      if (thread.jobs.length === 0) thread.worker.ref();
      thread.jobs.push(job);
      thread.worker.postMessage(job.task);
    }
  }

  /** The thread with the least to do, a new one rather than a second task for a busy one. */
  #readyThread(): Thread | undefined {
    let best: Thread | undefined;
    for (const thread of this.#threads) {
      if (thread.jobs.length < (best?.jobs.length ?? TASKS_A_THREAD)) best = thread;
    }
    if (best?.jobs.length === 0 || this.#threads.length >= this.#threadCount) return best;
    return this.#startThread();
  }

  #startThread(): Thread {
    const worker = new Worker(new URL('./codec-worker.ts', import.meta.url), {
      name: 'vault codec',
      workerData: this.#memory,
      // Not the options of this process, which may be about its own entry.
      execArgv: [],
      // The blocks are not in its heap.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    });
    const thread: Thread = { worker, jobs: [] };
    worker.on('message', (answer: CodecAnswer) => {
      const job = thread.jobs.shift();
      if (thread.jobs.length === 0) worker.unref();
      if (answer.error === undefined) job?.resolve(answer);
      else job?.reject(answer.error);
      this.#dispatch();
    });
    worker.on('error', (error) => this.#lose(thread, error));
    worker.on('exit', () => {
      this.#lose(thread, this.#closed ? closedError() : new Error('a thread of the vault ended by itself'));
    });
    this.#threads.push(thread);
    return thread;
  }

  /** A thread is gone: its tasks fail, and the next task starts another. */
  #lose(thread: Thread, error: unknown): void {
    const at = this.#threads.indexOf(thread);
    if (at !== -1) this.#threads.splice(at, 1);
    for (const job of thread.jobs.splice(0)) job.reject(error);
    if (!this.#closed) this.#dispatch();
  }
}

function closedError(): Error {
  return new Error('the vault is closed');
}
