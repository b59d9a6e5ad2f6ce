import { keyAfterPrefix } from '../key-order.ts';
import { type Page, toPage } from '../page.ts';
import type { PreAuthenticatedRequestRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

export async function insertPar(queries: Queries, row: PreAuthenticatedRequestRow): Promise<void> {
  await queries.insertInto('pre_authenticated_requests').values(row).execute();
}

export function findParByToken(
  queries: Queries,
  tokenSha256: string,
): Promise<PreAuthenticatedRequestRow | undefined> {
  return queries
    .selectFrom('pre_authenticated_requests')
    .selectAll()
    .where('token_sha256', '=', tokenSha256)
    .executeTakeFirst();
}

export function findPar(
  queries: Queries,
  bucketId: string,
  id: string,
): Promise<PreAuthenticatedRequestRow | undefined> {
  return queries
    .selectFrom('pre_authenticated_requests')
    .selectAll()
    .where('bucket_id', '=', bucketId)
    .where('id', '=', id)
    .executeTakeFirst();
}

export interface ParListing {
  readonly bucketId: string;
  /** Only for keys, or prefixes of keys, that begin so. */
  readonly keyPrefix?: string | undefined;
  readonly startAfter?: string | undefined;
  readonly limit: number;
}

/** A bucket's, oldest first; the cursor is an id. */
export async function listPars(
  queries: Queries,
  listing: ParListing,
): Promise<Page<PreAuthenticatedRequestRow>> {
  const { bucketId, keyPrefix = '', startAfter, limit } = listing;
  let query = queries.selectFrom('pre_authenticated_requests').selectAll().where('bucket_id', '=', bucketId);
  if (keyPrefix !== '') query = query.where('object_key', '>=', keyPrefix);
  const end = keyAfterPrefix(keyPrefix);
  if (end !== undefined) query = query.where('object_key', '<', end);
  if (startAfter !== undefined) query = query.where('id', '>', startAfter);
  const rows = await query
    .orderBy('id')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => row.id);
}

/** False when the bucket has none of this id. */
export async function deletePar(queries: Queries, bucketId: string, id: string): Promise<boolean> {
  const deleted = await queries
    .deleteFrom('pre_authenticated_requests')
    .where('bucket_id', '=', bucketId)
    .where('id', '=', id)
    .returning('id')
    .executeTakeFirst();
  return deleted !== undefined;
}
