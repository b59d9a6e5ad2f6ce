import type { Instance, Job } from '../../client/api.ts';
import type { ServiceClient } from '../../client/client.ts';
import { instancePath } from '../../client/instances.ts';
import { waitForJob, watchHint } from '../../client/jobs.ts';
import type { Context } from '../../context.ts';
import { printInstance } from './print.ts';

export interface WaitFlags {
  readonly wait?: boolean;
  readonly timeout?: number;
}

/** What a job works on now: the instance as it is, or as it is when the job has ended, where that is waited for. */
export async function finishStarted(
  context: Context,
  client: ServiceClient,
  { instance, job }: { readonly instance: Instance; readonly job: Job },
  { wait, timeout }: WaitFlags,
): Promise<void> {
  if (wait !== true && timeout === undefined) {
    context.progress.note(watchHint(job.id));
    await printInstance(context, instance);
    return;
  }
  await waitForJob(context, client, job.id, { timeout });
  await printInstance(context, await client.json<Instance>('GET', instancePath(instance.id)));
}
