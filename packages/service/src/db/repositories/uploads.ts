import { keyAfterPrefix } from '../key-order.ts';
import type { UploadPartRow, UploadRow } from '../schema.ts';
import { forKeyShare, forUpdate, inTransaction, type Queries } from '../transactions.ts';

/** False when the bucket does not exist. */
export function insertUpload(queries: Queries, row: UploadRow): Promise<boolean> {
  return inTransaction(queries, async (transaction) => {
    const bucket = transaction.selectFrom('buckets').select('id').where('id', '=', row.bucket_id);
    if ((await forKeyShare(transaction, bucket).executeTakeFirst()) === undefined) return false;
    await transaction.insertInto('uploads').values(row).execute();
    return true;
  });
}

export function findUpload(
  queries: Queries,
  bucketId: string,
  uploadId: string,
): Promise<UploadRow | undefined> {
  return queries
    .selectFrom('uploads')
    .selectAll()
    .where('id', '=', uploadId)
    .where('bucket_id', '=', bucketId)
    .executeTakeFirst();
}

export interface UploadListing {
  readonly bucketId: string;
  readonly prefix?: string | undefined;
  /** Only what comes after this upload of this key. */
  readonly startAfter?: { readonly objectKey: string; readonly uploadId: string } | undefined;
  readonly limit: number;
}

/** A bucket's unfinished uploads by key (in the order of its UTF-8 bytes), then by age, at most `limit`. */
export function listUploads(queries: Queries, listing: UploadListing): Promise<UploadRow[]> {
  const { bucketId, prefix = '', startAfter, limit } = listing;
  let query = queries.selectFrom('uploads').selectAll().where('bucket_id', '=', bucketId);
  if (prefix !== '') query = query.where('object_key', '>=', prefix);
  const end = keyAfterPrefix(prefix);
  if (end !== undefined) query = query.where('object_key', '<', end);
  if (startAfter !== undefined) {
    const { objectKey, uploadId } = startAfter;
    query = query.where((where) =>
      where.or([
        where('object_key', '>', objectKey),
        where.and([where('object_key', '=', objectKey), where('id', '>', uploadId)]),
      ]),
    );
  }
  return query.orderBy('object_key').orderBy('id').limit(limit).execute();
}

export interface PutPartOutcome {
  readonly outcome: 'stored' | 'no_upload';
  /** The part of that number before. Its bytes are nobody's now. */
  readonly previous: UploadPartRow | undefined;
}

/** Writes a part, over the one of that number if there is one. */
export function putUploadPart(queries: Queries, row: UploadPartRow): Promise<PutPartOutcome> {
  return inTransaction(queries, async (transaction) => {
    // Parts of one upload are recorded one after the other, and none while the upload is being taken.
    const upload = transaction.selectFrom('uploads').select('id').where('id', '=', row.upload_id);
    if ((await forUpdate(transaction, upload).executeTakeFirst()) === undefined) {
      return { outcome: 'no_upload', previous: undefined };
    }
    const previous = await transaction
      .deleteFrom('upload_parts')
      .where('upload_id', '=', row.upload_id)
      .where('part_number', '=', row.part_number)
      .returningAll()
      .executeTakeFirst();
    await transaction.insertInto('upload_parts').values(row).execute();
    return { outcome: 'stored', previous };
  });
}

/** An upload's parts by number, after `startAfterNumber`, at most `limit`. */
export function listUploadParts(
  queries: Queries,
  listing: { uploadId: string; startAfterNumber?: number | undefined; limit?: number | undefined },
): Promise<UploadPartRow[]> {
  let query = queries.selectFrom('upload_parts').selectAll().where('upload_id', '=', listing.uploadId);
  if (listing.startAfterNumber !== undefined)
    query = query.where('part_number', '>', listing.startAfterNumber);
  if (listing.limit !== undefined) query = query.limit(listing.limit);
  return query.orderBy('part_number').execute();
}

export interface TakenUpload {
  readonly upload: UploadRow;
  /** By number. Their bytes are the caller's now. */
  readonly parts: readonly UploadPartRow[];
}

/**
 * Ends an upload: removes it and its parts, and hands them over to who completes or aborts it. Only one caller
 * gets them. In a transaction together with putObject, an upload is completed or stays as it is.
 */
export function takeUpload(queries: Queries, uploadId: string): Promise<TakenUpload | undefined> {
  return inTransaction(queries, async (transaction) => {
    const query = transaction.selectFrom('uploads').selectAll().where('id', '=', uploadId);
    const upload = await forUpdate(transaction, query).executeTakeFirst();
    if (upload === undefined) return undefined;
    const parts = await listUploadParts(transaction, { uploadId });
    await transaction.deleteFrom('uploads').where('id', '=', uploadId).execute();
    return { upload, parts };
  });
}
