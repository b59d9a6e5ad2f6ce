import type { Instance, Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findInstance, instancePath } from '../../client/instances.ts';
import { waitForJob, watchHint } from '../../client/jobs.ts';
import type { Context } from '../../context.ts';
import { printable } from '../../output/printable.ts';
import type { WaitFlags } from './started.ts';

interface TerminateOptions extends WaitFlags {
  readonly keepBootVolume?: boolean;
}

export async function run(
  context: Context,
  [idOrName]: readonly [string],
  { keepBootVolume = false, wait, timeout }: TerminateOptions,
): Promise<undefined> {
  const client = await connect(context);
  const instance: Instance = await findInstance(client, idOrName);
  const query = { keepBootVolume: String(keepBootVolume) };
  const { job } = await client.json<{ job: Job }>('DELETE', instancePath(instance.id), { query });
  const { id, name } = instance;
  const isWaited = wait === true || timeout !== undefined;
  if (isWaited) await waitForJob(context, client, job.id, { timeout });
  else context.progress.note(watchHint(job.id));
  await context.output.record({ terminated: id, name, job: job.id }, [
    `${isWaited ? 'terminated' : 'is being terminated:'} instance ${id} (${printable(name)})`,
  ]);
}
