import type { Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { waitForJob } from '../../client/jobs.ts';
import type { Context } from '../../context.ts';
import { printResult } from './print.ts';

export async function run(
  context: Context,
  _args: readonly [],
  { timeout }: { readonly timeout?: number },
): Promise<undefined> {
  const client = await connect(context);
  const { job } = await client.startOnce<{ job: Job }>('/vault/gc');
  await printResult(context, await waitForJob(context, client, job.id, { timeout }));
}
