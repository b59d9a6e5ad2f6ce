import { CommandError } from '../errors/command-error.ts';
import type { Compartment } from './api.ts';
import type { ServiceClient } from './client.ts';

/** A compartment with its names from below the root, such as `work/test`; `/` for the root. */
export interface PlacedCompartment extends Compartment {
  readonly path: string;
}

/** All compartments that one may see, by path. */
export async function listCompartments(client: ServiceClient): Promise<PlacedCompartment[]> {
  const all = await Array.fromAsync(client.items<Compartment>('/compartments'));
  const byId = new Map(all.map((each) => [each.id, each]));
  const pathOf = ({ parentId, name }: Compartment): string => {
    const parent = parentId === null ? undefined : byId.get(parentId);
    if (parent === undefined) return '/';
    const above = pathOf(parent);
    return above === '/' ? name : `${above}/${name}`;
  };
  return all
    .map((each) => ({ ...each, path: pathOf(each) }))
    .sort((a, b) => (a.path < b.path ? -1 : Number(a.path > b.path)));
}

/** The one that is called so, by path, id or OCID. Throws NOT_FOUND. */
export async function findCompartment(client: ServiceClient, called: string): Promise<PlacedCompartment> {
  const all = await listCompartments(client);
  const found = all.find(({ path, id, ocid }) => [path, id, ocid].includes(called));
  if (found !== undefined) return found;
  throw new CommandError('NOT_FOUND', `there is no compartment ${called}`, {
    hint: 'see gantry compartment list',
  });
}
