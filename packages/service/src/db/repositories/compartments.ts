import type { Updateable } from 'kysely';
import type { CompartmentRow } from '../schema.ts';
import { forKeyShare, forUpdate, inTransaction, type Queries } from '../transactions.ts';

/** False when the parent has one of that name. */
export async function insertCompartment(queries: Queries, row: CompartmentRow): Promise<boolean> {
  const inserted = await queries
    .insertInto('compartments')
    .values(row)
    .onConflict((conflict) =>
      conflict.columns(['parent_id', 'name']).where('deleted_at_ms', 'is', null).doNothing(),
    )
    .returning('id')
    .executeTakeFirst();
  return inserted !== undefined;
}

/** The compartment, deleted ones too. */
export function findCompartment(
  queries: Queries,
  tenancyId: string,
  id: string,
): Promise<CompartmentRow | undefined> {
  return queries
    .selectFrom('compartments')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .executeTakeFirst();
}

/** A tenancy's whole tree, without what was deleted. */
export function liveCompartments(
  queries: Queries,
  tenancyId: string,
): Promise<Pick<CompartmentRow, 'id' | 'parent_id'>[]> {
  return queries
    .selectFrom('compartments')
    .select(['id', 'parent_id'])
    .where('tenancy_id', '=', tenancyId)
    .where('deleted_at_ms', 'is', null)
    .execute();
}

/** A tenancy's compartments, oldest first, deleted ones too. */
export function listCompartments(queries: Queries, tenancyId: string): Promise<CompartmentRow[]> {
  return queries
    .selectFrom('compartments')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .orderBy('id')
    .execute();
}

/** Keeps a compartment from being deleted until the transaction ends. False when it was deleted or never was. */
export async function holdCompartment(transaction: Queries, tenancyId: string, id: string): Promise<boolean> {
  const query = transaction
    .selectFrom('compartments')
    .select('id')
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .where('deleted_at_ms', 'is', null);
  return (await forKeyShare(transaction, query).executeTakeFirst()) !== undefined;
}

/** Keeps others from changing it until the transaction ends. */
export async function lockCompartment(transaction: Queries, id: string): Promise<void> {
  await forUpdate(
    transaction,
    transaction.selectFrom('compartments').select('id').where('id', '=', id),
  ).execute();
}

/** Writes these columns and raises the version. */
export async function updateCompartment(
  queries: Queries,
  id: string,
  changes: Updateable<CompartmentRow>,
): Promise<void> {
  await queries
    .updateTable('compartments')
    .set((expression) => ({ ...changes, version: expression('version', '+', 1) }))
    .where('id', '=', id)
    .execute();
}

/** Whether the parent has another of that name. */
export async function isNameTaken(
  queries: Queries,
  parentId: string,
  name: string,
  exceptId: string,
): Promise<boolean> {
  const other = await queries
    .selectFrom('compartments')
    .select('id')
    .where('parent_id', '=', parentId)
    .where('name', '=', name)
    .where('id', '!=', exceptId)
    .where('deleted_at_ms', 'is', null)
    .executeTakeFirst();
  return other !== undefined;
}

const CONTENTS = [
  { kind: 'a bucket', table: 'buckets', stays: false },
  { kind: 'a tag namespace', table: 'tag_namespaces', stays: false },
  { kind: 'an image', table: 'images', stays: true },
  { kind: 'an instance', table: 'instances', stays: true },
  { kind: 'a volume', table: 'volumes', stays: true },
] as const;

/**
 * Marks a compartment as deleted unless it holds something; then it gives what. Grants on it end with it.
 */
export function deleteCompartment(queries: Queries, id: string, nowMs: number): Promise<string | undefined> {
  return inTransaction(queries, async (transaction) => {
    // Who puts something into it holds its key: from here on that waits, then finds it deleted.
    await lockCompartment(transaction, id);
    const child = await transaction
      .selectFrom('compartments')
      .select('id')
      .where('parent_id', '=', id)
      .where('deleted_at_ms', 'is', null)
      .limit(1)
      .executeTakeFirst();
    if (child !== undefined) return 'a compartment';
    for (const { kind, table, stays } of CONTENTS) {
      const content = await transaction
        .selectFrom(table as 'images')
        .select('id')
        .where('compartment_id', '=', id)
        // Rows of what was deleted stay readable for a while.
        .$if(stays, (query) => query.where('deleted_at_ms', 'is', null))
        .limit(1)
        .executeTakeFirst();
      if (content !== undefined) return kind;
    }
    await transaction.deleteFrom('grants').where('compartment_id', '=', id).execute();
    await updateCompartment(transaction, id, { deleted_at_ms: nowMs });
    return undefined;
  });
}
