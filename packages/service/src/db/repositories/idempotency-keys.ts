import type { IdempotencyKeyRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';

/** False when the tenancy has used the key. */
export async function insertIdempotencyKey(queries: Queries, row: IdempotencyKeyRow): Promise<boolean> {
  const inserted = await queries
    .insertInto('idempotency_keys')
    .values(row)
    .onConflict((conflict) => conflict.columns(['tenancy_id', 'idempotency_key']).doNothing())
    .returning('idempotency_key')
    .executeTakeFirst();
  return inserted !== undefined;
}

export function findIdempotencyKey(
  queries: Queries,
  tenancyId: string,
  idempotencyKey: string,
): Promise<IdempotencyKeyRow | undefined> {
  return queries
    .selectFrom('idempotency_keys')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('idempotency_key', '=', idempotencyKey)
    .executeTakeFirst();
}

/** One request's hold on a key: from its making until an answer, a release, or another request's takeover. */
export type IdempotencyHold = Pick<IdempotencyKeyRow, 'tenancy_id' | 'idempotency_key' | 'created_at_ms'>;

/** Stores the first answer. Does nothing when the hold was taken over. */
export async function answerIdempotencyKey(
  queries: Queries,
  hold: IdempotencyHold,
  answer: { status_code: number; response_json: string },
): Promise<void> {
  await queries
    .updateTable('idempotency_keys')
    .set(answer)
    .where('tenancy_id', '=', hold.tenancy_id)
    .where('idempotency_key', '=', hold.idempotency_key)
    .where('created_at_ms', '=', hold.created_at_ms)
    .where('status_code', 'is', null)
    .execute();
}

/** Frees a key. Does nothing when it is another request's by now. */
export async function releaseIdempotencyKey(queries: Queries, hold: IdempotencyHold): Promise<void> {
  await queries
    .deleteFrom('idempotency_keys')
    .where('tenancy_id', '=', hold.tenancy_id)
    .where('idempotency_key', '=', hold.idempotency_key)
    .where('created_at_ms', '=', hold.created_at_ms)
    .execute();
}

/** Frees every key made before `beforeMs`: answered ones, or those that their request left without an answer. */
export async function deleteIdempotencyKeysBefore(
  queries: Queries,
  beforeMs: number,
  which: 'answered' | 'unanswered',
): Promise<void> {
  await queries
    .deleteFrom('idempotency_keys')
    .where('created_at_ms', '<', beforeMs)
    .where('status_code', which === 'answered' ? 'is not' : 'is', null)
    .execute();
}
