import { newStoredName, type StoredPiece } from '@gantry/storage';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { findObject } from '../db/repositories/objects.ts';
import type { BucketRow, ObjectRow } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import type { JobContext, JobHandler } from '../jobs/handler.ts';
import { goesOn } from '../jobs/job-error.ts';
import type { JsonValue } from '../json.ts';
import type { Access } from './access.ts';
import { bucketFor, MANAGE_OBJECTS, READ_OBJECTS } from './buckets.ts';
import { type CopyInput, copyInput } from './copies.ts';
import { copyToRegion, leaveRegion, type RegionCopyParts } from './copy-to-region.ts';
import { DomainError } from './errors.ts';
import type { ObjectAttributes } from './object-attributes.ts';
import type { ObjectReader } from './object-reader.ts';
import { type ObjectWrite, writeObject } from './object-writes.ts';
import { newEtag, type StoredBytes } from './stored-bytes.ts';
import { noObject, type StoredObject, toObject } from './stored-object.ts';

export interface CopyJobParts extends RegionCopyParts {
  readonly database: Database;
  readonly access: Access;
  readonly bytes: StoredBytes;
  readonly reader: ObjectReader;
}

/**
 * Copies an object: within this region as a second name of its bytes, or as another view of its image; to another
 * region by sending it. The copy appears whole, together with the job's success.
 */
export function copyHandler(parts: CopyJobParts): JobHandler {
  return async (context) => {
    const input = copyInput.parse(context.input);
    try {
      return await copyObject(parts, context, input);
    } catch (error) {
      // What may pass goes on with what is there; anything else leaves nothing behind in the other region.
      if (input.target.region !== parts.region.name && !goesOn(error, context.signal)) {
        await leaveRegion(parts, context, input);
      }
      throw error;
    }
  };
}

async function copyObject(parts: CopyJobParts, context: JobContext, input: CopyInput): Promise<JsonValue> {
  const principal = await parts.access.requirePrincipal(context.job.userId);
  const { source, target } = input;
  const from = await bucketFor(parts.database.kysely, parts.access, principal, source.bucket, READ_OBJECTS);
  const row = await requireVersion(parts.database.kysely, from, input);
  const object = asWished(toObject(row), input);
  if (target.region !== parts.region.name) return copyToRegion(parts, context, input, principal, object);
  await context.phase('copy', row.length_bytes);
  return row.stored_name === null
    ? copyView(parts, context, input, principal, from, object)
    : copyBytes(parts, context, input, principal, row, object);
}

/** The object as it was when the copy was asked for. Throws NOT_FOUND, PRECONDITION_FAILED for another version. */
async function requireVersion(queries: Queries, bucket: BucketRow, input: CopyInput): Promise<ObjectRow> {
  const { key, etag } = input.source;
  const row = await findObject(queries, bucket.id, key);
  if (row === undefined) throw noObject(input.source);
  if (row.etag === etag) return row;
  throw new DomainError('PRECONDITION_FAILED', `${key} was replaced since the copy was asked for`, {
    hint: 'copy it again',
    subject: 'if-match',
  });
}

/** With the metadata and the storage tier that were asked for. */
function asWished(object: StoredObject, { metadata, storageTier }: CopyInput): StoredObject {
  const attributes: ObjectAttributes = {
    ...object.attributes,
    ...(metadata && { metadata }),
    ...(storageTier && { storageTier }),
  };
  return { ...object, attributes };
}

async function copyView(
  parts: CopyJobParts,
  context: JobContext,
  input: CopyInput,
  principal: Principal,
  from: BucketRow,
  object: StoredObject,
): Promise<JsonValue> {
  const bucket = await targetBucket(parts, input, principal);
  let unneeded: readonly string[] = [];
  context.atSuccess(async (transaction) => {
    // Looked at again here: what it shows is kept alive by the one until the other is there.
    const { manifestId, spec } = toObject(await requireVersion(transaction, from, input)).view ?? {};
    if (manifestId === undefined || spec === undefined) throw noObject(input.source);
    const content = { kind: 'view', manifestId, view: spec, lengthBytes: object.lengthBytes } as const;
    const write = { ...commonOf(bucket, input, object), etag: object.etag, content };
    unneeded = (await writeObject(transaction, write)).unneeded;
  });
  context.afterSuccess(() => parts.bytes.discard(unneeded));
  return resultOf(input, object.lengthBytes, object.etag);
}

async function copyBytes(
  parts: CopyJobParts,
  context: JobContext,
  input: CopyInput,
  principal: Principal,
  row: ObjectRow,
  object: StoredObject,
): Promise<JsonValue> {
  const bucket = await targetBucket(parts, input, principal);
  const { store } = parts.bytes;
  const pieces: StoredPiece[] = [];
  const names = () => pieces.map(({ name }) => name);
  const etag = newEtag(Math.max(row.part_count, 1));
  try {
    const sources = await parts.reader.pieces(row);
    // Open, they stay until all have their second name.
    const held = await store.open(sources);
    try {
      for (const piece of sources) {
        context.signal.throwIfAborted();
        const copy = { name: newStoredName(), lengthBytes: piece.lengthBytes };
        await store.copy(piece, copy.name);
        pieces.push(copy);
        context.progress(pieces.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0));
      }
    } finally {
      await held.close();
    }
  } catch (error) {
    await parts.bytes.discard(names());
    throw error;
  }
  let unneeded: readonly string[] = [];
  context.atSuccess(async (transaction) => {
    const write = { ...commonOf(bucket, input, object), etag, content: { kind: 'stored', pieces } as const };
    try {
      unneeded = (await writeObject(transaction, write)).unneeded;
    } catch (error) {
      await parts.bytes.discardUnlessWritten(names(), error);
      throw error;
    }
  });
  context.afterSuccess(() => parts.bytes.discard(unneeded));
  return resultOf(input, object.lengthBytes, etag);
}

function targetBucket(parts: CopyJobParts, { target }: CopyInput, principal: Principal): Promise<BucketRow> {
  return bucketFor(parts.database.kysely, parts.access, principal, target.bucket, MANAGE_OBJECTS);
}

function commonOf(
  bucket: BucketRow,
  { target }: CopyInput,
  { contentType, attributes }: StoredObject,
): Omit<ObjectWrite, 'etag' | 'content'> {
  const { key, ifMatch, ifNoneMatch } = target;
  return { bucket, key, contentType, attributes, condition: { ifMatch, ifNoneMatch } };
}

function resultOf({ target }: CopyInput, lengthBytes: number, etag: string): JsonValue {
  const { region, bucket, key } = target;
  return { region, bucket, key, lengthBytes, etag };
}
