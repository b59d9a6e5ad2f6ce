import type { TenancyRow, UserRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

/** False when a tenancy of that name exists. */
export async function insertTenancy(queries: Queries, row: TenancyRow): Promise<boolean> {
  const inserted = await queries
    .insertInto('tenancies')
    .values(row)
    .onConflict((conflict) => conflict.column('name').doNothing())
    .returning('id')
    .executeTakeFirst();
  return inserted !== undefined;
}

export function findTenancyByName(queries: Queries, name: string): Promise<TenancyRow | undefined> {
  return queries.selectFrom('tenancies').selectAll().where('name', '=', name).executeTakeFirst();
}

/** False when the tenancy has a user of that name. */
export async function insertUser(queries: Queries, row: UserRow): Promise<boolean> {
  const inserted = await queries
    .insertInto('users')
    .values(row)
    .onConflict((conflict) => conflict.columns(['tenancy_id', 'name']).doNothing())
    .returning('id')
    .executeTakeFirst();
  return inserted !== undefined;
}

export function findUser(queries: Queries, id: string): Promise<UserRow | undefined> {
  return queries.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst();
}

export function findUserByName(
  queries: Queries,
  tenancyId: string,
  name: string,
): Promise<UserRow | undefined> {
  return queries
    .selectFrom('users')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('name', '=', name)
    .executeTakeFirst();
}
