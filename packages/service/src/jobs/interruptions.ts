import { DomainError } from '../domain/errors.ts';

/** The job belongs to another worker now, or to none: what this one still writes is refused. */
export class LeaseLost extends Error {
  constructor(jobId: string) {
    super(`job ${jobId} is not this worker's any more`);
    this.name = 'LeaseLost';
  }
}

/** Why a handler's signal is aborted when the worker stops: the job waits for the next worker. */
export class WorkerStopping extends Error {
  constructor() {
    super('the worker stops: the job goes on with the next one');
    this.name = 'WorkerStopping';
  }
}

/** Why a handler's signal is aborted when someone canceled its job. */
export class JobCanceled extends DomainError {
  constructor() {
    super('CANCELED', 'the job was canceled', { hint: 'retry it to go on where it stopped' });
    this.name = 'JobCanceled';
  }
}
