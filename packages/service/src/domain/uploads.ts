import { z } from 'zod';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import { type Page, toPage } from '../db/page.ts';
import { findObject } from '../db/repositories/objects.ts';
import {
  findUpload,
  insertUpload,
  listUploadParts,
  listUploads,
  putUploadPart,
  takeUpload,
} from '../db/repositories/uploads.ts';
import type { BucketRow, UploadPartRow, UploadRow } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import type { Access } from './access.ts';
import { type BucketUse, bucketFor, INSPECT_OBJECTS, MANAGE_OBJECTS, noBucket } from './buckets.ts';
import { type ChecksumName, type Checksums, checksumNames, joinedChecksums } from './checksums.ts';
import { DEFAULT_CONTENT_TYPE, requireContentType } from './content-type.ts';
import { DomainError } from './errors.ts';
import { objectAttributes, requireAttributes, type StorageTier, withChecksums } from './object-attributes.ts';
import { requireCondition, type WriteCondition } from './object-conditions.ts';
import { requireObjectKey } from './object-key.ts';
import { LARGEST_PART_NUMBER, OBJECT_BYTES_MAX, PART_BYTES_MAX } from './object-limits.ts';
import { writeObject } from './object-writes.ts';
import { newEtag, type StageOptions, type StoredBytes } from './stored-bytes.ts';
import { type StoredObject, toObject } from './stored-object.ts';
import { chooseParts, type ListedPart, type UploadPart } from './upload-parts.ts';

/** What an upload is begun with: kept as JSON with it. */
const uploadAttributes = z.object({
  /** Of the object that comes of it. */
  object: objectAttributes.optional(),
  /** Computed of every part, besides the MD5s that were sent. */
  checksums: z.array(z.enum(checksumNames)).optional(),
  /** The ETag that the object gets; by default a new one. */
  etag: z.string().optional(),
  /** The object's checksums are those it is begun with, not those of its parts. */
  keepsChecksums: z.boolean().optional(),
  /** The pre-authenticated request that it was begun through. */
  preAuthenticatedRequestId: z.string().optional(),
});
export type UploadAttributes = z.infer<typeof uploadAttributes>;

export interface Upload extends Pick<UploadAttributes, 'preAuthenticatedRequestId' | 'etag'> {
  readonly id: string;
  readonly key: string;
  readonly contentType: string;
  readonly storageTier: StorageTier | undefined;
  readonly createdAtMs: number;
}

/** Where an upload is, and who asks. */
export interface UploadPlace {
  readonly principal: Principal;
  readonly bucket: string;
  readonly uploadId: string;
  /** The key that it must be of, where the caller names one. */
  readonly ofKey?: string | undefined;
}

/**
 * Objects that arrive in parts, in any order, over any time: what was acknowledged outlives a crash, so that a
 * client asks which parts are there and sends the rest. Completing moves no bytes: the parts become the object.
 *
 * To look at uploads needs the grant to inspect objects, all else to manage them; as with Objects, what may not be
 * seen is NOT_FOUND.
 */
export class Uploads {
  readonly #database: Database;
  readonly #access: Access;
  readonly #bytes: StoredBytes;

  constructor(database: Database, access: Access, bytes: StoredBytes) {
    this.#database = database;
    this.#access = access;
    this.#bytes = bytes;
  }

