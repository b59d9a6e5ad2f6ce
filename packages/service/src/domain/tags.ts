import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { findTag, findTagNamespaceByName } from '../db/repositories/tags.ts';
import type { TagColumns, TagNamespaceRow } from '../db/schema.ts';
import type { Access } from './access.ts';
import { DomainError } from './errors.ts';

/** A value of a defined tag. OCI's are text; the SDK lets others through. */
export type TagValue = string | number | boolean;

/** What a user says of a resource: free-form tags, and tags that were defined beforehand. */
export interface Tags {
  readonly freeform: Readonly<Record<string, string>>;
  /** Namespace, key, value. */
  readonly defined: Readonly<Record<string, Readonly<Record<string, TagValue>>>>;
}

export const NO_TAGS: Tags = { freeform: {}, defined: {} };

// Oracle's documentation of the Tagging service, "Limits on Tags".
const FREEFORM_MAX = 10;
const DEFINED_MAX = 64;
const NAME_CHARACTERS_MAX = 100;
const VALUE_CHARACTERS_MAX = 256;
/** Printable ASCII without dots and spaces, which part names in policies and variables. */
const NAME = /^[!-\-/-~]+$/;

/** The tags of a row. */
export function tagsOf(row: TagColumns): Tags {
  return { freeform: JSON.parse(row.freeform_tags_json), defined: JSON.parse(row.defined_tags_json) };
}

/** The row's columns of tags that were checked. */
export function tagColumns({ freeform, defined }: Tags): TagColumns {
  return { freeform_tags_json: JSON.stringify(freeform), defined_tags_json: JSON.stringify(defined) };
}

/** Throws INVALID for what is no name of a tag or a tag namespace. */
export function requireTagName(name: string): void {
  if (name.length <= NAME_CHARACTERS_MAX && NAME.test(name)) return;
  throw new DomainError('INVALID', `${JSON.stringify(name)} cannot be the name of a tag`, {
    hint: `take 1 to ${NAME_CHARACTERS_MAX} printable ASCII characters without spaces and dots`,
  });
}

/** Decides which tags a resource may get. */
export class TagPolicy {
  readonly #database: Database;
  readonly #access: Access;

  constructor(database: Database, access: Access) {
    this.#database = database;
    this.#access = access;
  }

  /**
   * Tags for a resource that the principal may create or change, as they were sent. Free-form tags are free; defined
   * ones need the grant to use their namespace's compartment, and a value that their definition has. What `before` has
   * already is not asked for again: it may be of a tag that was retired since, or of another user. A kind of tags that
   * is undefined stays as it was before. Throws INVALID.
   */
  async check(
    principal: Principal,
    sent: {
      readonly freeform?: Tags['freeform'] | undefined;
      readonly defined?: Tags['defined'] | undefined;
    },
    before: Tags = NO_TAGS,
  ): Promise<Tags> {
    const { freeform = before.freeform, defined = before.defined } = sent;
    requireFreeform(freeform);
    const pairs = Object.entries(defined).flatMap(([namespace, tags]) =>
      Object.entries(tags).map(([key, value]) => ({ namespace, key, value })),
    );
    if (pairs.length > DEFINED_MAX) throw tooMany('defined', DEFINED_MAX);
    const namespaces = new Map<string, TagNamespaceRow>();
    for (const { namespace, key, value } of pairs) {
      if (Object.hasOwn(before.defined, namespace) && before.defined[namespace]?.[key] === value) continue;
      requireValue(`${namespace}.${key}`, String(value));
      const known = namespaces.get(namespace) ?? (await this.#usable(principal, namespace));
      namespaces.set(namespace, known);
      await this.#requireDefined(known, key, value);
    }
    return { freeform, defined };
  }

  /** The namespace, when it is there, may be used and is in use. */
  async #usable(principal: Principal, name: string): Promise<TagNamespaceRow> {
    const row = await findTagNamespaceByName(this.#database.kysely, principal.tenancyId, name);
    const isUsable =
      row !== undefined &&
      (await this.#access.allows(principal, 'use', 'tag-namespaces', row.compartment_id));
    if (!isUsable) {
      throw new DomainError('INVALID', `there is no tag namespace ${JSON.stringify(name)} that you may use`);
    }
    if (row.is_retired === 1) throw new DomainError('INVALID', `the tag namespace ${row.name} is retired`);
    return row;
  }

  async #requireDefined(namespace: TagNamespaceRow, key: string, value: TagValue): Promise<void> {
    const tag = await findTag(this.#database.kysely, namespace.id, key);
    const name = `${namespace.name}.${key}`;
    if (tag === undefined) throw new DomainError('INVALID', `the tag ${JSON.stringify(name)} is not defined`);
    if (tag.is_retired === 1) throw new DomainError('INVALID', `the tag ${name} is retired`);
    if (tag.validator_json === null) return;
    const values: readonly string[] = JSON.parse(tag.validator_json);
    if (values.includes(String(value))) return;
    throw new DomainError('INVALID', `${JSON.stringify(value)} is no value of the tag ${name}`, {
      hint: `it is one of ${values.join(', ')}`,
    });
  }
}

function requireFreeform(freeform: Tags['freeform']): void {
  const entries = Object.entries(freeform);
  if (entries.length > FREEFORM_MAX) throw tooMany('free-form', FREEFORM_MAX);
  for (const [key, value] of entries) {
    requireTagName(key);
    requireValue(key, value);
  }
}

function requireValue(name: string, value: string): void {
  if (value.length <= VALUE_CHARACTERS_MAX) return;
  throw new DomainError(
    'INVALID',
    `the value of the tag ${name} has more than ${VALUE_CHARACTERS_MAX} characters`,
  );
}

function tooMany(kind: string, max: number): DomainError {
  return new DomainError('INVALID', `a resource has at most ${max} ${kind} tags`);
}
