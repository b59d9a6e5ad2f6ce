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
  options: { readonly forUpdate?: boolean } = {},
): Promise<BucketRow | undefined> {
  const query = queries
    .selectFrom('buckets')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .where('name', '=', name);
  return (options.forUpdate === true ? forUpdate(queries, query) : query).executeTakeFirst();
}

export async function updateBucket(queries: Queries, row: BucketRow): Promise<void> {
  await queries.updateTable('buckets').set(row).where('id', '=', row.id).execute();
}

/** How many objects a bucket has, and their bytes. */
export async function measureBucket(
  queries: Queries,
  bucketId: string,
): Promise<{ objectCount: number; lengthBytes: number }> {
  const { count, sum } = await queries
    .selectFrom('objects')
    .select(({ fn }) => [fn.countAll<number>().as('count'), fn.sum<number | null>('length_bytes').as('sum')])
    .where('bucket_id', '=', bucketId)
    .executeTakeFirstOrThrow();
  return { objectCount: Number(count), lengthBytes: Number(sum ?? 0) };
}

export interface BucketListing {
  readonly tenancyId: string;
  /** Only in these; in all when undefined. */
  readonly compartmentIds?: readonly string[] | undefined;
  readonly startAfter?: string | undefined;
  readonly limit: number;
}

/** A tenancy's buckets in the byte order of their names, after `startAfter`; the cursor is a name. */
export async function listBuckets(queries: Queries, listing: BucketListing): Promise<Page<BucketRow>> {
  const { tenancyId, compartmentIds, startAfter, limit } = listing;
  if (compartmentIds?.length === 0) return { items: [], next: undefined };
  const rows = await queries
    .selectFrom('buckets')
    .selectAll()
    .where('tenancy_id', '=', tenancyId)
    .$if(compartmentIds !== undefined, (query) => query.where('compartment_id', 'in', compartmentIds ?? []))
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
