import type { JobLogLevel } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import { DomainError } from '../domain/errors.ts';
import type { JsonValue } from '../json.ts';
import type { Logger } from '../logger.ts';
import type { JobContext, JobHandler } from './handler.ts';
import { JobCanceled, LeaseLost, WorkerStopping } from './interruptions.ts';
import type { Job } from './job.ts';
import { isTransient, toJobError } from './job-error.ts';
import type { JobLease, JobProgress } from './lease.ts';
import { MAX_ATTEMPTS, MAX_LOG_LINE_LENGTH, MAX_LOG_LINES, MAX_LOST_WORKERS } from './limits.ts';
import { RateWindow } from './rate.ts';

export interface RunningJobOptions {
  readonly logger: Logger;
  readonly now: () => number;
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  /** Progress is written this often. */
  readonly progressMs: number;
  /** The wait after the first transient failure, the second, … */
  readonly retryDelaysMs: readonly number[];
}

/** One attempt at one job: the handler's context, the heartbeat, and the ending. */
export class RunningJob implements JobContext {
  readonly job: Job;
  readonly input: JsonValue;
  readonly signal: AbortSignal;
  readonly #lease: JobLease;
  readonly #options: RunningJobOptions;
  readonly #controller: AbortController = new AbortController();
  #checkpoint: JsonValue | undefined;
  #phase = '';
  #totalBytes: number | undefined;
  #doneBytes = 0;
  #rate = new RateWindow();
  #progressTimer: NodeJS.Timeout | undefined;
  #logLineCount = 0;
  #atSuccess: ((transaction: Queries) => Promise<void>) | undefined;
  #afterSuccess: (() => Promise<void>) | undefined;
  /** Progress and log are written one after the other, in the order in which they were given. */
  #writes: Promise<void> = Promise.resolve();

  constructor(lease: JobLease, options: RunningJobOptions) {
    this.#lease = lease;
    this.#options = options;
    this.job = lease.job;
    this.input = lease.job.input;
    this.#checkpoint = lease.job.checkpoint;
    this.signal = this.#controller.signal;
  }

  get checkpoint(): JsonValue | undefined {
    return this.#checkpoint;
  }

  /** Asks the handler to end: with JobCanceled, WorkerStopping or LeaseLost. The first reason counts. */
  abort(reason: JobCanceled | WorkerStopping | LeaseLost): void {
    this.#controller.abort(reason);
  }

