import { keyAfterPrefix } from '../key-order.ts';
import type { ObjectRow } from '../schema.ts';
import { forKeyShare, forUpdate, inTransaction, type Queries } from '../transactions.ts';

export function findObject(
  queries: Queries,
  bucketId: string,
  objectKey: string,
): Promise<ObjectRow | undefined> {
  return queries
    .selectFrom('objects')
    .selectAll()
    .where('bucket_id', '=', bucketId)
    .where('object_key', '=', objectKey)
    .executeTakeFirst();
}

export interface ObjectListing {
  readonly bucketId: string;
  readonly prefix?: string | undefined;
  /** Only keys after this one. */
  readonly startAfter?: string | undefined;
  /** Only this key and keys after it: keyAfterPrefix of a common prefix goes on behind all of that prefix. */
  readonly startAt?: string | undefined;
  /** Only keys before this one. */
  readonly end?: string | undefined;
  readonly limit: number;
}

/** A bucket's objects in the order of their keys' UTF-8 bytes, at most `limit`. */
export function listObjects(queries: Queries, listing: ObjectListing): Promise<ObjectRow[]> {
  const { bucketId, prefix = '', startAfter, startAt, end: before, limit } = listing;
  let query = queries.selectFrom('objects').selectAll().where('bucket_id', '=', bucketId);
  if (prefix !== '') query = query.where('object_key', '>=', prefix);
  const end = keyAfterPrefix(prefix);
  if (end !== undefined) query = query.where('object_key', '<', end);
  if (startAfter !== undefined) query = query.where('object_key', '>', startAfter);
  if (startAt !== undefined) query = query.where('object_key', '>=', startAt);
  if (before !== undefined) query = query.where('object_key', '<', before);
  return query.orderBy('object_key').limit(limit).execute();
}

export interface PutOutcome {
  readonly outcome: 'stored' | 'refused' | 'no_bucket';
  /** What the key named before. When stored, its bytes are nobody's now. */
  readonly previous: ObjectRow | undefined;
}

/**
 * Writes an object, over the one that the key names if there is one. `accept` decides on that one (for
 * If-Match and If-None-Match) while nothing can change it; it may be asked twice.
 */
export function putObject(
  queries: Queries,
  row: ObjectRow,
  accept: (previous: ObjectRow | undefined) => boolean = () => true,
): Promise<PutOutcome> {
  return inTransaction(queries, async (transaction) => {
    const bucket = transaction.selectFrom('buckets').select('id').where('id', '=', row.bucket_id);
    if ((await forKeyShare(transaction, bucket).executeTakeFirst()) === undefined) {
      return { outcome: 'no_bucket', previous: undefined };
    }
    // An absent row cannot be locked: when another put of the key wins the race, look again.
    for (;;) {
      const existing = transaction
        .selectFrom('objects')
        .selectAll()
        .where('bucket_id', '=', row.bucket_id)
        .where('object_key', '=', row.object_key);
      const previous = await forUpdate(transaction, existing).executeTakeFirst();
      if (!accept(previous)) return { outcome: 'refused', previous };
      if (previous !== undefined) {
        await updateObject(transaction, row);
        return { outcome: 'stored', previous };
      }
      if (await insertObject(transaction, row)) return { outcome: 'stored', previous };
    }
  });
}

async function updateObject(transaction: Queries, row: ObjectRow): Promise<void> {
  await transaction
    .updateTable('objects')
    .set(row)
    .where('bucket_id', '=', row.bucket_id)
    .where('object_key', '=', row.object_key)
    .execute();
}

async function insertObject(transaction: Queries, row: ObjectRow): Promise<boolean> {
  const inserted = await transaction
    .insertInto('objects')
    .values(row)
    .onConflict((conflict) => conflict.columns(['bucket_id', 'object_key']).doNothing())
    .returning('object_key')
    .executeTakeFirst();
  return inserted !== undefined;
}

/** Deletes an object; returns what it was, whose bytes are nobody's now. */
export function deleteObject(
  queries: Queries,
  bucketId: string,
  objectKey: string,
): Promise<ObjectRow | undefined> {
  return queries
    .deleteFrom('objects')
    .where('bucket_id', '=', bucketId)
    .where('object_key', '=', objectKey)
    .returningAll()
    .executeTakeFirst();
}

export interface RenameOutcome {
  readonly outcome: 'renamed' | 'no_source';
  /** What has the new key now. */
  readonly row: ObjectRow | undefined;
  /** What had the new key before. Its bytes are nobody's now. */
  readonly replaced: ObjectRow | undefined;
}

/**
 * Gives an object another key, over the object that has it. `accept` decides on both while nothing can change them;
 * it may throw.
 */
export function renameObject(
  queries: Queries,
  rename: { bucketId: string; objectKey: string; newKey: string; nowMs: number },
  accept: (source: ObjectRow, target: ObjectRow | undefined) => void,
): Promise<RenameOutcome> {
  const { bucketId, objectKey, newKey, nowMs } = rename;
  return inTransaction(queries, async (transaction) => {
    const bucket = transaction.selectFrom('buckets').select('id').where('id', '=', bucketId);
    // The bucket's row stands for all keys: an absent object cannot be locked.
    await forUpdate(transaction, bucket).executeTakeFirst();
    const source = await lockObject(transaction, bucketId, objectKey);
    if (source === undefined) return { outcome: 'no_source', row: undefined, replaced: undefined };
    const target = await lockObject(transaction, bucketId, newKey);
    accept(source, target);
    const replaced = await deleteObject(transaction, bucketId, newKey);
    const row = await transaction
      .updateTable('objects')
      .set({ object_key: newKey, created_at_ms: nowMs })
      .where('bucket_id', '=', bucketId)
      .where('object_key', '=', objectKey)
      .returningAll()
      .executeTakeFirstOrThrow();
    return { outcome: 'renamed', row, replaced };
  });
}

function lockObject(
  transaction: Queries,
  bucketId: string,
  objectKey: string,
): Promise<ObjectRow | undefined> {
  const query = transaction
    .selectFrom('objects')
    .selectAll()
    .where('bucket_id', '=', bucketId)
    .where('object_key', '=', objectKey);
  return forUpdate(transaction, query).executeTakeFirst();
}
