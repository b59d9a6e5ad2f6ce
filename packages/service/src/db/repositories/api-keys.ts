import type { ApiKeyRow, UserRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

/** False when the user has a key of that fingerprint. */
export async function insertApiKey(queries: Queries, row: ApiKeyRow): Promise<boolean> {
  const inserted = await queries
    .insertInto('api_keys')
    .values(row)
    .onConflict((conflict) => conflict.columns(['user_id', 'fingerprint']).doNothing())
    .returning('fingerprint')
    .executeTakeFirst();
  return inserted !== undefined;
}

/** A user's keys, oldest first. */
export function listApiKeys(queries: Queries, userId: string): Promise<ApiKeyRow[]> {
  return queries
    .selectFrom('api_keys')
    .selectAll()
    .where('user_id', '=', userId)
    .orderBy('created_at_ms')
    .orderBy('fingerprint')
    .execute();
}

/** False when the user has no such key. */
export async function deleteApiKey(queries: Queries, userId: string, fingerprint: string): Promise<boolean> {
  const deleted = await queries
    .deleteFrom('api_keys')
    .where('user_id', '=', userId)
    .where('fingerprint', '=', fingerprint)
    .returning('fingerprint')
    .executeTakeFirst();
  return deleted !== undefined;
}

/** The user whose key this is, and the key. */
export function findSigner(
  queries: Queries,
  key: { readonly tenancyId: string; readonly userId: string; readonly fingerprint: string },
): Promise<(Pick<UserRow, 'id' | 'tenancy_id' | 'role'> & Pick<ApiKeyRow, 'public_key_pem'>) | undefined> {
  return queries
    .selectFrom('api_keys')
    .innerJoin('users', 'users.id', 'api_keys.user_id')
    .select(['users.id', 'users.tenancy_id', 'users.role', 'api_keys.public_key_pem'])
    .where('users.tenancy_id', '=', key.tenancyId)
    .where('users.id', '=', key.userId)
    .where('api_keys.fingerprint', '=', key.fingerprint)
    .executeTakeFirst();
}
