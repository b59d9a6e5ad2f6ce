import type { Updateable } from 'kysely';
import {
  insertJobLog,
  type JobHold,
  lockHeldJob,
  updateHeldJob,
  updateJob,
} from '../db/repositories/jobs.ts';
import type { JobLogLevel, JobRow } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import type { JsonValue } from '../json.ts';
import { LeaseLost } from './interruptions.ts';
import { type Job, type JobError, toJob } from './job.ts';
import { percentDone } from './percent.ts';

/** How far the phase that runs has come. */
export interface JobProgress {
  readonly phase: string;
  readonly doneBytes: number;
  /** Undefined while unknown. */
  readonly totalBytes: number | undefined;
  readonly bytesPerSecond: number | undefined;
}

export type JobChange = 'queued' | 'cancel_requested' | 'progress' | 'finished';
export type JobChangeListener = (change: JobChange, jobId: string) => void;

/**
 * A worker's right to one job, from a claim until one of the endings. Every write throws LeaseLost when the
 * job has ended or was claimed again, and then changes nothing. A job that is to be canceled ends canceled,
 * whatever ending the worker asks for.
 */
export class JobLease {
  /** The job as it was claimed. */
  readonly job: Job;
  readonly #queries: Queries;
  readonly #hold: JobHold;
  readonly #now: () => number;
  readonly #notify: JobChangeListener;
  #untilMs: number;
  #failureCount: number;
  #lostCount: number;
  #checkpointJson: string | null;

  constructor(queries: Queries, row: JobRow, now: () => number, notify: JobChangeListener) {
    this.job = toJob(row);
    this.#queries = queries;
    this.#hold = { id: row.id, fence: row.fence };
    this.#now = now;
    this.#notify = notify;
    this.#untilMs = row.lease_until_ms ?? 0;
    this.#failureCount = row.failure_count;
    this.#lostCount = row.lost_count;
    this.#checkpointJson = row.checkpoint_json;
  }

  /** When the lease ends unless a heartbeat comes before, in milliseconds since 1970. */
  get untilMs(): number {
    return this.#untilMs;
  }

  /** Transient failures since the last new checkpoint. */
  get failureCount(): number {
    return this.#failureCount;
  }

  /** Workers that died with the job since the last new checkpoint. */
  get lostCount(): number {
    return this.#lostCount;
  }

  /** Lets the lease end `leaseMs` from now. Says whether the job is to be canceled, as `progress` does. */
  async heartbeat(leaseMs: number): Promise<{ cancelRequested: boolean }> {
    const untilMs = this.#now() + leaseMs;
    const row = await this.#update({ lease_until_ms: untilMs });
    this.#untilMs = untilMs;
    return { cancelRequested: row.cancel_requested === 1 };
  }

  async progress(progress: JobProgress): Promise<{ cancelRequested: boolean }> {
    const row = await this.#update({
      phase: progress.phase,
      done_bytes: progress.doneBytes,
      total_bytes: progress.totalBytes ?? null,
      bytes_per_second: progress.bytesPerSecond ?? null,
      percent_done: percentDone(this.job.kind, progress),
    });
    this.#notify('progress', this.job.id);
    return { cancelRequested: row.cancel_requested === 1 };
  }

  async log(level: JobLogLevel, message: string): Promise<void> {
    await this.#queries.transaction().execute(async (transaction) => {
      await this.#lock(transaction);
      await insertJobLog(transaction, { job_id: this.job.id, at_ms: this.#now(), level, message });
    });
    this.#notify('progress', this.job.id);
  }

  /** Durable when it returns. A new checkpoint is a proof of progress: failures count from here. */
  async saveCheckpoint(checkpoint: JsonValue): Promise<void> {
    const json = JSON.stringify(checkpoint);
    const isNew = json !== this.#checkpointJson;
    await this.#update({ checkpoint_json: json, ...(isNew && { failure_count: 0, lost_count: 0 }) });
    this.#checkpointJson = json;
    if (!isNew) return;
    this.#failureCount = 0;
    this.#lostCount = 0;
  }

  /** `write` and the success happen together, or neither; for a job that is to be canceled neither does. */
  succeed(result: JsonValue, write?: (transaction: Queries) => Promise<void>): Promise<Job> {
    return this.#end(async (transaction, row, nowMs) => {
      const totalBytes = row.total_bytes ?? row.done_bytes;
      const ended = await updateJob(transaction, row.id, {
        ...finished('succeeded', nowMs),
        result_json: JSON.stringify(result),
        percent_done: 100,
        done_bytes: totalBytes,
        total_bytes: totalBytes,
      });
      await write?.(transaction);
      return ended;
    });
  }

  fail(error: JobError): Promise<Job> {
    return this.#end((transaction, row, nowMs) =>
      updateJob(transaction, row.id, { ...finished('failed', nowMs), error_json: JSON.stringify(error) }),
    );
  }

  cancel(): Promise<Job> {
    return this.#end((transaction, row, nowMs) =>
      updateJob(transaction, row.id, finished('canceled', nowMs)),
    );
  }

  /** Back to the queue, through no fault of the job. */
  release(): Promise<Job> {
    return this.#wait((row, nowMs) => queued(row, nowMs, 0));
  }

  /** Back to the queue after a failure that may pass, until `notBeforeMs`. */
  postpone(notBeforeMs: number): Promise<Job> {
    return this.#wait((row, nowMs) => ({
      ...queued(row, nowMs, row.cancel_requested === 1 ? 0 : notBeforeMs),
      failure_count: row.failure_count + 1,
    }));
  }

  /** A job that is to be canceled waits too, when there is something to let go of. */
  #wait(changes: (row: JobRow, nowMs: number) => Updateable<JobRow>): Promise<Job> {
    return this.#end(
      (transaction, row, nowMs) => updateJob(transaction, row.id, changes(row, nowMs)),
      (row) => row.checkpoint_json === null,
    );
  }

  async #update(changes: Updateable<JobRow>): Promise<Pick<JobRow, 'cancel_requested'>> {
    const row = await updateHeldJob(this.#queries, this.#hold, { ...changes, updated_at_ms: this.#now() });
    if (row === undefined) throw new LeaseLost(this.job.id);
    return row;
  }

  async #lock(transaction: Queries): Promise<JobRow> {
    const row = await lockHeldJob(transaction, this.#hold);
    if (row === undefined) throw new LeaseLost(this.job.id);
    return row;
  }

  async #end(
    write: (transaction: Queries, row: JobRow, nowMs: number) => Promise<JobRow>,
    isCancelable: (row: JobRow) => boolean = () => true,
  ): Promise<Job> {
    const ended = await this.#queries.transaction().execute(async (transaction) => {
      const row = await this.#lock(transaction);
      const nowMs = this.#now();
      if (row.cancel_requested === 1 && isCancelable(row))
        return updateJob(transaction, row.id, finished('canceled', nowMs));
      return write(transaction, row, nowMs);
    });
    this.#notify(ended.state === 'queued' ? 'queued' : 'finished', ended.id);
    return toJob(ended);
  }
}

const released = { lease_owner: null, lease_until_ms: null, bytes_per_second: null, cancel_requested: 0 };

function finished(state: 'succeeded' | 'failed' | 'canceled', nowMs: number) {
  return { ...released, state, finished_at_ms: nowMs, updated_at_ms: nowMs };
}

function queued({ cancel_requested }: JobRow, nowMs: number, notBeforeMs: number) {
  const waiting = { state: 'queued' as const, not_before_ms: notBeforeMs, updated_at_ms: nowMs };
  return { ...released, ...waiting, cancel_requested };
}
