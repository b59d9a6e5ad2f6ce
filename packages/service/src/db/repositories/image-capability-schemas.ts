import type { Updateable } from 'kysely';
import { type Page, toPage } from '../page.ts';
import type { ImageCapabilitySchemaRow } from '../schema.ts';
import { forUpdate, type Queries } from '../transactions.ts';

/** False when the image has a schema. */
export async function insertCapabilitySchema(
  queries: Queries,
  row: ImageCapabilitySchemaRow,
): Promise<boolean> {
  const inserted = await queries
    .insertInto('image_capability_schemas')
    .values(row)
    .onConflict((conflict) => conflict.column('image_id').doNothing())
    .returning('id')
    .executeTakeFirst();
  return inserted !== undefined;
}

export function findCapabilitySchema(
  queries: Queries,
  tenancyId: string,
  id: string,
): Promise<ImageCapabilitySchemaRow | undefined> {
  return queries
    .selectFrom('image_capability_schemas')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .executeTakeFirst();
}

/** The schema, which nothing changes until the transaction ends. */
export async function lockCapabilitySchema(
  transaction: Queries,
  tenancyId: string,
  id: string,
): Promise<ImageCapabilitySchemaRow | undefined> {
  const row = transaction.selectFrom('image_capability_schemas').select('id').where('id', '=', id);
  await forUpdate(transaction, row).execute();
  return findCapabilitySchema(transaction, tenancyId, id);
}

export function findSchemaOfImage(
  queries: Queries,
  imageId: string,
): Promise<ImageCapabilitySchemaRow | undefined> {
  return queries
    .selectFrom('image_capability_schemas')
    .selectAll()
    .where('image_id', '=', imageId)
    .executeTakeFirst();
}

export interface CapabilitySchemaListing {
  readonly tenancyId: string;
  readonly compartmentIds?: readonly string[] | undefined;
  readonly imageId?: string | undefined;
  readonly name?: string | undefined;
  /** A cursor: the id of the schema before. */
  readonly startAfter?: string | undefined;
  readonly order?: 'asc' | 'desc' | undefined;
  readonly limit: number;
}

/** By the time of their making, newest first unless asked otherwise. */
export async function listCapabilitySchemas(
  queries: Queries,
  listing: CapabilitySchemaListing,
): Promise<Page<ImageCapabilitySchemaRow>> {
  const { tenancyId, compartmentIds, imageId, name, startAfter, order = 'desc', limit } = listing;
  let query = queries.selectFrom('image_capability_schemas').selectAll().where('tenancy_id', '=', tenancyId);
  if (compartmentIds !== undefined) query = query.where('compartment_id', 'in', [...compartmentIds]);
  if (imageId !== undefined) query = query.where('image_id', '=', imageId);
  if (name !== undefined) query = query.where('name', '=', name);
  if (startAfter !== undefined) query = query.where('id', order === 'asc' ? '>' : '<', startAfter);
  const rows = await query
    .orderBy('id', order)
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => row.id);
}

export function updateCapabilitySchema(
  queries: Queries,
  id: string,
  changes: Updateable<ImageCapabilitySchemaRow>,
): Promise<ImageCapabilitySchemaRow> {
  return queries
    .updateTable('image_capability_schemas')
    .set((row) => ({ ...changes, version: row('version', '+', 1) }))
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow();
}

export async function deleteCapabilitySchema(queries: Queries, id: string): Promise<void> {
  await queries.deleteFrom('image_capability_schemas').where('id', '=', id).execute();
}
