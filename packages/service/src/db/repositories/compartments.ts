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
