import type { Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findInstance, instancePath } from '../../client/instances.ts';
import { apiPath } from '../../client/paths.ts';
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
  const path = `${instancePath(id)}/volumes${apiPath(volumeId)}`;
  const { job } = await client.json<{ job: Job }>('DELETE', path);
  await finishVolumeChange(context, client, { verb: 'detach', instanceId: id, volumeId, job }, flags);
}
