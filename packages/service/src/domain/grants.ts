import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import { deleteGrant, insertGrant, listGrants } from '../db/repositories/grants.ts';
import type { GrantResource, GrantRow, GrantVerb } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import { requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import { requireAdministrator, type Users } from './users.ts';

export const grantVerbs: readonly ['inspect', 'read', 'use', 'manage'] = ['inspect', 'read', 'use', 'manage'];
export const grantResources: readonly [GrantResource, ...GrantResource[]] = [
  'all',
  'compartments',
  'users',
  'tag-namespaces',
  'buckets',
  'objects',
  'images',
  'instances',
  'volumes',
];

/** What a member may do with a kind of resource in a compartment and all below it. */
export interface Grant {
  readonly id: string;
  readonly userId: string;
  readonly verb: GrantVerb;
  readonly resource: GrantResource;
  readonly compartmentId: string;
  readonly createdAtMs: number;
}

/** What users may do. Who sees a user sees its grants; administrators change them. */
export class Grants {
  readonly #database: Database;
  readonly #users: Users;

  constructor(database: Database, users: Users) {
    this.#database = database;
    this.#users = users;
  }

  /** Oldest first. Throws NOT_FOUND. */
  async list(principal: Principal, userId: string): Promise<Grant[]> {
    await this.#users.get(principal, userId);
    return (await listGrants(this.#database.kysely, userId)).map(toGrant);
  }

  /** Gives a grant; one that the user has already is given back. Throws NOT_FOUND, FORBIDDEN. */
  async give(
    principal: Principal,
    { userId, verb, resource, compartmentId }: Omit<Grant, 'id' | 'createdAtMs'>,
  ): Promise<Grant> {
    await this.#users.get(principal, userId);
    requireAdministrator(principal);
    return inTransaction(this.#database.kysely, async (transaction) => {
      await requireCompartment(transaction, principal.tenancyId, compartmentId);
      const same = (await listGrants(transaction, userId)).find(
        (row) => row.verb === verb && row.resource === resource && row.compartment_id === compartmentId,
      );
      if (same !== undefined) return toGrant(same);
      const row: GrantRow = {
        id: newId('grt'),
        tenancy_id: principal.tenancyId,
        user_id: userId,
        verb,
        resource,
        compartment_id: compartmentId,
        created_at_ms: Date.now(),
      };
      await insertGrant(transaction, row);
      return toGrant(row);
    });
  }

  /** Takes a grant back. Throws NOT_FOUND, FORBIDDEN. */
  async revoke(principal: Principal, userId: string, grantId: string): Promise<void> {
    const grants = await this.list(principal, userId);
    requireAdministrator(principal);
    const isThere = grants.some(({ id }) => id === grantId);
    if (isThere && (await deleteGrant(this.#database.kysely, principal.tenancyId, grantId))) return;
    throw new DomainError('NOT_FOUND', `the user has no grant ${grantId}`);
  }
}

function toGrant(row: GrantRow): Grant {
  return {
    id: row.id,
    userId: row.user_id,
    verb: row.verb,
    resource: row.resource,
    compartmentId: row.compartment_id,
    createdAtMs: row.created_at_ms,
  };
}
