import { type Page, toPage } from '../page.ts';
import type { BucketRow } from '../schema.ts';
import { forUpdate, inTransaction, type Queries } from '../transactions.ts';

/** False when the tenancy has a bucket of that name. */
export async function insertBucket(queries: Queries, row: BucketRow): Promise<boolean> {
  const inserted = await queries
    .insertInto('buckets')
    .values(row)
    .onConflict((conflict) => conflict.columns(['tenancy_id', 'name']).doNothing())
    .returning('id')
    .executeTakeFirst();
  return inserted !== undefined;
}

export function findBucket(
  queries: Queries,
  tenancyId: string,
  name: string,
): Promise<BucketRow | undefined> {
  return queries
    .selectFrom('buckets')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('name', '=', name)
    .executeTakeFirst();
}

/** A tenancy's buckets in the byte order of their names, after `startAfter`; the cursor is a name. */
export async function listBuckets(
  queries: Queries,
  listing: { tenancyId: string; startAfter?: string | undefined; limit: number },
): Promise<Page<BucketRow>> {
  const { tenancyId, startAfter, limit } = listing;
  const rows = await queries
    .selectFrom('buckets')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .$if(startAfter !== undefined, (query) => query.where('name', '>', startAfter ?? ''))
    .orderBy('name')
    .limit(limit + 1)
    .execute();
  return toPage(rows, limit, (row) => row.name);
}

/** Deletes the bucket unless it holds an object or an unfinished upload. */
export function deleteBucket(
  queries: Queries,
  bucketId: string,
): Promise<'deleted' | 'not_empty' | 'absent'> {
  return inTransaction(queries, async (transaction) => {
    const bucket = transaction.selectFrom('buckets').select('id').where('id', '=', bucketId);
    // Who adds an object or an upload holds the bucket's key: from here on it waits, then finds no bucket.
    if ((await forUpdate(transaction, bucket).executeTakeFirst()) === undefined) return 'absent';
    for (const table of ['objects', 'uploads'] as const) {
      const content = await transaction
        .selectFrom(table)
        .select('object_key')
        .where('bucket_id', '=', bucketId)
        .limit(1)
        .executeTakeFirst();
      if (content !== undefined) return 'not_empty';
    }
    await transaction.deleteFrom('buckets').where('id', '=', bucketId).execute();
    return 'deleted';
  });
}
