import type { Job } from '../../client/api.ts';
import type { ServiceClient } from '../../client/client.ts';
import { waitForJob, watchHint } from '../../client/jobs.ts';
import type { Context } from '../../context.ts';
import type { WaitFlags } from './started.ts';

interface VolumeChange {
  readonly verb: 'attach' | 'detach';
  readonly instanceId: string;
  readonly volumeId: string;
  readonly job: Job;
}

export async function finishVolumeChange(
  context: Context,
  client: ServiceClient,
  { verb, instanceId, volumeId, job }: VolumeChange,
  { wait, timeout }: WaitFlags,
): Promise<void> {
  const isWaited = wait === true || timeout !== undefined;
  if (isWaited) await waitForJob(context, client, job.id, { timeout });
  else context.progress.note(watchHint(job.id));
  const done = isWaited ? `${verb}ed volume ${volumeId}` : `volume ${volumeId} is being ${verb}ed`;
  await context.output.record({ instance: instanceId, volume: volumeId, job: job.id }, [done]);
}
