import type { Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { jobPath } from '../../client/jobs.ts';
import type { Context } from '../../context.ts';
import { printJob } from './print.ts';

export async function run(context: Context, [id]: readonly [string]): Promise<undefined> {
  const client = await connect(context);
  await printJob(context, await client.json<Job>('POST', `${jobPath(id)}/cancel`));
}
