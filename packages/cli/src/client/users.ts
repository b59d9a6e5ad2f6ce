import { CommandError } from '../errors/command-error.ts';
import type { User } from './api.ts';
import type { ServiceClient } from './client.ts';

/** The user that is called so, by name, id or OCID. Throws NOT_FOUND. */
export async function findUser(client: ServiceClient, called: string): Promise<User> {
  const users = await Array.fromAsync(client.items<User>('/users'));
  const found = users.find(({ name, id, ocid }) => [name, id, ocid].includes(called));
  if (found !== undefined) return found;
  throw new CommandError('NOT_FOUND', `there is no user ${called}`, { hint: 'see gantry user list' });
}
