import { CommandError } from '../errors/command-error.ts';
import type { Instance } from './api.ts';
import type { ServiceClient } from './client.ts';
import { apiPath } from './paths.ts';

export function instancePath(id: string): string {
  return apiPath('instances', id);
}

/** The instance with this id, or the only one of this name that is not terminated. Throws NOT_FOUND, or CONFLICT for several. */
export async function findInstance(client: ServiceClient, idOrName: string): Promise<Instance> {
  if (/^ins-[0-9a-f]{32}$/.test(idOrName)) return client.json<Instance>('GET', instancePath(idOrName));
  const named: Instance[] = [];
  for await (const instance of client.items<Instance>('/instances', { name: idOrName })) {
    if (instance.name === idOrName && instance.state !== 'TERMINATED') named.push(instance);
  }
  const [only, ...others] = named;
  if (only === undefined) {
    throw new CommandError(
      'NOT_FOUND',
      `there is no instance with the id or name ${JSON.stringify(idOrName)}`,
      { hint: 'see gantry instance list' },
    );
  }
  if (others.length === 0) return only;
  throw new CommandError('CONFLICT', `${named.length} instances are named ${JSON.stringify(idOrName)}`, {
    hint: `use the id of one: ${named.map(({ id }) => id).join(', ')}`,
  });
}
