import type { Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { waitForJob, watchHint } from '../../client/jobs.ts';
import { apiPath, parsePlace } from '../../client/paths.ts';
import type { Context } from '../../context.ts';
import { printJob, printStartedJob } from '../job/print.ts';

interface CopyOptions {
  readonly region?: string;
  readonly ifAbsent?: boolean;
  readonly wait?: boolean;
  readonly timeout?: number;
}

export async function run(
  context: Context,
  [source, target]: readonly [string, string],
  { region, ifAbsent = false, wait, timeout }: CopyOptions,
): Promise<undefined> {
  const { bucket, key } = parsePlace(source);
  const request = { key, target: { ...parsePlace(target), region, ifAbsent } };
  const client = await connect(context);
  const { job } = await client.startOnce<{ job: Job }>(`${apiPath('buckets', bucket)}/copies`, request);
  if (wait !== true && timeout === undefined) {
    context.progress.note(watchHint(job.id));
    await printStartedJob(context, job);
    return;
  }
  await printJob(context, await waitForJob(context, client, job.id, { timeout }));
}