  async phase(name: string, totalBytes?: number, doneBytes = 0): Promise<void> {
    this.signal.throwIfAborted();
    this.#flushProgress();
    this.#phase = name;
    this.#totalBytes = totalBytes;
    this.#doneBytes = doneBytes;
    this.#rate = new RateWindow();
    this.#writeProgress();
    this.#writeLine(
      'info',
      totalBytes === undefined ? `phase ${name}` : `phase ${name}: ${totalBytes} bytes`,
    );
    await this.#writes;
    this.signal.throwIfAborted();
  }

  progress(doneBytes: number): void {
    this.#doneBytes = doneBytes;
    this.#progressTimer ??= setTimeout(() => this.#flushProgress(), this.#options.progressMs);
  }

  log(level: JobLogLevel, message: string): void {
    this.#logLineCount += 1;
    if (this.#logLineCount > MAX_LOG_LINES) return;
    if (this.#logLineCount < MAX_LOG_LINES) this.#writeLine(level, message);
    else
      this.#writeLine(
        'warning',
        `this attempt wrote ${MAX_LOG_LINES} lines: what it says further is left out`,
      );
  }

  async saveCheckpoint(checkpoint: JsonValue): Promise<void> {
    await this.#lease.saveCheckpoint(checkpoint).catch((error) => {
      if (error instanceof LeaseLost) this.abort(error);
      throw error;
    });
    this.#checkpoint = checkpoint;
  }

  atSuccess(write: (transaction: Queries) => Promise<void>): void {
    this.#atSuccess = write;
  }

  afterSuccess(tidy: () => Promise<void>): void {
    this.#afterSuccess = tidy;
  }

  /**
   * Runs the handler and ends the lease in the way that fits how it ended. Returns how long the job then waits,
   * when it waits. Throws what kept the ending from being written: the job stays running until its lease ends.
   */
  async run(handler: JobHandler): Promise<{ retryAfterMs: number | undefined }> {
    const heartbeat = setInterval(() => void this.#renew(), this.#options.heartbeatMs).unref();
    try {
      return await this.#attempt(handler);
    } finally {
      clearInterval(heartbeat);
      clearTimeout(this.#progressTimer);
    }
  }

  async #attempt(handler: JobHandler): Promise<{ retryAfterMs: number | undefined }> {
    try {
      this.#begin();
      const result = await handler(this);
      await this.#flush();
      const ended = await this.#lease.succeed(result, this.#atSuccess);
      if (ended.state === 'succeeded') await this.#tidy();
    } catch (error) {
      return this.#settle(error);
    }
    return { retryAfterMs: undefined };
  }

  async #tidy(): Promise<void> {
    try {
      await this.#afterSuccess?.();
    } catch (error) {
      this.#options.logger.warn({ jobId: this.job.id, err: error }, 'a job that succeeded was not tidied up');
    }
  }

  #begin(): void {
    const { attempt, cancelRequested } = this.job;
    // The handler runs all the same: only it knows what an attempt before has left, and lets go of that.
    if (cancelRequested) this.abort(new JobCanceled());
    if (this.#lease.lostCount > MAX_LOST_WORKERS) {
      throw new DomainError('WORKER_LOST', `${this.#lease.lostCount} workers died while they ran this job`, {
        hint: 'see why in the log of the service and of its machine (memory?), then retry the job',
      });
    }
    if (attempt > 1) {
      const from = this.#checkpoint === undefined ? 'from the beginning' : 'from the last checkpoint';
      this.#writeLine('info', `attempt ${attempt}, ${from}`);
    }
  }

  async #settle(error: unknown): Promise<{ retryAfterMs: number | undefined }> {
    const ended = { retryAfterMs: undefined };
    const reason: unknown = this.signal.aborted ? this.signal.reason : error;
    const { logger } = this.#options;
    const fields = { jobId: this.job.id, kind: this.job.kind, attempt: this.job.attempt };
    if (reason instanceof LeaseLost || error instanceof LeaseLost) {
      logger.warn(fields, 'the job was taken over by another worker');
      return ended;
    }
    if (reason instanceof WorkerStopping) {
      this.#writeLine('info', 'the worker stopped: the job goes on with the next one');
      await this.#flush();
      await this.#lease.release();
      return ended;
    }
    if (reason instanceof JobCanceled) {
      await this.#flush();
      await this.#lease.cancel();
      return ended;
    }
    const told = toJobError(error);
    if (told.code === 'INTERNAL') logger.error({ ...fields, err: error }, 'a job failed');
    if (isTransient(error) && this.#lease.failureCount + 1 < MAX_ATTEMPTS) {
      return this.#postpone(`${told.code}: ${told.message}`);
    }
    this.#writeLine('error', `${told.code}: ${told.message}`);
    await this.#flush();
    await this.#lease.fail(told);
    return ended;
  }

  async #postpone(message: string): Promise<{ retryAfterMs: number }> {
    const { retryDelaysMs, now } = this.#options;
    const retryAfterMs = retryDelaysMs[this.#lease.failureCount] ?? retryDelaysMs.at(-1) ?? 0;
    this.#writeLine('warning', `${message}; tried again in ${retryAfterMs / 1000} s`);
    await this.#flush();
    await this.#lease.postpone(now() + retryAfterMs);
    return { retryAfterMs };
  }

  async #renew(): Promise<void> {
    try {
      this.#heed(await this.#lease.heartbeat(this.#options.leaseMs));
    } catch (error) {
      if (error instanceof LeaseLost) this.abort(error);
      else if (this.#options.now() >= this.#lease.untilMs) this.abort(new LeaseLost(this.job.id));
      else this.#options.logger.warn({ jobId: this.job.id, err: error }, 'a heartbeat was not written');
    }
  }

  #heed({ cancelRequested }: { cancelRequested: boolean }): void {
    if (cancelRequested) this.abort(new JobCanceled());
  }

  #flushProgress(): void {
    if (this.#progressTimer === undefined) return;
    clearTimeout(this.#progressTimer);
    this.#progressTimer = undefined;
    this.#writeProgress();
  }

  #writeProgress(): void {
    this.#rate.add(this.#options.now(), this.#doneBytes);
    const progress: JobProgress = {
      phase: this.#phase,
      doneBytes: this.#doneBytes,
      totalBytes: this.#totalBytes,
      bytesPerSecond: this.#rate.bytesPerSecond(),
    };
    this.#write(async () => this.#heed(await this.#lease.progress(progress)));
  }

  #writeLine(level: JobLogLevel, message: string): void {
    this.#write(() => this.#lease.log(level, message.slice(0, MAX_LOG_LINE_LENGTH)));
  }

  /** What is told about a job must not stop it: only the loss of the lease does. */
  #write(write: () => Promise<void>): void {
    this.#writes = this.#writes.then(write).catch((error) => {
      if (error instanceof LeaseLost) this.abort(error);
      else this.#options.logger.warn({ jobId: this.job.id, err: error }, "a job's progress was not written");
    });
  }

  async #flush(): Promise<void> {
    this.#flushProgress();
    await this.#writes;
  }
}
