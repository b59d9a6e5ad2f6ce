import type { JobLogLine as JobLogLineRow } from '../db/repositories/jobs.ts';
import type { JobLogLevel, JobRow, JobState } from '../db/schema.ts';
import type { JsonValue } from '../json.ts';

export type { JobState };

/** Why a job failed, as its user sees it. */
export interface JobError {
  /** Of ImageError, StoreError or DomainError. */
  readonly code: string;
  readonly message: string;
  /** What the user can do. */
  readonly hint: string | null;
}

/** One piece of long work. */
export interface Job {
  readonly id: string;
  readonly tenancyId: string;
  /** Who asked for it; undefined for the service itself. */
  readonly userId: string | undefined;
  readonly kind: string;
  readonly state: JobState;
  /** What it does now, or did last; empty before its first phase. */
  readonly phase: string;
  readonly input: JsonValue;
  /** Where the next attempt goes on. */
  readonly checkpoint: JsonValue | undefined;
  /** Only of a job that succeeded. */
  readonly result: JsonValue | undefined;
  /** Only of a job that failed. */
  readonly error: JobError | undefined;
  /** Of this phase. */
  readonly doneBytes: number;
  /** Of this phase; undefined while unknown. */
  readonly totalBytes: number | undefined;
  /** Only while it runs. */
  readonly bytesPerSecond: number | undefined;
  /** How often a worker has begun it. */
  readonly attempt: number;
  /** Its worker is about to end it. */
  readonly cancelRequested: boolean;
  readonly createdAtMs: number;
  readonly startedAtMs: number | undefined;
  readonly updatedAtMs: number;
  readonly finishedAtMs: number | undefined;
  /** Where it belongs; undefined for the service's own. */
  readonly compartmentId: string | undefined;
  /** What a dialect calls it. */
  readonly operation: string | undefined;
  /** Of the whole job, 0 to 100; it never falls. */
  readonly percentDone: number;
}

export interface JobLogLine {
  /** Later lines of a job have greater numbers. */
  readonly id: number;
  readonly atMs: number;
  readonly level: JobLogLevel;
  readonly message: string;
}

/** States that only a retry leads out of. */
export function isTerminal(state: JobState): boolean {
  return state !== 'queued' && state !== 'running';
}

export function toJob(row: JobRow): Job {
  return {
    id: row.id,
    tenancyId: row.tenancy_id,
    userId: row.user_id ?? undefined,
    kind: row.kind,
    state: row.state,
    phase: row.phase,
    input: JSON.parse(row.input_json),
    checkpoint: parseOptional(row.checkpoint_json),
    result: parseOptional(row.result_json),
    error: row.error_json === null ? undefined : JSON.parse(row.error_json),
    doneBytes: row.done_bytes,
    totalBytes: row.total_bytes ?? undefined,
    bytesPerSecond: row.bytes_per_second ?? undefined,
    attempt: row.attempt,
    cancelRequested: row.cancel_requested === 1,
    createdAtMs: row.created_at_ms,
    startedAtMs: row.started_at_ms ?? undefined,
    updatedAtMs: row.updated_at_ms,
    finishedAtMs: row.finished_at_ms ?? undefined,
    compartmentId: row.compartment_id ?? undefined,
    operation: row.operation ?? undefined,
    percentDone: row.percent_done,
  };
}

function parseOptional(json: string | null): JsonValue | undefined {
  return json === null ? undefined : JSON.parse(json);
}

export function toJobLogLine(row: JobLogLineRow): JobLogLine {
  return { id: row.id, atMs: row.at_ms, level: row.level, message: row.message };
}

/** A job as the native API gives it: JSON, with null for what is not there. */
export interface JobView {
  readonly id: string;
  readonly kind: string;
  readonly state: JobState;
  readonly phase: string;
  readonly cancelRequested: boolean;
  readonly input: JsonValue;
  readonly result: JsonValue;
  readonly error: JobError | null;
  readonly doneBytes: number;
  readonly totalBytes: number | null;
  readonly bytesPerSecond: number | null;
  readonly attempt: number;
  readonly userId: string | null;
  readonly createdAtMs: number;
  readonly startedAtMs: number | null;
  readonly updatedAtMs: number;
  readonly finishedAtMs: number | null;
  readonly compartmentId: string | null;
  readonly percentDone: number;
}

export function jobView(job: Job): JobView {
  return {
    id: job.id,
    kind: job.kind,
    state: job.state,
    phase: job.phase,
    cancelRequested: job.cancelRequested,
    input: job.input,
    result: job.result ?? null,
    error: job.error ?? null,
    doneBytes: job.doneBytes,
    totalBytes: job.totalBytes ?? null,
    bytesPerSecond: job.bytesPerSecond ?? null,
    attempt: job.attempt,
    userId: job.userId ?? null,
    createdAtMs: job.createdAtMs,
    startedAtMs: job.startedAtMs ?? null,
    updatedAtMs: job.updatedAtMs,
    finishedAtMs: job.finishedAtMs ?? null,
    compartmentId: job.compartmentId ?? null,
    percentDone: job.percentDone,
  };
}
