import type { Job, JobLogLine } from '../../client/api.ts';
import type { Context } from '../../context.ts';
import { recordLines } from '../../output/output.ts';
import { printable } from '../../output/printable.ts';
import { sizeText, timeText } from '../../output/quantities.ts';
import type { Plain } from '../../output/yaml.ts';

/** A job that was just started: its id is what scripts want. */
export async function printStartedJob({ output }: Context, job: Job): Promise<void> {
  await output.record(plain(job), [job.id]);
}

export async function printJob(
  { output }: Context,
  job: Job & { readonly log?: readonly JobLogLine[] },
): Promise<void> {
  const { id, kind, state, phase, attempt, createdAtMs, startedAtMs, finishedAtMs, result, error } = job;
  const shown = {
    id,
    kind,
    state,
    phase,
    progress: progressText(job),
    'done in all': `${job.percentDone} %`,
    attempt,
    created: timeText(createdAtMs),
    started: timeText(startedAtMs),
    finished: timeText(finishedAtMs),
    result: (result ?? undefined) as Plain,
    error: error === null ? undefined : `${error.code}: ${error.message}`,
  };
  const log = (job.log ?? []).map(logText);
  await output.record(plain(job), [...recordLines(shown), ...(log.length > 0 ? ['log:', ...log] : [])]);
}

export function progressText({ doneBytes, totalBytes }: Job): string {
  return totalBytes === null ? sizeText(doneBytes) : `${sizeText(doneBytes)} of ${sizeText(totalBytes)}`;
}

function logText({ atMs, level, message }: JobLogLine): string {
  return `  ${timeText(atMs)} ${level}: ${printable(message)}`;
}

function plain(job: Job): { readonly [key: string]: Plain } {
  return { ...job } as unknown as { readonly [key: string]: Plain };
}
