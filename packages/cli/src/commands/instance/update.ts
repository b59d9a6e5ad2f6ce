import type { Instance } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findInstance, instancePath } from '../../client/instances.ts';
import type { Context } from '../../context.ts';
import { usageError } from '../../errors/command-error.ts';
import { printInstance } from './print.ts';

interface UpdateOptions {
  readonly name?: string;
  readonly shape?: string;
  readonly ocpus?: number;
  readonly memory?: number;
}

export async function run(
  context: Context,
  [idOrName]: readonly [string],
  { name, shape, ocpus, memory }: UpdateOptions,
): Promise<undefined> {
  if ([name, shape, ocpus, memory].every((value) => value === undefined))
    throw usageError('there is nothing to change', 'give --name, --shape, --ocpus or --memory');
  const client = await connect(context);
  const { id } = await findInstance(client, idOrName);
  const isSized = ocpus !== undefined || memory !== undefined;
  const json = { name, shape, ...(isSized && { shapeConfig: { ocpus, memoryInGBs: memory } }) };
  await printInstance(context, await client.json<Instance>('PATCH', instancePath(id), { json }));
}
