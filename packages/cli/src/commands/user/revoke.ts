import type { Grant } from '../../client/api.ts';
import { connect } from '../../client/client.ts';
import { findCompartment } from '../../client/compartments.ts';
import { apiPath } from '../../client/paths.ts';
import { findUser } from '../../client/users.ts';
import type { Context } from '../../context.ts';
import { CommandError } from '../../errors/command-error.ts';
import { printable } from '../../output/printable.ts';

export async function run(
  context: Context,
  [called, verb, resource]: readonly [string, string, string],
  { compartment }: { readonly compartment: string },
): Promise<undefined> {
  const client = await connect(context);
  const { id, name } = await findUser(client, called);
  const place = await findCompartment(client, compartment);
  const grants = await Array.fromAsync(client.items<Grant>(apiPath('users', id, 'grants')));
  const grant = grants.find(
    (each) => each.verb === verb && each.resource === resource && each.compartmentId === place.id,
  );
  if (grant === undefined) {
    throw new CommandError('NOT_FOUND', `${name} has no grant to ${verb} ${resource} in ${place.path}`, {
      hint: `see gantry user show ${name}`,
    });
  }
  await client.json('DELETE', apiPath('users', id, 'grants', grant.id));
  await context.output.record({ revoked: grant.id }, [
    `${printable(name)} has lost the grant to ${verb} ${resource} in ${printable(place.path)}`,
  ]);
}
