import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

interface Waiting<Task, Answer> {
  readonly task: Task;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

/** Somebody who does one task after the other. */
interface Hand<Task, Answer> {
  /** Given out and not answered, in order. */
  readonly waiting: Waiting<Task, Answer>[];
  give(task: Task): void;
}

/** What a thread answers. */
export type ThreadAnswer<Answer> = { readonly answer: Answer } | { readonly failure: unknown };

const THREAD_COUNT: number = Math.min(8, availableParallelism());
/** Whoever works has the next task at hand when one is done. */
const TASKS_A_HAND = 2;
/** Work of this many tasks ends before a thread would have started. */
const TASKS_WITHOUT_THREADS = 8;
/** So many asked for at once are the first of many. */
const TASKS_AT_ONCE_WITHOUT_THREADS = 4;

/**
 * Threads that do tasks, given out in the order in which they were asked for: a task may wait for those before
 * it. They start when there is more than a little to do, and do not keep the process alive while they are idle.
 * The calling thread works until they are there, and afterwards too when `callerWorks` is set.
 */
export class Threads<Task, Answer> {
  /** For programs that have nothing else to do meanwhile: one thread less is started then. */
  callerWorks = false;
  readonly #script: URL;
  readonly #caller: Hand<Task, Answer>;
  readonly #threads: Hand<Task, Answer>[] = [];
  #starting = 0;
  #taskCount = 0;
  readonly #queue: Waiting<Task, Answer>[] = [];

  constructor(script: URL, runHere: (task: Task) => Answer) {
    this.#script = script;
    this.#caller = this.#callingHand(runHere);
  }

  /** How many tasks to ask for at once, so that nobody is ever idle. */
  get tasksAtOnce(): number {
    return THREAD_COUNT * TASKS_A_HAND + 1;
  }

  run(task: Task): Promise<Answer> {
    this.#taskCount++;
    return new Promise((resolve, reject) => {
      this.#queue.push({ task, resolve, reject });
      this.#dispatch();
    });
  }

  #dispatch(): void {
    const wanted = THREAD_COUNT - (this.callerWorks ? 1 : 0);
    if (this.#taskCount > TASKS_WITHOUT_THREADS || this.#queue.length >= TASKS_AT_ONCE_WITHOUT_THREADS) {
      while (this.#threads.length + this.#starting < wanted) this.#start();
    }
    const isCallerAtWork = this.callerWorks || this.#threads.length < wanted;
    while (this.#queue.length > 0) {
      const hand =
        this.#freeThread() ??
        (isCallerAtWork && this.#caller.waiting.length === 0 ? this.#caller : undefined);
      if (hand === undefined) return;
      const next = this.#queue.shift() as Waiting<Task, Answer>;
      hand.waiting.push(next);
      hand.give(next.task);
    }
  }

  /** The thread with the least to do, unless it has enough. The caller has other things to do as well: it is asked last. */
  #freeThread(): Hand<Task, Answer> | undefined {
    let least: Hand<Task, Answer> | undefined;
    for (const thread of this.#threads) {
      if (thread.waiting.length < (least?.waiting.length ?? TASKS_A_HAND)) least = thread;
    }
    return least;
  }

  #callingHand(runHere: (task: Task) => Answer): Hand<Task, Answer> {
    const waiting: Waiting<Task, Answer>[] = [];
    const work = () => {
      const next = waiting.shift() as Waiting<Task, Answer>;
      try {
        next.resolve(runHere(next.task));
      } catch (error) {
        next.reject(error);
      }
      this.#dispatch();
    };
    // Between two tasks the program sees what else has happened.
    return { waiting, give: () => setImmediate(work) };
  }

  #start(): void {
    this.#starting++;
    const worker = new Worker(this.#script, {
      // A small nursery: what a task leaves behind is garbage at once, and would pile up in a large one.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
      // What the program was started with is not for a thread: `--input-type` would keep it from starting.
      execArgv: [],
    });
    const waiting: Waiting<Task, Answer>[] = [];
    const thread: Hand<Task, Answer> = {
      waiting,
      give(task) {
        if (waiting.length === 1) worker.ref();
        worker.postMessage(task);
      },
    };
    worker.once('online', () => {
      this.#starting--;
      this.#threads.push(thread);
      this.#dispatch();
    });
    worker.on('message', (message: ThreadAnswer<Answer>) => {
      const done = waiting.shift();
      if (waiting.length === 0) worker.unref();
      // The next task first: what the answer leads to may take its time.
      this.#dispatch();
      if ('answer' in message) done?.resolve(message.answer);
      else done?.reject(message.failure);
    });
    worker.on('error', (error) => this.#lose(thread, error));
    worker.on('exit', (code) => this.#lose(thread, new Error(`a thread ended with ${code}`)));
    // Last: to listen for messages would keep the process alive again.
    worker.unref();
  }

  /** What a thread that died was asked for fails; the others' work goes on. */
  #lose(thread: Hand<Task, Answer>, error: unknown): void {
    const at = this.#threads.indexOf(thread);
    if (at >= 0) this.#threads.splice(at, 1);
    for (const { reject } of thread.waiting.splice(0)) reject(error);
    this.#dispatch();
  }
}
