import type { Instance, Job } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findInstance, instancePath } from '../../client/instances.ts';
import type { Context } from '../../context.ts';
import { finishStarted, type WaitFlags } from './started.ts';

export interface PowerOptions extends WaitFlags {
  readonly force?: boolean;
  readonly grace?: number;
}

/** Asks for an action: by force, or with a grace for the guest to end by itself. */
export async function act(
  context: Context,
  idOrName: string,
  action: string,
  { grace, ...flags }: PowerOptions,
): Promise<undefined> {
  const client = await connect(context);
  const { id } = await findInstance(client, idOrName);
  const request = { action, ...(grace !== undefined && { graceSeconds: grace }) };
  const started = await client.startOnce<{ instance: Instance; job: Job }>(
    `${instancePath(id)}/actions`,
    request,
  );
  await finishStarted(context, client, started, flags);
}
