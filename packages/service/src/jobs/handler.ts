import type { JobLogLevel } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import type { JsonValue } from '../json.ts';
import type { Job } from './job.ts';

/** What a handler sees of its job, and how it tells about it. */
export interface JobContext {
  /** As it was when this attempt began. */
  readonly job: Job;
  readonly input: JsonValue;
  /** What was saved last, in this attempt or one before; undefined at the very beginning. */
  readonly checkpoint: JsonValue | undefined;
  /** Aborted when the job is canceled, the worker stops, or the job belongs to another worker. */
  readonly signal: AbortSignal;
  /**
   * Begins a phase. `doneBytes` is what an attempt before had done of it already: it is not counted as speed.
   * Throws the signal's reason when aborted.
   */
  phase(name: string, totalBytes?: number, doneBytes?: number): Promise<void>;
  /** How much of the phase is done, in all. May be called for every block: it is written now and then. */
  progress(doneBytes: number): void;
  /** Adds a line to the job's log, which its user reads. */
  log(level: JobLogLevel, message: string): void;
  /**
   * Saves where another attempt can go on; durable when it returns. Also works while the signal is aborted, so
   * that a handler can save what it has before it ends.
   */
  saveCheckpoint(checkpoint: JsonValue): Promise<void>;
  /**
   * Sets what to write to the catalogue in the same transaction as the job's success: the image appears when
   * the job succeeds, and never twice. It must use that transaction only. When the job is canceled meanwhile,
   * or belongs to another worker, nothing is written.
   */
  atSuccess(write: (transaction: Queries) => Promise<void>): void;
  /** Sets what to do once that success is committed; the job is over then, whatever comes of it. */
  afterSuccess(tidy: () => Promise<void>): void;
}

/**
 * Does one kind of job; what it returns is the job's result. It ends soon after its signal is aborted; that may be so
 * from the begin, for a job with a checkpoint that was canceled while it waited.
 */
export type JobHandler = (context: JobContext) => Promise<JsonValue>;

/** By kind. */
export type JobHandlers = Readonly<Record<string, JobHandler>>;
