import type { TenancyRow, UserRow } from '../schema.ts';
import { inTransaction, type Queries } from '../transactions.ts';

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

export function findTenancyByNamespace(queries: Queries, namespace: string): Promise<TenancyRow | undefined> {
  return queries.selectFrom('tenancies').selectAll().where('namespace', '=', namespace).executeTakeFirst();
}

export function findTenancy(queries: Queries, id: string): Promise<TenancyRow | undefined> {
  return queries.selectFrom('tenancies').selectAll().where('id', '=', id).executeTakeFirst();
}

/** All tenancies, oldest first: the first is the operator's. */
export function listTenancies(queries: Queries): Promise<TenancyRow[]> {
  return queries.selectFrom('tenancies').selectAll().orderBy('id').execute();
}

/** The tenancy that was made at the first start. */
export async function findFirstTenancyId(queries: Queries): Promise<string | undefined> {
  const row = await queries.selectFrom('tenancies').select('id').orderBy('id').limit(1).executeTakeFirst();
  return row?.id;
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

/** A tenancy's users in the byte order of their names. */
export function listUsers(queries: Queries, tenancyId: string): Promise<UserRow[]> {
  return queries
    .selectFrom('users')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .orderBy('name')
    .execute();
}

/** Deletes a user with all that lets it in: tokens, keys, grants, and the URLs that it made. */
export function deleteUser(queries: Queries, id: string): Promise<void> {
  return inTransaction(queries, async (transaction) => {
    for (const table of ['tokens', 'api_keys', 'grants', 'pre_authenticated_requests'] as const) {
      await transaction.deleteFrom(table).where('user_id', '=', id).execute();
    }
    await transaction.deleteFrom('users').where('id', '=', id).execute();
  });
}
