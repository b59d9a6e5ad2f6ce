import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

interface Waiting<Task, Answer> {
  readonly task: Task;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

interface Thread<Task, Answer> {
  readonly worker: Worker;
  /** Asked for and not answered, in order. */
  readonly waiting: Waiting<Task, Answer>[];
}

/** What a thread answers. */
export type ThreadAnswer<Answer> = { readonly answer: Answer } | { readonly failure: unknown };

const THREADS_MAX = 8;
/** A thread has the next task at hand when it finishes one. */
const TASKS_A_THREAD = 2;

/**
 * Threads that do one task after the other, given out in the order in which they were asked for: a task may
 * wait for those before it. Started when first used, they do not keep the process alive while they are idle.
 */
export class Threads<Task, Answer> {
  readonly #script: URL;
  readonly #threads: Thread<Task, Answer>[] = [];
  readonly #queue: Waiting<Task, Answer>[] = [];

  constructor(script: URL) {
    this.#script = script;
  }

  /** How many tasks keep all threads busy. */
  static get taskCount(): number {
    return Threads.count * TASKS_A_THREAD;
  }

  static get count(): number {
    return Math.min(THREADS_MAX, availableParallelism());
  }

  run(task: Task): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ task, resolve, reject });
      this.#dispatch();
    });
  }

  #dispatch(): void {
    while (this.#threads.length < Threads.count && this.#queue.length > 0) this.#threads.push(this.#start());
    while (this.#queue.length > 0) {
      const least = this.#threads.reduce((a, b) => (b.waiting.length < a.waiting.length ? b : a));
      if (least.waiting.length >= TASKS_A_THREAD) return;
      const next = this.#queue.shift() as Waiting<Task, Answer>;
      if (least.waiting.length === 0) least.worker.ref();
      least.waiting.push(next);
      least.worker.postMessage(next.task);
    }
  }

  #start(): Thread<Task, Answer> {
    const worker = new Worker(this.#script, {
      // A small nursery: what a task leaves behind is garbage at once, and would pile up in a large one.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
      // What the program was started with is not for a thread: `--input-type` would keep it from starting.
      execArgv: [],
    });
    worker.unref();
    const thread: Thread<Task, Answer> = { worker, waiting: [] };
    worker.on('message', (message: ThreadAnswer<Answer>) => {
      const done = thread.waiting.shift();
      if ('answer' in message) done?.resolve(message.answer);
      else done?.reject(message.failure);
      if (thread.waiting.length === 0) worker.unref();
      this.#dispatch();
    });
    worker.on('error', (error) => this.#lose(thread, error));
    worker.on('exit', (code) => this.#lose(thread, new Error(`a thread ended with ${code}`)));
    return thread;
  }

  /** What a thread that died was asked for fails; the others' work goes on. */
  #lose(thread: Thread<Task, Answer>, error: unknown): void {
    const at = this.#threads.indexOf(thread);
    if (at >= 0) this.#threads.splice(at, 1);
    for (const { reject } of thread.waiting.splice(0)) reject(error);
    this.#dispatch();
  }
}
