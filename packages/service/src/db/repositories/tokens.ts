import type { TokenRow, UserRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

export async function insertToken(queries: Queries, row: TokenRow): Promise<void> {
  await queries.insertInto('tokens').values(row).execute();
}

/** The owner of the token with this hash, unless it was revoked. */
export function findTokenOwner(
  queries: Queries,
  tokenSha256: string,
): Promise<(Pick<UserRow, 'id' | 'tenancy_id' | 'role'> & Pick<TokenRow, 'token_sha256'>) | undefined> {
  return queries
    .selectFrom('tokens')
    .innerJoin('users', 'users.id', 'tokens.user_id')
    .select(['users.id', 'users.tenancy_id', 'users.role', 'tokens.token_sha256'])
    .where('tokens.token_sha256', '=', tokenSha256)
    .where('tokens.revoked_at_ms', 'is', null)
    .executeTakeFirst();
}

/** A user's tokens, revoked ones too, oldest first. */
export function listTokens(queries: Queries, userId: string): Promise<TokenRow[]> {
  return queries.selectFrom('tokens').selectAll().where('user_id', '=', userId).orderBy('id').execute();
}

/** False when the user has no such token. A token revoked before keeps its first time. */
export async function revokeToken(
  queries: Queries,
  userId: string,
  tokenId: string,
  nowMs: number,
): Promise<boolean> {
  const revoked = await queries
    .updateTable('tokens')
    .set((expression) => ({
      revoked_at_ms: expression.fn.coalesce('revoked_at_ms', expression.val(nowMs)),
    }))
    .where('id', '=', tokenId)
    .where('user_id', '=', userId)
    .returning('id')
    .executeTakeFirst();
  return revoked !== undefined;
}
