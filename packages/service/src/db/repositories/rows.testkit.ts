import { newId } from '../ids.ts';
import type { BucketRow, ObjectRow, TenancyRow, UploadPartRow, UploadRow, UserRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';
import { insertBucket } from './buckets.ts';
import { insertTenancy, insertUser } from './tenancies.ts';

export async function makeTenancy(queries: Queries, name = 'main'): Promise<TenancyRow> {
  const row: TenancyRow = { id: newId('ten'), name, created_at_ms: 1 };
  await insertTenancy(queries, row);
  return row;
}

export async function makeUser(queries: Queries, tenancyId: string, name = 'admin'): Promise<UserRow> {
  const row: UserRow = {
    id: newId('usr'),
    tenancy_id: tenancyId,
    name,
    role: 'administrator',
    created_at_ms: 1,
  };
  await insertUser(queries, row);
  return row;
}

export async function makeBucket(queries: Queries, tenancyId: string, name = 'bucket'): Promise<BucketRow> {
  const row: BucketRow = { id: newId('bkt'), tenancy_id: tenancyId, name, created_at_ms: 1 };
  await insertBucket(queries, row);
  return row;
}

let stored = 0;

/** An object of stored bytes; every call names bytes of its own. */
export function objectRow(bucketId: string, objectKey: string, changes: Partial<ObjectRow> = {}): ObjectRow {
  stored += 1;
  return {
    bucket_id: bucketId,
    object_key: objectKey,
    length_bytes: 3,
    etag: `etag-${stored}`,
    content_type: 'application/octet-stream',
    stored_name: `stored-${stored}`,
    part_count: 0,
    manifest_id: null,
    view_json: null,
    created_at_ms: 1,
    ...changes,
  };
}

export function uploadRow(bucketId: string, objectKey: string): UploadRow {
  return {
    id: newId('upl'),
    bucket_id: bucketId,
    object_key: objectKey,
    content_type: 'text/plain',
    created_at_ms: 1,
  };
}

export function partRow(uploadId: string, partNumber: number): UploadPartRow {
  stored += 1;
  return {
    upload_id: uploadId,
    part_number: partNumber,
    length_bytes: 5,
    etag: `etag-${stored}`,
    stored_name: `part-${stored}`,
  };
}
