import type { Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findInstance, instancePath } from '../../client/instances.ts';
import type { Context } from '../../context.ts';
import type { WaitFlags } from './started.ts';
import { finishVolumeChange } from './volume-change.ts';

export async function run(
  context: Context,
  [idOrName, volumeId]: readonly [string, string],
  flags: WaitFlags,
): Promise<undefined> {
  const client = await connect(context);
  const { id } = await findInstance(client, idOrName);
  const { job } = await client.startOnce<{ job: Job }>(`${instancePath(id)}/volumes`, { volumeId });
  await finishVolumeChange(context, client, { verb: 'attach', instanceId: id, volumeId, job }, flags);
}
