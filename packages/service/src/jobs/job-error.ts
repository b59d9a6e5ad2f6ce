import { ImageError, StoreError } from '@gantry/disk';
import { isTransientDatabaseError } from '../db/transient-errors.ts';
import { DomainError, refusedByDatabase } from '../domain/errors.ts';
import { LeaseLost, WorkerStopping } from './interruptions.ts';
import type { JobError } from './job.ts';

/** Wraps an error that the same again would not get past, whatever its code says elsewhere. */
export class LastingError extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = 'LastingError';
  }
}

/** What a job's user is told about the error that its handler threw. Nothing of an error that we did not foresee. */
export function toJobError(thrown: unknown): JobError {
  const told = thrown instanceof LastingError ? thrown.cause : thrown;
  const error = refusedByDatabase(told) ?? told;
  if (error instanceof ImageError || error instanceof StoreError || error instanceof DomainError) {
    return { code: error.code, message: error.message, hint: error.hint ?? null };
  }
  return {
    code: 'INTERNAL',
    message: 'the service failed while it ran this job',
    hint: "retry the job; its operator finds the reason in the service's log under the job's id",
  };
}

/** Whether the same again may work: the network, a disk or the database failed, nothing was refused. */
export function isTransient(error: unknown): boolean {
  if (isTransientDatabaseError(error)) return true;
  return error instanceof StoreError && (error.code === 'STORE_UNREACHABLE' || error.code === 'STORE_IO');
}

/** Whether another attempt goes on from the last checkpoint after this error: what that needs must stay. */
export function goesOn(error: unknown, signal: AbortSignal): boolean {
  const { reason } = signal;
  return (
    isTransient(error) ||
    error instanceof LeaseLost ||
    reason instanceof LeaseLost ||
    reason instanceof WorkerStopping
  );
}
