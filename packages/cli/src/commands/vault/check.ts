import type { Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { exitCodeOfJob, waitForJob } from '../../client/jobs.ts';
import type { Context } from '../../context.ts';
import type { ExitCode } from '../../errors/codes.ts';
import { printResult } from './print.ts';

export async function run(
  context: Context,
  _args: readonly [],
  { data, timeout }: { readonly data?: boolean; readonly timeout?: number },
): Promise<ExitCode> {
  const client = await connect(context);
  const { job } = await client.startOnce<{ job: Job }>('/vault/check', { data: data === true });
  const finished = await waitForJob(context, client, job.id, { timeout });
  await printResult(context, finished);
  return exitCodeOfJob(finished);
}
