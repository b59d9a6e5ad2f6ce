import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { findCompartment, liveCompartments } from '../db/repositories/compartments.ts';
import { listGrants } from '../db/repositories/grants.ts';
import { findFirstTenancyId, findUser } from '../db/repositories/tenancies.ts';
import type { GrantResource, GrantRow, GrantVerb } from '../db/schema.ts';
import { DomainError } from './errors.ts';

/** What a grant can be about. */
export type Resource = Exclude<GrantResource, 'all'>;

const VERBS: readonly GrantVerb[] = ['inspect', 'read', 'use', 'manage'];
/** A tree this deep is no tree: OCI allows six levels of compartments. */
export const COMPARTMENT_DEPTH_MAX = 6;

/**
 * Who may do what. An administrator may do everything in the own tenancy; a member what grants on a compartment
 * or one above it say, where each verb includes those before it: inspect, read, use, manage (as in OCI's policies).
 * Nobody may do anything in a foreign tenancy. What may not be seen and what is not there look the same: callers
 * throw NOT_FOUND for both.
 */
export class Access {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async allows(
    principal: Principal,
    verb: GrantVerb,
    resource: Resource,
    compartmentId: string,
  ): Promise<boolean> {
    const path = await this.#pathTo(principal.tenancyId, compartmentId);
    if (path.length === 0) return false;
    if (principal.role === 'administrator') return true;
    const grants = await listGrants(this.#database.kysely, principal.userId);
    return grants.some((grant) => includes(grant, verb, resource) && path.includes(grant.compartment_id));
  }

  /** Throws what `refusal` makes unless it is allowed. */
  async require(
    principal: Principal,
    verb: GrantVerb,
    resource: Resource,
    compartmentId: string,
    refusal: () => Error,
  ): Promise<void> {
    if (!(await this.allows(principal, verb, resource, compartmentId))) throw refusal();
  }

  /** In which compartments it is allowed; undefined for all of the tenancy, without looking. */
  async where(
    principal: Principal,
    verb: GrantVerb,
    resource: Resource,
  ): Promise<readonly string[] | undefined> {
    if (principal.role === 'administrator') return undefined;
    const grants = await listGrants(this.#database.kysely, principal.userId);
    const allowed = new Set(
      grants.filter((grant) => includes(grant, verb, resource)).map((grant) => grant.compartment_id),
    );
    const tree = await liveCompartments(this.#database.kysely, principal.tenancyId);
    // What is allowed somewhere is allowed below: once around for every level.
    for (let level = 0; level < COMPARTMENT_DEPTH_MAX; level++) {
      for (const { id, parent_id: above } of tree) if (above !== null && allowed.has(above)) allowed.add(id);
    }
    return tree.filter(({ id }) => allowed.has(id)).map(({ id }) => id);
  }

  /** Throws `absent` to who may not even know of it, and FORBIDDEN to who may, and may not do this. */
  async demand(
    principal: Principal,
    verb: GrantVerb,
    resource: Resource,
    compartmentId: string,
    absent: () => Error,
  ): Promise<void> {
    if (await this.allows(principal, verb, resource, compartmentId)) return;
    if (!(await this.allows(principal, 'inspect', resource, compartmentId))) throw absent();
    throw new DomainError('FORBIDDEN', `this needs the grant to ${verb} ${resource} in this compartment`, {
      hint: 'ask an administrator of the tenancy for it',
    });
  }

  /** Whether this is an administrator of the first tenancy, who looks after the service as a whole. */
  async isOperator({ role, tenancyId }: Principal): Promise<boolean> {
    return role === 'administrator' && tenancyId === (await findFirstTenancyId(this.#database.kysely));
  }

  /** Throws FORBIDDEN with this message to all but the operator. */
  async requireOperator(principal: Principal, message: string): Promise<void> {
    if (!(await this.isOperator(principal))) throw new DomainError('FORBIDDEN', message);
  }

  /** Who a user is now, as a job or a pre-authenticated request asks on the user's behalf; undefined when gone. */
  async principalOf(userId: string): Promise<Principal | undefined> {
    const user = await findUser(this.#database.kysely, userId);
    return user === undefined ? undefined : { userId: user.id, tenancyId: user.tenancy_id, role: user.role };
  }

  /** The same for a job. Throws NOT_FOUND for a user who is gone. */
  async requirePrincipal(userId: string | undefined): Promise<Principal> {
    const principal = userId === undefined ? undefined : await this.principalOf(userId);
    if (principal !== undefined) return principal;
    throw new DomainError('NOT_FOUND', 'the user who asked for this is there no more');
  }

  /** The compartment and those above it, up to the root; empty when it is not the tenancy's or was deleted. */
  async #pathTo(tenancyId: string, compartmentId: string): Promise<string[]> {
    const path: string[] = [];
    for (let id: string | null = compartmentId; id !== null; ) {
      const compartment = await findCompartment(this.#database.kysely, tenancyId, id);
      if (compartment === undefined || compartment.deleted_at_ms !== null) return [];
      if (path.length > COMPARTMENT_DEPTH_MAX) return [];
      path.push(compartment.id);
      id = compartment.parent_id;
    }
    return path;
  }
}

function includes(grant: GrantRow, verb: GrantVerb, resource: Resource): boolean {
  const isEnough = VERBS.indexOf(grant.verb) >= VERBS.indexOf(verb);
  return isEnough && (grant.resource === 'all' || grant.resource === resource);
}
