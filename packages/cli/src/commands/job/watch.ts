import { connect } from '../../client/client.ts';
import { exitCodeOfJob, waitForJob } from '../../client/jobs.ts';
import type { Context } from '../../context.ts';
import type { ExitCode } from '../../errors/codes.ts';
import { printJob } from './print.ts';

export async function run(
  context: Context,
  [id]: readonly [string],
  { timeout }: { readonly timeout?: number },
): Promise<ExitCode> {
  const client = await connect(context);
  const job = await waitForJob(context, client, id, { timeout, showLog: true });
  await printJob(context, job);
  return exitCodeOfJob(job);
}
