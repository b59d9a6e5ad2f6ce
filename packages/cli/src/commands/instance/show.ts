import type { InstanceWithVolumes } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findInstance, instancePath } from '../../client/instances.ts';
import type { Context } from '../../context.ts';
import { printInstance } from './print.ts';

export async function run(context: Context, [idOrName]: readonly [string]): Promise<undefined> {
  const client = await connect(context);
  const { id } = await findInstance(client, idOrName);
  await printInstance(context, await client.json<InstanceWithVolumes>('GET', instancePath(id)));
}