  /** Throws INVALID for a key that is none, NOT_FOUND for the bucket. */
  async create(
    place: { readonly principal: Principal; readonly bucket: string },
    upload: {
      readonly key: string;
      readonly contentType?: string | undefined;
      readonly attributes?: UploadAttributes | undefined;
      /** Of the object that the key names now. The one that counts is given when the upload is completed. */
      readonly condition?: WriteCondition | undefined;
    },
  ): Promise<Upload> {
    const { key, contentType = DEFAULT_CONTENT_TYPE, attributes = {}, condition = {} } = upload;
    requireObjectKey(key);
    requireContentType(contentType);
    requireAttributes(attributes.object ?? {});
    const bucket = await this.#bucket(place, MANAGE_OBJECTS);
    requireCondition(condition, (await findObject(this.#database.kysely, bucket.id, key))?.etag);
    const row: UploadRow = {
      id: newId('upl'),
      bucket_id: bucket.id,
      object_key: key,
      content_type: contentType,
      created_at_ms: Date.now(),
      attributes_json: JSON.stringify(attributes),
    };
    if (await insertUpload(this.#database.kysely, row)) return toUpload(row);
    throw noBucket(place.bucket);
  }

  /** A bucket's unfinished uploads by key, then by age. Throws NOT_FOUND, INVALID for a cursor that is none. */
  async list(
    place: { readonly principal: Principal; readonly bucket: string },
    listing: {
      readonly prefix?: string | undefined;
      readonly startAfter?: string | undefined;
      readonly limit: number;
    },
  ): Promise<Page<Upload>> {
    const { prefix, startAfter, limit } = listing;
    const bucket = await this.#bucket(place, INSPECT_OBJECTS);
    const rows = await listUploads(this.#database.kysely, {
      bucketId: bucket.id,
      prefix,
      startAfter: startAfter === undefined ? undefined : parseCursor(startAfter),
      limit: limit + 1,
    });
    const page = toPage(rows, limit, (row) => `${row.id}/${row.object_key}`);
    return { items: page.items.map(toUpload), next: page.next };
  }

  /** The upload alone. Throws NOT_FOUND. */
  async find(place: UploadPlace): Promise<Upload> {
    return toUpload(await this.#row(place, INSPECT_OBJECTS));
  }

  /** Throws NOT_FOUND. */
  async get(place: UploadPlace): Promise<Upload & { readonly parts: readonly UploadPart[] }> {
    const row = await this.#row(place, INSPECT_OBJECTS);
    const parts = await listUploadParts(this.#database.kysely, { uploadId: row.id });
    return { ...toUpload(row), parts: parts.map(toPart) };
  }

  /** An upload's parts by number; the cursor is a number. Throws NOT_FOUND. */
  async listParts(
    place: UploadPlace,
    { startAfterNumber, limit }: { readonly startAfterNumber?: number | undefined; readonly limit: number },
  ): Promise<Page<UploadPart>> {
    const { id: uploadId } = await this.#row(place, INSPECT_OBJECTS);
    const rows = await listUploadParts(this.#database.kysely, {
      uploadId,
      startAfterNumber,
      limit: limit + 1,
    });
    const page = toPage(rows, limit, (row) => `${row.part_number}`);
    return { items: page.items.map(toPart), next: page.next };
  }

  /**
   * Stores a part, over the one of that number: durable when it returns. Throws NOT_FOUND, also when the upload
   * ended while the part arrived, TOO_LARGE, and INVALID for a number outside 1 to 10,000 or a checksum that does not
   * match.
   */
  async putPart(
    place: UploadPlace,
    partNumber: number,
    body: AsyncIterable<Uint8Array>,
    options: StageOptions = {},
  ): Promise<UploadPart> {
    if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > LARGEST_PART_NUMBER) {
      throw new DomainError('INVALID', `parts are numbered from 1 to ${LARGEST_PART_NUMBER}`, {
        subject: 'part',
      });
    }
    const upload = await this.#row(place, MANAGE_OBJECTS);
    const asked = parseUploadAttributes(upload).checksums ?? [];
    const wanted: readonly ChecksumName[] = [...asked, ...(options.checksums ?? [])];
    const stage = { maxBytes: PART_BYTES_MAX, ...options, checksums: wanted };
    const { name, lengthBytes, etag, checksums } = await this.#bytes.stage(body, stage);
    const row: UploadPartRow = {
      upload_id: upload.id,
      part_number: partNumber,
      length_bytes: lengthBytes,
      etag,
      stored_name: name,
      checksums_json: JSON.stringify(checksums),
    };
    try {
      const { outcome, previous } = await putUploadPart(this.#database.kysely, row);
      if (outcome === 'no_upload') throw noUpload(place);
      if (previous !== undefined) await this.#bytes.discard([previous.stored_name]);
      return toPart(row);
    } catch (error) {
      await this.#bytes.discardUnlessWritten([name], error);
      throw error;
    }
  }

  /**
   * Makes the parts that are listed, in ascending order, or all that are there, the object; parts that are not listed
   * are dropped. Throws NOT_FOUND, INVALID for a list that is none, UPLOAD_INCOMPLETE when a part is not there or was
   * sent again since, TOO_LARGE; the upload then stays as it is. Throws PRECONDITION_FAILED.
   */
  async complete(
    place: UploadPlace,
    listed: readonly ListedPart[] | 'all',
    condition: WriteCondition = {},
  ): Promise<StoredObject> {
    const bucket = await this.#bucket(place, MANAGE_OBJECTS);
    const { row, unneeded } = await inTransaction(this.#database.kysely, async (transaction) => {
      const upload = await findUpload(transaction, bucket.id, place.uploadId);
      const isMeant = upload !== undefined && isOfKey(upload, place);
      const taken = isMeant ? await takeUpload(transaction, upload.id) : undefined;
      if (taken === undefined) throw noUpload(place);
      const { chosen, dropped } = chooseParts(taken.parts, listed);
      requireObjectLength(chosen);
      const begun = parseUploadAttributes(taken.upload);
      const { object = {}, etag = newEtag(chosen.length), keepsChecksums = false } = begun;
      const { whole, ofParts } = joinedChecksums(chosen.map(toPart));
      const written = await writeObject(transaction, {
        bucket,
        key: taken.upload.object_key,
        contentType: taken.upload.content_type,
        etag,
        content: {
          kind: 'stored',
          pieces: chosen.map((part) => ({ name: part.stored_name, lengthBytes: part.length_bytes })),
        },
        attributes: keepsChecksums ? object : withChecksums(object, whole, ofParts),
        condition,
      });
      return {
        row: written.row,
        unneeded: [...written.unneeded, ...dropped.map((part) => part.stored_name)],
      };
    });
    await this.#bytes.discard(unneeded);
    return toObject(row);
  }

  /** Ends the upload and drops its parts. Throws NOT_FOUND. */
  async abort(place: UploadPlace): Promise<void> {
    const row = await this.#row(place, MANAGE_OBJECTS);
    const taken = await takeUpload(this.#database.kysely, row.id);
    if (taken === undefined) throw noUpload(place);
    await this.#bytes.discard(taken.parts.map((part) => part.stored_name));
  }

  #bucket(
    { principal, bucket }: { readonly principal: Principal; readonly bucket: string },
    use: BucketUse,
  ): Promise<BucketRow> {
    return bucketFor(this.#database.kysely, this.#access, principal, bucket, use);
  }

  async #row(place: UploadPlace, use: BucketUse): Promise<UploadRow> {
    const bucket = await this.#bucket(place, use);
    const row = await findUpload(this.#database.kysely, bucket.id, place.uploadId);
    if (row === undefined || !isOfKey(row, place)) throw noUpload(place);
    return row;
  }
}

function isOfKey(row: UploadRow, { ofKey }: UploadPlace): boolean {
  return ofKey === undefined || ofKey === row.object_key;
}

function requireObjectLength(parts: readonly UploadPartRow[]): void {
  const lengthBytes = parts.reduce((sum, part) => sum + part.length_bytes, 0);
  if (lengthBytes <= OBJECT_BYTES_MAX) return;
  throw new DomainError('TOO_LARGE', `an object has at most ${OBJECT_BYTES_MAX} bytes, not ${lengthBytes}`);
}

/** The id of an upload has no slash; its key may. */
function parseCursor(cursor: string): { objectKey: string; uploadId: string } {
  const slash = cursor.indexOf('/');
  if (slash > 0) return { uploadId: cursor.slice(0, slash), objectKey: cursor.slice(slash + 1) };
  throw new DomainError('INVALID', 'this is no nextStartAfter of a list of uploads');
}

function noUpload(place: UploadPlace): DomainError {
  return new DomainError('NOT_FOUND', `there is no unfinished upload ${place.uploadId} in ${place.bucket}`, {
    subject: 'upload',
  });
}

function parseUploadAttributes(row: UploadRow): UploadAttributes {
  return uploadAttributes.parse(JSON.parse(row.attributes_json));
}

function toUpload(row: UploadRow): Upload {
  const { preAuthenticatedRequestId, etag, object } = parseUploadAttributes(row);
  return {
    id: row.id,
    key: row.object_key,
    contentType: row.content_type,
    storageTier: object?.storageTier,
    createdAtMs: row.created_at_ms,
    preAuthenticatedRequestId,
    etag,
  };
}

function toPart(row: UploadPartRow): UploadPart & { readonly checksums: Checksums } {
  return {
    partNumber: row.part_number,
    lengthBytes: row.length_bytes,
    etag: row.etag,
    checksums: JSON.parse(row.checksums_json),
  };
}
