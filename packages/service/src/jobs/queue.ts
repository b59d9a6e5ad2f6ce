import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import type { Page } from '../db/page.ts';
import {
  claimJob,
  endAllHolds,
  findCancelRequests,
  findJob,
  insertJob,
  insertJobLog,
  insertJobResources,
  type JobListing,
  type JobLogListing,
  type JobResource,
  listJobLog,
  listJobResources,
  listJobs,
  lockJob,
  updateJob,
} from '../db/repositories/jobs.ts';
import type { JobResourceRow, JobRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import { DomainError } from '../domain/errors.ts';
import type { JsonValue } from '../json.ts';
import { isTerminal, type Job, type JobLogLine, toJob, toJobLogLine } from './job.ts';
import { type JobChange, type JobChangeListener, JobLease } from './lease.ts';

export interface NewJob {
  readonly tenancyId: string;
  /** Who asks for it; none for the service itself. */
  readonly userId?: string | undefined;
  readonly kind: string;
  /** Where it belongs; by default to no compartment. */
  readonly compartmentId?: string | undefined;
  /** What a dialect calls it. */
  readonly operation?: string | undefined;
  /** What it makes or works on. */
  readonly resources?: readonly JobResource[] | undefined;
  /** What its handler works from. No secrets: rows are read by many. */
  readonly input: JsonValue;
  /** Of a job whose creation has done something already: its handler undoes that when it is canceled while it waits. */
  readonly checkpoint?: JsonValue | undefined;
}

export interface ClaimRequest {
  readonly owner: string;
  readonly kinds: readonly string[];
  readonly exceptIds?: readonly string[] | undefined;
  readonly leaseMs: number;
}

/**
 * The jobs table as a queue. The table is the truth: whoever asks, on whichever process, sees and changes the
 * same jobs. A tenancy's jobs do not exist for others.
 */
export class JobQueue {
  readonly #queries: Queries;
  readonly #now: () => number;
  readonly #listeners: Set<JobChangeListener> = new Set();

  constructor(database: Database, options: { now?: () => number } = {}) {
    this.#queries = database.kysely;
    this.#now = options.now ?? Date.now;
  }

  /**
   * Calls `listener` after every change that this process makes to a job, with the kind of the change.
   * Returns how to end that.
   */
  subscribe(listener: JobChangeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  readonly #notify = (change: JobChange, jobId: string): void => {
    for (const listener of this.#listeners) listener(change, jobId);
  };

  /**
   * Adds a job. With a transaction, the job is there when that is committed, and who commits it wakes the
   * dispatcher; without, the dispatcher of this process is woken.
   */
  async create(job: NewJob, transaction?: Queries): Promise<Job> {
    const row = newRow(job, this.#now());
    await inTransaction(transaction ?? this.#queries, async (writing) => {
      await insertJob(writing, row);
      await insertJobResources(writing, row.id, job.resources ?? []);
    });
    if (transaction === undefined) this.#notify('queued', row.id);
    return toJob(row);
  }

  /**
   * Adds a job that is over already, for what was done at once and is asked for as a job all the same: in the
   * transaction that does it. `lines` are its log.
   */
  async record(job: NewJob, lines: readonly string[], transaction: Queries): Promise<Job> {
    const nowMs = this.#now();
    const row: JobRow = {
      ...newRow(job, nowMs),
      state: 'succeeded',
      phase: 'record',
      attempt: 1,
      percent_done: 100,
      result_json: JSON.stringify({}),
      started_at_ms: nowMs,
      finished_at_ms: nowMs,
    };
    await insertJob(transaction, row);
    await insertJobResources(transaction, row.id, job.resources ?? []);
    for (const message of lines) {
      await insertJobLog(transaction, { job_id: row.id, at_ms: nowMs, level: 'info', message });
    }
    return toJob(row);
  }

  /** What jobs make or work on, by the job's id. */
  async resources(jobIds: readonly string[]): Promise<ReadonlyMap<string, readonly JobResource[]>> {
    const rows = await listJobResources(this.#queries, jobIds);
    return new Map(
      [...Map.groupBy(rows, (row) => row.job_id)].map(([id, ofJob]) => [id, ofJob.map(toResource)]),
    );
  }

  /** Throws NOT_FOUND. */
  async get(tenancyId: string, id: string): Promise<Job> {
    return toJob(await findJob(this.#queries, tenancyId, id).then((row) => required(row, id)));
  }

  /** Newest first; `startAfter` is the page's `next` before. */
  async list(listing: JobListing): Promise<Page<Job>> {
    const { items, next } = await listJobs(this.#queries, listing);
    return { items: items.map(toJob), next };
  }

  /** A job's log. Throws NOT_FOUND. */
  async log(tenancyId: string, id: string, listing: JobLogListing): Promise<JobLogLine[]> {
    required(await findJob(this.#queries, tenancyId, id), id);
    return (await listJobLog(this.#queries, { jobId: id, ...listing })).map(toJobLogLine);
  }

  /**
   * Cancels a job: at once while it waits and nothing of it is done; otherwise a worker is asked to end it, which lets
   * go of what was begun. A canceled job stays so. Throws NOT_FOUND, and CONFLICT for a job that succeeded or failed.
   */
  async cancel(tenancyId: string, id: string): Promise<Job> {
    const nowMs = this.#now();
    const row = await this.#change(tenancyId, id, (transaction, before) => {
      switch (before.state) {
        case 'queued':
          if (before.checkpoint_json !== null)
            return updateJob(transaction, id, {
              cancel_requested: 1,
              not_before_ms: 0,
              updated_at_ms: nowMs,
            });
          return updateJob(transaction, id, {
            state: 'canceled',
            finished_at_ms: nowMs,
            updated_at_ms: nowMs,
          });
        case 'running':
          return updateJob(transaction, id, { cancel_requested: 1, updated_at_ms: nowMs });
        case 'canceled':
          return before;
        default:
          throw new DomainError('CONFLICT', `job ${id} has ${before.state} already`);
      }
    });
    const change = { running: 'cancel_requested', queued: 'queued' } as const;
    this.#notify(row.state === 'running' || row.state === 'queued' ? change[row.state] : 'finished', id);
    return toJob(row);
  }

  /**
   * Queues a failed or canceled job again; it goes on from its checkpoint. `permit` throws, in the transaction that does
   * it, when that may not be. Throws NOT_FOUND, and CONFLICT for a job in another state.
   */
  async retry(tenancyId: string, id: string, permit?: (transaction: Queries) => Promise<void>): Promise<Job> {
    const nowMs = this.#now();
    const row = await this.#change(tenancyId, id, async (transaction, before) => {
      if (before.state !== 'failed' && before.state !== 'canceled') {
        const hint = isTerminal(before.state) ? 'make a new job' : 'cancel it first, or wait for its end';
        throw new DomainError('CONFLICT', `job ${id} is ${before.state}: there is nothing to retry`, {
          hint,
        });
      }
      await permit?.(transaction);
      return updateJob(transaction, id, {
        state: 'queued',
        error_json: null,
        failure_count: 0,
        lost_count: 0,
        not_before_ms: 0,
        finished_at_ms: null,
        updated_at_ms: nowMs,
      });
    });
    this.#notify('queued', id);
    return toJob(row);
  }

  #change(
    tenancyId: string,
    id: string,
    write: (transaction: Queries, before: JobRow) => Promise<JobRow> | JobRow,
  ): Promise<JobRow> {
    return this.#queries.transaction().execute(async (transaction) => {
      return write(transaction, required(await lockJob(transaction, tenancyId, id), id));
    });
  }

  /**
   * Gives the oldest job of these kinds that waits, or whose worker let its lease end, to the caller alone;
   * undefined when there is none.
   */
  async claim(request: ClaimRequest): Promise<JobLease | undefined> {
    const nowMs = this.#now();
    const row = await claimJob(this.#queries, {
      owner: request.owner,
      kinds: request.kinds,
      exceptIds: request.exceptIds ?? [],
      nowMs,
      leaseUntilMs: nowMs + request.leaseMs,
    });
    return row === undefined ? undefined : new JobLease(this.#queries, row, this.#now, this.#notify);
  }

  /** Ends the lease of every running job: for the one worker there is, at its start. */
  async endAllLeases(): Promise<void> {
    await endAllHolds(this.#queries, this.#now());
  }

  /** Which of these jobs are to be canceled. */
  cancelRequests(ids: readonly string[]): Promise<string[]> {
    return findCancelRequests(this.#queries, ids);
  }
}

function required(row: JobRow | undefined, id: string): JobRow {
  if (row === undefined) throw new DomainError('NOT_FOUND', `there is no job ${id}`);
  return row;
}

function toResource({ resource_id, entity_type, action }: JobResourceRow): JobResource {
  return { resourceId: resource_id, entityType: entity_type, action };
}

function newRow(job: NewJob, nowMs: number): JobRow {
  return {
    id: newId('job'),
    tenancy_id: job.tenancyId,
    user_id: job.userId ?? null,
    kind: job.kind,
    state: 'queued',
    phase: '',
    input_json: JSON.stringify(job.input),
    checkpoint_json: job.checkpoint === undefined ? null : JSON.stringify(job.checkpoint),
    result_json: null,
    error_json: null,
    done_bytes: 0,
    total_bytes: null,
    bytes_per_second: null,
    attempt: 0,
    failure_count: 0,
    lost_count: 0,
    fence: 0,
    not_before_ms: 0,
    lease_owner: null,
    lease_until_ms: null,
    cancel_requested: 0,
    created_at_ms: nowMs,
    started_at_ms: null,
    updated_at_ms: nowMs,
    finished_at_ms: null,
    compartment_id: job.compartmentId ?? null,
    operation: job.operation ?? null,
    percent_done: 0,
  };
}
