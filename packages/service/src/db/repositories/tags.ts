import { sql, type Updateable } from 'kysely';
import { type Page, toPage } from '../page.ts';
import type { TagNamespaceRow, TagRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

/** False when the tenancy has a namespace of that name, whatever its case. */
export async function insertTagNamespace(queries: Queries, row: TagNamespaceRow): Promise<boolean> {
  const inserted = await queries
    .insertInto('tag_namespaces')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .returning('id')
    .executeTakeFirst();
  return inserted !== undefined;
}

export function findTagNamespace(
  queries: Queries,
  tenancyId: string,
  id: string,
): Promise<TagNamespaceRow | undefined> {
  return queries
    .selectFrom('tag_namespaces')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .executeTakeFirst();
}

/** By its name, whatever the case. */
export function findTagNamespaceByName(
  queries: Queries,
  tenancyId: string,
  name: string,
): Promise<TagNamespaceRow | undefined> {
  return queries
    .selectFrom('tag_namespaces')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where(sql`lower(name)`, '=', name.toLowerCase())
    .executeTakeFirst();
}

/** Namespaces of these compartments, oldest first; the cursor is an id. */
export async function listTagNamespaces(
  queries: Queries,
  listing: { compartmentIds: readonly string[]; startAfter?: string | undefined; limit: number },
): Promise<Page<TagNamespaceRow>> {
  const { compartmentIds, startAfter, limit } = listing;
  const rows = await queries
    .selectFrom('tag_namespaces')
    .selectAll()
    .where('compartment_id', 'in', compartmentIds)
    .$if(startAfter !== undefined, (query) => query.where('id', '>', startAfter ?? ''))
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => row.id);
}

export async function updateTagNamespace(
  queries: Queries,
  id: string,
  changes: Updateable<TagNamespaceRow>,
): Promise<void> {
  await queries.updateTable('tag_namespaces').set(changes).where('id', '=', id).execute();
}

/** False when the namespace has a key of that name, whatever its case. */
export async function insertTag(queries: Queries, row: TagRow): Promise<boolean> {
  const inserted = await queries
    .insertInto('tags')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .returning('id')
    .executeTakeFirst();
  return inserted !== undefined;
}

/** By its name, whatever the case. */
export function findTag(queries: Queries, tagNamespaceId: string, name: string): Promise<TagRow | undefined> {
  return queries
    .selectFrom('tags')
    .selectAll()
    .where('tag_namespace_id', '=', tagNamespaceId)
    .where(sql`lower(name)`, '=', name.toLowerCase())
    .executeTakeFirst();
}

/** A namespace's keys, oldest first; the cursor is an id. */
export async function listTags(
  queries: Queries,
  listing: { tagNamespaceId: string; startAfter?: string | undefined; limit: number },
): Promise<Page<TagRow>> {
  const { tagNamespaceId, startAfter, limit } = listing;
  const rows = await queries
    .selectFrom('tags')
    .selectAll()
    .where('tag_namespace_id', '=', tagNamespaceId)
    .$if(startAfter !== undefined, (query) => query.where('id', '>', startAfter ?? ''))
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => row.id);
}

/** Writes these columns and raises the version. */
export async function updateTag(queries: Queries, id: string, changes: Updateable<TagRow>): Promise<void> {
  await queries
    .updateTable('tags')
    .set((expression) => ({ ...changes, version: expression('version', '+', 1) }))
    .where('id', '=', id)
    .execute();
}
