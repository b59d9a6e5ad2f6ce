import type { CompartmentRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

export async function insertCompartment(queries: Queries, row: CompartmentRow): Promise<void> {
  await queries.insertInto('compartments').values(row).execute();
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
