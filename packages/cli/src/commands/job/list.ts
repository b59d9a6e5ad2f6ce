import type { Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import type { Context } from '../../context.ts';
import { timeText } from '../../output/quantities.ts';
import { progressText } from './print.ts';

export async function run(
  context: Context,
  _args: readonly [],
  { state }: { readonly state?: string },
): Promise<undefined> {
  const client = await connect(context);
  const jobs = await Array.fromAsync(client.items<Job>('/jobs', { state }));
  await context.output.list(jobs, [
    { title: 'ID', value: ({ id }) => id },
    { title: 'KIND', value: ({ kind }) => kind },
    { title: 'STATE', value: (job) => job.state },
    { title: 'PHASE', value: ({ phase }) => phase || '-' },
    { title: '%', align: 'right', value: ({ percentDone }) => String(percentDone) },
    { title: 'DONE', value: progressText },
    { title: 'CREATED', value: ({ createdAtMs }) => timeText(createdAtMs) },
  ]);
}
