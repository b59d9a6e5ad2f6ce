import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import { type Page, toPage } from '../db/page.ts';
import {
  findTag,
  findTagNamespace,
  insertTag,
  insertTagNamespace,
  listTagNamespaces,
  listTags,
  updateTag,
  updateTagNamespace,
} from '../db/repositories/tags.ts';
import type { TagNamespaceRow, TagRow } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import type { Access } from './access.ts';
import { type Compartments, requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import type { EtagList } from './object-conditions.ts';
import { requireTagName, type TagPolicy, type Tags, tagColumns, tagsOf } from './tags.ts';
import { requireVersion } from './versions.ts';

/** A set of tags that somebody looks after. */
export interface TagNamespace {
  readonly id: string;
  readonly compartmentId: string;
  readonly name: string;
  readonly description: string;
  readonly isRetired: boolean;
  readonly tags: Tags;
  readonly createdAtMs: number;
}

/** What a resource may be tagged with, under a name. */
export interface TagDefinition {
  readonly id: string;
  readonly namespace: TagNamespace;
  readonly name: string;
  readonly description: string;
  readonly isRetired: boolean;
  /** The values that it may have; undefined for any. */
  readonly values: readonly string[] | undefined;
  readonly tags: Tags;
  readonly version: number;
  readonly createdAtMs: number;
}

export interface TagNamespaceChanges {
  readonly description?: string | undefined;
  readonly isRetired?: boolean | undefined;
  readonly tags?: Parameters<TagPolicy['check']>[1] | undefined;
}
/** `values`: null for any. */
export interface TagDefinitionChanges extends TagNamespaceChanges {
  readonly values?: readonly string[] | null | undefined;
}

export interface Paging {
  readonly startAfter?: string | undefined;
  readonly limit: number;
}

const DESCRIPTION_CHARACTERS_MAX = 400;
// Oracle's documentation of the Tagging service: a list of values has 10 (and may be raised); a value 256 characters.
const VALUES_MAX = 100;
const VALUE_CHARACTERS_MAX = 256;

/** Tag namespaces and the tags that they define, as grants on their compartments allow. */
export class TagNamespaces {
  readonly #database: Database;
  readonly #access: Access;
  readonly #compartments: Compartments;
  readonly #policy: TagPolicy;

  constructor(database: Database, access: Access, compartments: Compartments, policy: TagPolicy) {
    this.#database = database;
    this.#access = access;
    this.#compartments = compartments;
    this.#policy = policy;
  }

  /** Those of a compartment, or of all below it too. Throws NOT_FOUND. */
  async list(
    principal: Principal,
    { compartmentId, inSubtree, ...paging }: Paging & { compartmentId: string; inSubtree: boolean },
  ): Promise<Page<TagNamespace>> {
    const { id } = await this.#compartments.get(principal, compartmentId);
    const below = inSubtree
      ? await this.#compartments.list(principal, { below: compartmentId, inSubtree })
      : [];
    const compartmentIds: string[] = [];
    for (const candidate of [id, ...below.map((each) => each.id)]) {
      if (await this.#access.allows(principal, 'inspect', 'tag-namespaces', candidate)) {
        compartmentIds.push(candidate);
      }
    }
    if (compartmentIds.length === 0) return toPage([], paging.limit, () => '');
    const page = await listTagNamespaces(this.#database.kysely, { compartmentIds, ...paging });
    return { items: page.items.map(toNamespace), next: page.next };
  }

  /** Throws NOT_FOUND. */
  async get(principal: Principal, id: string): Promise<TagNamespace> {
    return toNamespace(await this.#see(principal, id));
  }

  /** Throws NOT_FOUND, FORBIDDEN, INVALID, CONFLICT for a taken name. */
  async create(
    principal: Principal,
    compartmentId: string,
    { name, description = '', tags = {} }: TagNamespaceChanges & { readonly name: string },
  ): Promise<TagNamespace> {
    await this.#compartments.get(principal, compartmentId);
    await this.#access.demand(principal, 'manage', 'tag-namespaces', compartmentId, notAllowed);
    requireTagName(name);
    requireDescription(description);
    const row: TagNamespaceRow = {
      id: newId('tns'),
      tenancy_id: principal.tenancyId,
      compartment_id: compartmentId,
      name,
      description,
      is_retired: 0,
      ...tagColumns(await this.#policy.check(principal, tags)),
      created_at_ms: Date.now(),
    };
    return inTransaction(this.#database.kysely, async (transaction) => {
      await requireCompartment(transaction, principal.tenancyId, compartmentId);
      if (!(await insertTagNamespace(transaction, row))) throw taken('tag namespace', name);
      return toNamespace(row);
    });
  }

  /** Throws NOT_FOUND, FORBIDDEN, INVALID. */
  async update(principal: Principal, id: string, changes: TagNamespaceChanges): Promise<TagNamespace> {
    const row = await this.#manage(principal, id);
    const { description = row.description, isRetired = row.is_retired === 1, tags = {} } = changes;
    requireDescription(description);
    const columns = {
      description,
      is_retired: Number(isRetired),
      ...tagColumns(await this.#policy.check(principal, tags, tagsOf(row))),
    };
    await updateTagNamespace(this.#database.kysely, id, columns);
    return toNamespace({ ...row, ...columns });
  }

  /** The tags that a namespace defines. Throws NOT_FOUND. */
  async listTags(principal: Principal, id: string, paging: Paging): Promise<Page<TagDefinition>> {
    const namespace = toNamespace(await this.#see(principal, id));
    const page = await listTags(this.#database.kysely, { tagNamespaceId: id, ...paging });
    return { items: page.items.map((row) => toDefinition(namespace, row)), next: page.next };
  }

  /** Throws NOT_FOUND. */
  async getTag(principal: Principal, id: string, name: string): Promise<TagDefinition> {
    const namespace = await this.#see(principal, id);
    return toDefinition(toNamespace(namespace), await this.#findTag(namespace, name));
  }

  /** Throws NOT_FOUND, FORBIDDEN, INVALID, CONFLICT for a taken name. */
  async createTag(
    principal: Principal,
    id: string,
    { name, description = '', values, tags = {} }: TagDefinitionChanges & { readonly name: string },
  ): Promise<TagDefinition> {
    const namespace = await this.#manage(principal, id);
    requireTagName(name);
    requireDescription(description);
    const row: TagRow = {
      id: newId('tag'),
      tag_namespace_id: id,
      name,
      description,
      is_retired: 0,
      validator_json: validatorJson(values ?? null),
      ...tagColumns(await this.#policy.check(principal, tags)),
      version: 1,
      created_at_ms: Date.now(),
    };
    if (!(await insertTag(this.#database.kysely, row))) throw taken('tag', name);
    return toDefinition(toNamespace(namespace), row);
  }

  /** Throws NOT_FOUND, FORBIDDEN, INVALID, PRECONDITION_FAILED. */
  async updateTag(
    principal: Principal,
    id: string,
    name: string,
    changes: TagDefinitionChanges,
    ifMatch: EtagList | undefined,
  ): Promise<TagDefinition> {
    const namespace = await this.#manage(principal, id);
    const row = await this.#findTag(namespace, name);
    requireVersion(ifMatch, row.version);
    const { description = row.description, isRetired = row.is_retired === 1, values, tags = {} } = changes;
    requireDescription(description);
    const columns = {
      description,
      is_retired: Number(isRetired),
      validator_json: values === undefined ? row.validator_json : validatorJson(values),
      ...tagColumns(await this.#policy.check(principal, tags, tagsOf(row))),
    };
    await updateTag(this.#database.kysely, row.id, columns);
    return toDefinition(toNamespace(namespace), { ...row, ...columns, version: row.version + 1 });
  }

  async #manage(principal: Principal, id: string): Promise<TagNamespaceRow> {
    const row = await this.#see(principal, id);
    await this.#access.demand(principal, 'manage', 'tag-namespaces', row.compartment_id, notAllowed);
    return row;
  }

  async #see(principal: Principal, id: string): Promise<TagNamespaceRow> {
    const row = await findTagNamespace(this.#database.kysely, principal.tenancyId, id);
    const absent = () => new DomainError('NOT_FOUND', `there is no tag namespace ${id}`);
    if (row === undefined) throw absent();
    await this.#access.require(principal, 'inspect', 'tag-namespaces', row.compartment_id, absent);
    return row;
  }

  async #findTag(namespace: TagNamespaceRow, name: string): Promise<TagRow> {
    const row = await findTag(this.#database.kysely, namespace.id, name);
    if (row !== undefined) return row;
    throw new DomainError('NOT_FOUND', `there is no tag ${name} in ${namespace.name}`);
  }
}

function validatorJson(values: readonly string[] | null): string | null {
  if (values === null) return null;
  const fit = values.every((value) => value !== '' && value.length <= VALUE_CHARACTERS_MAX);
  if (fit && values.length > 0 && values.length <= VALUES_MAX) return JSON.stringify(values);
  throw new DomainError(
    'INVALID',
    `a list of values has 1 to ${VALUES_MAX}, each of 1 to ${VALUE_CHARACTERS_MAX} characters`,
  );
}

function requireDescription(description: string): void {
  if (description.length <= DESCRIPTION_CHARACTERS_MAX) return;
  throw new DomainError('INVALID', `a description has at most ${DESCRIPTION_CHARACTERS_MAX} characters`);
}

function taken(what: string, name: string): DomainError {
  return new DomainError('CONFLICT', `there is a ${what} ${name} already`);
}

function notAllowed(): DomainError {
  return new DomainError('FORBIDDEN', 'this needs the grant to manage tag namespaces in this compartment');
}

function toNamespace(row: TagNamespaceRow): TagNamespace {
  return {
    id: row.id,
    compartmentId: row.compartment_id,
    name: row.name,
    description: row.description,
    isRetired: row.is_retired === 1,
    tags: tagsOf(row),
    createdAtMs: row.created_at_ms,
  };
}

function toDefinition(namespace: TagNamespace, row: TagRow): TagDefinition {
  return {
    id: row.id,
    namespace,
    name: row.name,
    description: row.description,
    isRetired: row.is_retired === 1,
    values: row.validator_json === null ? undefined : JSON.parse(row.validator_json),
    tags: tagsOf(row),
    version: row.version,
    createdAtMs: row.created_at_ms,
  };
}
