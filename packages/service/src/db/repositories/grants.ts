import type { GrantRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

export async function insertGrant(queries: Queries, row: GrantRow): Promise<void> {
  await queries.insertInto('grants').values(row).execute();
}

/** All grants of a user. */
export function listGrants(queries: Queries, userId: string): Promise<GrantRow[]> {
  return queries.selectFrom('grants').selectAll().where('user_id', '=', userId).orderBy('id').execute();
}

/** False when the tenancy has no such grant. */
export async function deleteGrant(queries: Queries, tenancyId: string, id: string): Promise<boolean> {
  const deleted = await queries
    .deleteFrom('grants')
    .where('tenancy_id', '=', tenancyId)
    .where('id', '=', id)
    .returning('id')
    .executeTakeFirst();
  return deleted !== undefined;
}
