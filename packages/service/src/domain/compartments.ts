import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import {
  deleteCompartment,
  findCompartment,
  holdCompartment,
  insertCompartment,
  isNameTaken,
  listCompartments,
  lockCompartment,
  updateCompartment,
} from '../db/repositories/compartments.ts';
import { listGrants } from '../db/repositories/grants.ts';
import type { CompartmentRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import { type Access, COMPARTMENT_DEPTH_MAX } from './access.ts';
import { DomainError } from './errors.ts';
import type { EtagList } from './object-conditions.ts';
import { type TagPolicy, type Tags, tagColumns, tagsOf } from './tags.ts';
import { requireVersion } from './versions.ts';

/** A node of a tenancy's tree: what resources are in, and what grants are about. */
export interface Compartment {
  readonly id: string;
  /** Undefined for the root, whose id is its tenancy's. */
  readonly parentId: string | undefined;
  readonly name: string;
  readonly description: string;
  readonly tags: Tags;
  readonly version: number;
  readonly createdAtMs: number;
  /** Deleted ones stay readable. */
  readonly deletedAtMs: number | undefined;
}

export interface CompartmentChanges {
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  readonly tags?: Parameters<TagPolicy['check']>[1] | undefined;
}

// Oracle's API reference, CreateCompartmentDetails.
const NAME = /^[A-Za-z0-9._-]{1,100}$/;
const DESCRIPTION_CHARACTERS_MAX = 400;

/** A tenancy's tree of compartments. */
export class Compartments {
  readonly #database: Database;
  readonly #access: Access;
  readonly #tags: TagPolicy;

  constructor(database: Database, access: Access, tags: TagPolicy) {
    this.#database = database;
    this.#access = access;
    this.#tags = tags;
  }

  /**
   * The compartments right below one, or all below it, oldest first: those in which, above which or below which the
   * principal may do something. Throws NOT_FOUND.
   */
  async list(
    principal: Principal,
    { below, inSubtree = false, deleted = false }: { below: string; inSubtree?: boolean; deleted?: boolean },
  ): Promise<Compartment[]> {
    const all = await listCompartments(this.#database.kysely, principal.tenancyId);
    const isSeen = await this.#visible(principal, all);
    if (!all.some((row) => row.id === below && isSeen(row))) throw noCompartment(below);
    const wanted = new Set([below]);
    // A child is made after its parent and comes after it.
    for (const row of all)
      if (inSubtree && row.parent_id !== null && wanted.has(row.parent_id)) wanted.add(row.id);
    return all
      .filter((row) => row.parent_id !== null && wanted.has(row.parent_id) && isSeen(row))
      .filter((row) => (row.deleted_at_ms !== null) === deleted)
      .map(toCompartment);
  }

  /** Also one that was deleted. Throws NOT_FOUND. */
  async get(principal: Principal, id: string): Promise<Compartment> {
    return toCompartment(await this.#see(principal, id));
  }

  /** Throws NOT_FOUND, FORBIDDEN, INVALID for a name that is none and a tree too deep, CONFLICT for a taken name. */
  async create(
    principal: Principal,
    parentId: string,
    { name, description = '', tags = {} }: CompartmentChanges & { readonly name: string },
  ): Promise<Compartment> {
    await this.#see(principal, parentId);
    await this.#demandManage(principal, parentId);
    requireTexts({ name, description });
    const row: CompartmentRow = {
      id: newId('cmp'),
      tenancy_id: principal.tenancyId,
      parent_id: parentId,
      name,
      description,
      ...tagColumns(await this.#tags.check(principal, tags)),
      version: 1,
      created_at_ms: Date.now(),
      deleted_at_ms: null,
    };
    return inTransaction(this.#database.kysely, async (transaction) => {
      await requireCompartment(transaction, principal.tenancyId, parentId);
      if ((await depthOf(transaction, principal.tenancyId, parentId)) >= COMPARTMENT_DEPTH_MAX) {
        throw new DomainError('INVALID', `compartments are at most ${COMPARTMENT_DEPTH_MAX} levels deep`);
      }
      if (!(await insertCompartment(transaction, row))) throw nameTaken(name);
      return toCompartment(row);
    });
  }

  /** Throws NOT_FOUND, FORBIDDEN, INVALID, CONFLICT for a taken name and what was deleted, and PRECONDITION_FAILED. */
  async update(
    principal: Principal,
    id: string,
    { name, description, tags = {} }: CompartmentChanges,
    ifMatch: EtagList | undefined,
  ): Promise<Compartment> {
    const seen = await this.#see(principal, id);
    await this.#demandManage(principal, id);
    requireTexts({ name: name ?? seen.name, description: description ?? seen.description }, seen);
    if (seen.parent_id === null && name !== undefined && name !== seen.name) {
      throw new DomainError('INVALID', 'the root compartment has the name of its tenancy');
    }
    const checked = await this.#tags.check(principal, tags, tagsOf(seen));
    return inTransaction(this.#database.kysely, async (transaction) => {
      await lockCompartment(transaction, seen.parent_id ?? id);
      await lockCompartment(transaction, id);
      const row = await findCompartment(transaction, principal.tenancyId, id);
      if (row === undefined || row.deleted_at_ms !== null) throw noCompartment(id);
      requireVersion(ifMatch, row.version);
      const isRenamed = name !== undefined && row.parent_id !== null;
      if (isRenamed && (await isNameTaken(transaction, row.parent_id ?? '', name, id))) throw nameTaken(name);
      const changes = {
        name: name ?? row.name,
        description: description ?? row.description,
        ...tagColumns(checked),
      };
      await updateCompartment(transaction, id, changes);
      return toCompartment({ ...row, ...changes, version: row.version + 1 });
    });
  }

  /** Throws NOT_FOUND, FORBIDDEN, CONFLICT while it holds anything, and PRECONDITION_FAILED. */
  async delete(principal: Principal, id: string, ifMatch: EtagList | undefined): Promise<void> {
    const seen = await this.#see(principal, id);
    if (seen.deleted_at_ms !== null) throw noCompartment(id);
    await this.#demandManage(principal, id);
    if (seen.parent_id === null) throw new DomainError('CONFLICT', 'the root compartment cannot be deleted');
    requireVersion(ifMatch, seen.version);
    const content = await deleteCompartment(this.#database.kysely, id, Date.now());
    if (content === undefined) return;
    throw new DomainError('CONFLICT', `the compartment ${seen.name} holds ${content}`, {
      hint: 'delete or move what it holds first',
    });
  }

  #demandManage(principal: Principal, id: string): Promise<void> {
    const refusal = () =>
      new DomainError('FORBIDDEN', 'this needs the grant to manage compartments in this compartment');
    return this.#access.demand(principal, 'manage', 'compartments', id, refusal);
  }

  async #see(principal: Principal, id: string): Promise<CompartmentRow> {
    const all = await listCompartments(this.#database.kysely, principal.tenancyId);
    const isSeen = await this.#visible(principal, all);
    const row = all.find((each) => each.id === id && isSeen(each));
    if (row === undefined) throw noCompartment(id);
    return row;
  }

  /** The root is everybody's; a grant makes its compartment visible, all below it, and the way to it. */
  async #visible(
    principal: Principal,
    all: readonly CompartmentRow[],
  ): Promise<(row: CompartmentRow) => boolean> {
    if (principal.role === 'administrator') return () => true;
    const grants = await listGrants(this.#database.kysely, principal.userId);
    const parents = new Map(all.map((row) => [row.id, row.parent_id]));
    const pathOf = (from: string): string[] => {
      const path: string[] = [];
      for (let id: string | null = from; id !== null; id = parents.get(id) ?? null) path.push(id);
      return path;
    };
    const granted = new Set(grants.map((grant) => grant.compartment_id));
    const ways = new Set([principal.tenancyId, ...[...granted].flatMap(pathOf)]);
    return ({ id }) => ways.has(id) || pathOf(id).some((above) => granted.has(above));
  }
}

/** Keeps a compartment of the tenancy from being deleted until the transaction ends. Throws NOT_FOUND. */
export async function requireCompartment(transaction: Queries, tenancyId: string, id: string): Promise<void> {
  if (!(await holdCompartment(transaction, tenancyId, id))) throw noCompartment(id);
}

/** How many compartments are above this one. */
async function depthOf(queries: Queries, tenancyId: string, id: string): Promise<number> {
  const row = await findCompartment(queries, tenancyId, id);
  return row?.parent_id == null ? 0 : 1 + (await depthOf(queries, tenancyId, row.parent_id));
}

/** What stood there before may stay: a root's name is its tenancy's. */
function requireTexts(
  { name, description }: { name: string; description: string },
  before?: CompartmentRow,
): void {
  if (name !== before?.name && !NAME.test(name)) {
    throw new DomainError('INVALID', `${JSON.stringify(name)} cannot be a compartment's name`, {
      hint: 'take 1 to 100 letters, digits, dots, hyphens and underscores',
    });
  }
  if (description.length > DESCRIPTION_CHARACTERS_MAX) {
    throw new DomainError('INVALID', `a description has at most ${DESCRIPTION_CHARACTERS_MAX} characters`);
  }
}

function nameTaken(name: string): DomainError {
  return new DomainError('CONFLICT', `there is a compartment ${name} already`);
}

export function noCompartment(id: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no compartment ${id}`);
}

function toCompartment(row: CompartmentRow): Compartment {
  return {
    id: row.id,
    parentId: row.parent_id ?? undefined,
    name: row.name,
    description: row.description,
    tags: tagsOf(row),
    version: row.version,
    createdAtMs: row.created_at_ms,
    deletedAtMs: row.deleted_at_ms ?? undefined,
  };
}
