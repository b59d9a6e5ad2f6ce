import type { Context } from '../context.ts';
import { EXIT, type ExitCode } from '../errors/codes.ts';
import { CommandError } from '../errors/command-error.ts';
import type { Job, JobWithLog } from './api.ts';
import type { ServiceClient } from './client.ts';
import { apiPath } from './paths.ts';

export interface WaitOptions {
  /** Wait no longer than this. */
  readonly timeout?: number | undefined;
  /** Show every line of the job's log, not only what went wrong. */
  readonly showLog?: boolean;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1000;

export function jobPath(id: string): string {
  return apiPath('jobs', id);
}

/**
 * Watches a job to its end. Throws what it failed with, WAIT_TIMEOUT when the time is up and INTERRUPTED when
 * the user leaves: in both cases the job goes on.
 */
export async function waitForJob(
  context: Context,
  client: ServiceClient,
  id: string,
  options: WaitOptions,
): Promise<JobWithLog> {
  const deadlineMs = performance.now() + (options.timeout ?? Number.POSITIVE_INFINITY) * 1000;
  try {
    return await watch(context, client, id, deadlineMs, options.showLog ?? false);
  } catch (error) {
    if (context.signal.aborted) {
      throw new CommandError('INTERRUPTED', `you left; the job ${id} goes on`, { hint: watchHint(id) });
    }
    if (!(error instanceof CommandError) || error.code !== 'SERVICE_UNREACHABLE') throw error;
    const hint = `the job goes on when the service does; ${watchHint(id)}`;
    throw new CommandError(error.code, error.message, { where: error.where, hint, cause: error.cause });
  } finally {
    context.progress.end();
  }
}

async function watch(
  { progress }: Context,
  client: ServiceClient,
  id: string,
  deadlineMs: number,
  showLog: boolean,
): Promise<JobWithLog> {
  let shownLines = 0;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    const job = await client.json<JobWithLog>('GET', jobPath(id));
    for (const { level, message } of job.log.slice(shownLines)) {
      if (level !== 'info') progress.note(`${level}: ${message}`);
      else if (showLog) progress.note(message);
    }
    shownLines = Math.max(shownLines, job.log.length);
    if (isFinished(job)) return succeeded(job);
    const { doneBytes, totalBytes } = job;
    progress.step({ phase: job.phase === '' ? job.state : job.phase, doneBytes, totalBytes });
    const leftMs = deadlineMs - performance.now();
    if (leftMs <= 0) {
      throw new CommandError('WAIT_TIMEOUT', `the job ${id} goes on`, { hint: watchHint(id) });
    }
    await client.sleep(Math.min(pauseMs, leftMs));
  }
}

export function watchHint(id: string): string {
  return `watch it again with: gantry job watch ${id}`;
}

function isFinished({ state }: Job): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'canceled';
}

function succeeded(job: JobWithLog): JobWithLog {
  if (job.state === 'succeeded') return job;
  const where = `job ${job.id}`;
  const again = `try again with: gantry job retry ${job.id}`;
  if (job.error === null)
    throw new CommandError('CANCELED', `the job ${job.id} was canceled`, { hint: again });
  const { code, message, hint } = job.error;
  throw new CommandError(code, message, { where, hint: hint ? `${hint}; ${again}` : again });
}

/** The exit status of a job that succeeded: a check may have found something. */
export function exitCodeOfJob(job: Job): ExitCode {
  const findings = job.result?.findings;
  return Array.isArray(findings) && findings.length > 0 ? EXIT.findings : EXIT.ok;
}
