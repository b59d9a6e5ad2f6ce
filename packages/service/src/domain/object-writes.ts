import type { StoredPiece } from '@gantry/storage';
import { newStoredName } from '@gantry/storage';
import { insertObjectParts, takeObjectParts } from '../db/repositories/object-parts.ts';
import { putObject } from '../db/repositories/objects.ts';
import type { BucketRow, ObjectRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import { noBucket } from './buckets.ts';
import { attributesJson, type ObjectAttributes } from './object-attributes.ts';
import { conditionHolds, requireCondition, type WriteCondition } from './object-conditions.ts';
import type { ViewSpec } from './view-spec.ts';

/** What an object is: stored bytes, in one or more pieces, or an image in a format. */
export type ObjectContent =
  | { readonly kind: 'stored'; readonly pieces: readonly StoredPiece[] }
  | {
      readonly kind: 'view';
      readonly manifestId: string;
      readonly view: ViewSpec;
      readonly lengthBytes: number;
    };

export interface ObjectWrite {
  readonly bucket: BucketRow;
  readonly key: string;
  readonly contentType: string;
  /** Without quotes. */
  readonly etag: string;
  readonly content: ObjectContent;
  readonly attributes?: ObjectAttributes | undefined;
  readonly condition?: WriteCondition | undefined;
}

export interface WrittenObject {
  readonly row: ObjectRow;
  /** False when it replaced another. */
  readonly isNew: boolean;
  /** Names in the object store that nothing refers to once the transaction is committed: discard them then. */
  readonly unneeded: readonly string[];
}

/**
 * Makes the key name this content, over whatever it named before; in the caller's transaction when there is one.
 * Throws NOT_FOUND when the bucket is gone, PRECONDITION_FAILED when the condition does not hold.
 */
export function writeObject(queries: Queries, write: ObjectWrite): Promise<WrittenObject> {
  const row = toRow(write);
  const condition = write.condition ?? {};
  return inTransaction(queries, async (transaction) => {
    const { outcome, previous } = await putObject(transaction, row, (found) =>
      conditionHolds(condition, found?.etag),
    );
    if (outcome === 'no_bucket') throw noBucket(write.bucket.name);
    if (outcome === 'refused') requireCondition(condition, previous?.etag);
    await insertParts(transaction, row, write.content);
    return { row, isNew: previous === undefined, unneeded: await forgetBytes(transaction, previous) };
  });
}

/** Forgets the parts of an object that is no more; returns the names of its bytes in the object store. */
export async function forgetBytes(queries: Queries, row: ObjectRow | undefined): Promise<readonly string[]> {
  if (row === undefined || row.stored_name === null) return [];
  if (row.part_count === 0) return [row.stored_name];
  const parts = await takeObjectParts(queries, row.stored_name);
  return parts.map((part) => part.stored_name);
}

function toRow({ bucket, key, contentType, etag, content, attributes = {} }: ObjectWrite): ObjectRow {
  const common = {
    bucket_id: bucket.id,
    object_key: key,
    etag,
    content_type: contentType,
    created_at_ms: Date.now(),
    attributes_json: attributesJson(attributes),
  };
  if (content.kind === 'view') {
    return {
      ...common,
      length_bytes: content.lengthBytes,
      stored_name: null,
      part_count: 0,
      manifest_id: content.manifestId,
      view_json: JSON.stringify(content.view),
    };
  }
  const [first] = content.pieces;
  const isWhole = content.pieces.length === 1 && first !== undefined;
  return {
    ...common,
    length_bytes: content.pieces.reduce((sum, piece) => sum + piece.lengthBytes, 0),
    stored_name: isWhole ? first.name : newStoredName(),
    part_count: isWhole ? 0 : content.pieces.length,
    manifest_id: null,
    view_json: null,
  };
}

async function insertParts(transaction: Queries, row: ObjectRow, content: ObjectContent): Promise<void> {
  const { stored_name: objectName } = row;
  if (content.kind === 'view' || row.part_count === 0 || objectName === null) return;
  const parts = content.pieces.map((piece, index) => ({
    object_name: objectName,
    part_number: index + 1,
    length_bytes: piece.lengthBytes,
    stored_name: piece.name,
  }));
  await insertObjectParts(transaction, parts);
}
