import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

interface Waiting<Task, Answer> {
  readonly task: Task;
  /** Counts the tasks in the order in which they were asked for. */
  readonly order: number;
  /** Its place among the claims of the thread that it was given to. */
  claim: number;
  /** The caller does it: what the thread says of it does not count. */
  isTaken: boolean;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

/** What is sent to a thread, which has an Int32Array of claims as its `workerData`. */
export interface ThreadMessage<Task> {
  readonly task: Task;
  /** Whoever is first to exchange the 0 at this place of the claims for 1 does the task. */
  readonly claim: number;
}

/** What a thread answers to each message, in order; `taken` when somebody else does the task. */
export type ThreadAnswer<Answer> =
  | { readonly answer: Answer }
  | { readonly failure: unknown }
  | { readonly taken: true };

const THREAD_COUNT: number = Math.min(8, availableParallelism());
/** A thread has the next tasks at hand when one is done: the caller may be at work and give out none meanwhile. */
const TASKS_A_THREAD = 3;
/** Work of this many tasks ends before a thread would have started. */
const TASKS_WITHOUT_THREADS = 8;
/** So many asked for at once are the first of many. */
const TASKS_AT_ONCE_WITHOUT_THREADS = 4;

/**
 * Threads that do tasks, begun in the order in which they were asked for: a task may wait for those before it. They
 * start when there is more than a little to do, and do not keep the process alive while they are idle. The calling
 * thread works until they are there, and afterwards too when `callerWorks` is set: it takes what no thread has begun.
 */
export class Threads<Task, Answer> {
  /** For programs that have nothing else to do meanwhile: one thread less is started then. */
  callerWorks = false;
  readonly #script: URL;
  readonly #runHere: (task: Task) => Answer;
  readonly #threads: Thread<Task, Answer>[] = [];
  #starting = 0;
  #taskCount = 0;
  #isCallerAtWork = false;
  readonly #queue: Waiting<Task, Answer>[] = [];

  constructor(script: URL, runHere: (task: Task) => Answer) {
    this.#script = script;
    this.#runHere = runHere;
  }

  /** How many tasks to ask for at once, so that nobody is ever idle. */
  get tasksAtOnce(): number {
    return THREAD_COUNT * 2 + 1;
  }

  run(task: Task): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ task, order: this.#taskCount++, claim: 0, isTaken: false, resolve, reject });
      this.#dispatch();
    });
  }

  /** Starts the threads before there is a task: for work that is known to be much. */
  start(): void {
    while (this.#threads.length + this.#starting < this.#wanted) this.#start();
  }

  get #wanted(): number {
    return THREAD_COUNT - (this.callerWorks ? 1 : 0);
  }

  #dispatch(): void {
    // A caller that works is done with a few before a thread would be there.
    const areMany = !this.callerWorks && this.#queue.length >= TASKS_AT_ONCE_WITHOUT_THREADS;
    if (this.#taskCount > TASKS_WITHOUT_THREADS || areMany) this.start();
    while (this.#queue.length > 0) {
      const thread = this.#freeThread();
      if (thread === undefined) break;
      thread.give(this.#queue.shift() as Waiting<Task, Answer>);
    }
    if (this.#isCallerAtWork) return;
    const mayTake = this.callerWorks && this.#firstGiven() !== undefined;
    const mayWork = this.callerWorks || this.#threads.length < this.#wanted;
    if (mayTake || (mayWork && this.#queue.length > 0)) {
      this.#isCallerAtWork = true;
      // Between two tasks the program sees what else has happened.
      setImmediate(() => this.#work());
    }
  }

  /** The thread with the least to do, unless it has enough. */
  #freeThread(): Thread<Task, Answer> | undefined {
    let least: Thread<Task, Answer> | undefined;
    for (const thread of this.#threads) {
      if (thread.waiting.length < (least?.waiting.length ?? TASKS_A_THREAD)) least = thread;
    }
    return least;
  }

  #work(): void {
    const next = this.#takeFirst();
    if (next !== undefined) {
      try {
        next.resolve(this.#runHere(next.task));
      } catch (error) {
        next.reject(error);
      }
    }
    this.#isCallerAtWork = false;
    this.#dispatch();
  }

  #takeFirst(): Waiting<Task, Answer> | undefined {
    while (this.callerWorks) {
      const given = this.#firstGiven();
      if (given === undefined) break;
      if (given.thread.take(given.next)) return given.next;
    }
    return this.#queue.shift();
  }

  /** The first of the tasks that a thread was given and has not begun. */
  #firstGiven(): { thread: Thread<Task, Answer>; next: Waiting<Task, Answer> } | undefined {
    let first: { thread: Thread<Task, Answer>; next: Waiting<Task, Answer> } | undefined;
    for (const thread of this.#threads) {
      const next = thread.firstNotBegun();
      if (next !== undefined && next.order < (first?.next.order ?? Infinity)) first = { thread, next };
    }
    return first;
  }

  #start(): void {
    this.#starting++;
    const thread = new Thread<Task, Answer>(this.#script, () => this.#dispatch());
    thread.worker.once('online', () => {
      this.#starting--;
      this.#threads.push(thread);
      this.#dispatch();
    });
    thread.worker.on('error', (error) => this.#lose(thread, error));
    thread.worker.on('exit', (code) => this.#lose(thread, new Error(`a thread ended with ${code}`)));
  }

  /** What a thread that died was asked for fails; the others' work goes on. */
  #lose(thread: Thread<Task, Answer>, error: unknown): void {
    const at = this.#threads.indexOf(thread);
    if (at >= 0) this.#threads.splice(at, 1);
    for (const { isTaken, reject } of thread.waiting.splice(0)) if (!isTaken) reject(error);
    this.#dispatch();
  }
}

class Thread<Task, Answer> {
  readonly worker: Worker;
  /** Given to it and not answered, in order. */
  readonly waiting: Waiting<Task, Answer>[] = [];
  readonly #claims: Int32Array;
  #givenCount = 0;

  constructor(script: URL, isFree: () => void) {
    this.#claims = new Int32Array(new SharedArrayBuffer(TASKS_A_THREAD * Int32Array.BYTES_PER_ELEMENT));
    this.worker = new Worker(script, {
      workerData: this.#claims,
      // A small nursery: what a task leaves behind is garbage at once, and would pile up in a large one.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
      // What the program was started with is not for a thread: `--input-type` would keep it from starting.
      execArgv: [],
    });
    this.worker.on('message', (message: ThreadAnswer<Answer>) => {
      const done = this.waiting.shift();
      if (this.waiting.length === 0) this.worker.unref();
      // The next task first: what the answer leads to may take its time.
      isFree();
      if ('answer' in message) done?.resolve(message.answer);
      else if ('failure' in message) done?.reject(message.failure);
    });
    // To listen for messages keeps the process alive.
    this.worker.unref();
  }

  give(next: Waiting<Task, Answer>): void {
    if (this.waiting.length === 0) this.worker.ref();
    this.waiting.push(next);
    next.claim = this.#givenCount++ % this.#claims.length;
    Atomics.store(this.#claims, next.claim, 0);
    this.worker.postMessage({ task: next.task, claim: next.claim } satisfies ThreadMessage<Task>);
  }

  firstNotBegun(): Waiting<Task, Answer> | undefined {
    return this.waiting.find(({ claim }) => Atomics.load(this.#claims, claim) === 0);
  }

  /** Takes a task from it for the caller; false when it has begun meanwhile. */
  take(next: Waiting<Task, Answer>): boolean {
    next.isTaken = Atomics.exchange(this.#claims, next.claim, 1) === 0;
    return next.isTaken;
  }
}
