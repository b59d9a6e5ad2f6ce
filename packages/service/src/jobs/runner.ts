import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Logger } from '../logger.ts';
import type { JobDispatcher } from './dispatcher.ts';
import type { JobHandlers } from './handler.ts';
import { JobCanceled, WorkerStopping } from './interruptions.ts';
import type { JobChange, JobLease } from './lease.ts';
import type { JobQueue } from './queue.ts';
import { RunningJob, type RunningJobOptions } from './running-job.ts';

/** A timer may fire a little before the time by which the queue goes. */
const CLOCK_MARGIN_MS = 5;

export interface JobRunnerOptions {
  readonly queue: JobQueue;
  readonly handlers: JobHandlers;
  readonly logger: Logger;
  /**
   * Nobody else works on this database: what is running when this worker starts was left by a dead one, and is
   * taken over at once instead of at the end of its lease.
   */
  readonly soleWorker: boolean;
  /** Jobs at a time. */
  readonly concurrency?: number;
  readonly leaseMs?: number;
  /** How often a running job's lease is renewed: some times within `leaseMs`. */
  readonly heartbeatMs?: number;
  /** How often to look for leases that ended, and for what other processes queued and canceled. */
  readonly pollMs?: number;
  readonly progressMs?: number;
  readonly retryDelaysMs?: readonly number[];
  readonly now?: () => number;
}

/** The dispatcher of one process: claims jobs and runs their handlers, woken by the queue's own changes. */
export class JobRunner implements JobDispatcher {
  readonly #queue: JobQueue;
  readonly #handlers: JobHandlers;
  readonly #logger: Logger;
  readonly #soleWorker: boolean;
  readonly #concurrency: number;
  readonly #pollMs: number;
  readonly #jobOptions: RunningJobOptions;
  readonly #owner = `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`;
  readonly #running: Map<string, { job: RunningJob; ended: Promise<void> }> = new Map();
  readonly #timers: Set<NodeJS.Timeout> = new Set();
  #poll: NodeJS.Timeout | undefined;
  #unsubscribe: (() => void) | undefined;
  #state: 'new' | 'started' | 'stopping' = 'new';
  #isLooking = false;
  #lookAgain = false;
  #look: Promise<void> = Promise.resolve();

  constructor(options: JobRunnerOptions) {
    const leaseMs = options.leaseMs ?? 30_000;
    this.#queue = options.queue;
    this.#handlers = options.handlers;
    this.#logger = options.logger;
    this.#soleWorker = options.soleWorker;
    this.#concurrency = options.concurrency ?? 2;
    this.#pollMs = options.pollMs ?? 5_000;
    this.#jobOptions = {
      logger: options.logger,
      now: options.now ?? Date.now,
      leaseMs,
      heartbeatMs: options.heartbeatMs ?? Math.ceil(leaseMs / 3),
      progressMs: options.progressMs ?? 1_000,
      retryDelaysMs: options.retryDelaysMs ?? [5_000, 30_000],
    };
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') throw new Error('a job runner is started once');
    this.#state = 'started';
    if (this.#soleWorker) await this.#queue.endAllLeases();
    if (this.#isStopping()) return;
    this.#unsubscribe = this.#queue.subscribe((change, jobId) => this.#heed(change, jobId));
    this.#poll = setInterval(() => this.wake(), this.#pollMs);
    this.wake();
  }

  wake(): void {
    if (this.#state !== 'started') return;
    this.#lookAgain = true;
    if (!this.#isLooking) this.#look = this.#lookForWork();
  }

  async stop(): Promise<void> {
    this.#state = 'stopping';
    this.#unsubscribe?.();
    clearInterval(this.#poll);
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#look;
    for (const { job } of this.#running.values()) job.abort(new WorkerStopping());
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
  }

  #isStopping(): boolean {
    return this.#state === 'stopping';
  }

  #heed(change: JobChange, jobId: string): void {
    if (change === 'queued') this.wake();
    if (change === 'cancel_requested') this.#running.get(jobId)?.job.abort(new JobCanceled());
  }

  /** Looks until a look finds nothing and nobody woke us meanwhile. */
  async #lookForWork(): Promise<void> {
    this.#isLooking = true;
    while (this.#lookAgain) {
      this.#lookAgain = false;
      try {
        await this.#cancelWhatIsToBe();
        await this.#fillSlots();
      } catch (error) {
        this.#logger.error({ err: error }, 'could not look for jobs; looking again soon');
      }
    }
    this.#isLooking = false;
  }

  async #cancelWhatIsToBe(): Promise<void> {
    for (const id of await this.#queue.cancelRequests([...this.#running.keys()])) {
      this.#running.get(id)?.job.abort(new JobCanceled());
    }
  }

  async #fillSlots(): Promise<void> {
    while (this.#state === 'started' && this.#running.size < this.#concurrency) {
      const lease = await this.#queue.claim({
        owner: this.#owner,
        kinds: Object.keys(this.#handlers),
        exceptIds: [...this.#running.keys()],
        leaseMs: this.#jobOptions.leaseMs,
      });
      if (lease === undefined) return;
      this.#run(lease);
    }
  }

  #run(lease: JobLease): void {
    const { id, kind } = lease.job;
    const handler = this.#handlers[kind];
    if (handler === undefined) throw new Error(`a job of kind ${kind} was claimed without a handler for it`);
    const job = new RunningJob(lease, this.#jobOptions);
    const ended = job
      .run(handler)
      .then(({ retryAfterMs }) => {
        if (retryAfterMs !== undefined) this.#wakeIn(retryAfterMs);
      })
      .catch((error) => {
        this.#logger.error(
          { jobId: id, kind, err: error },
          "a job's end was not written; its lease will end",
        );
      })
      .finally(() => {
        this.#running.delete(id);
        this.wake();
      });
    this.#running.set(id, { job, ended });
  }

  #wakeIn(delayMs: number): void {
    if (this.#state !== 'started') return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.wake();
    }, delayMs + CLOCK_MARGIN_MS);
    this.#timers.add(timer);
  }
}
