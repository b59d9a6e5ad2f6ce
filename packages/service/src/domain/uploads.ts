import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import { type Page, toPage } from '../db/page.ts';
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
import { noBucket, requireBucket } from './buckets.ts';
import { DEFAULT_CONTENT_TYPE, requireContentType } from './content-type.ts';
import { DomainError } from './errors.ts';
import type { WriteCondition } from './object-conditions.ts';
import { requireObjectKey } from './object-key.ts';
import { writeObject } from './object-writes.ts';
import { type StoredObject, toObject } from './objects.ts';
import { newEtag, type StageOptions, type StoredBytes } from './stored-bytes.ts';

/** As S3, OCI and OBS number them. */
export const LARGEST_PART_NUMBER = 10_000;

export interface Upload {
  readonly id: string;
  readonly key: string;
  readonly contentType: string;
  readonly createdAtMs: number;
}

export interface UploadPart {
  readonly partNumber: number;
  readonly lengthBytes: number;
  /** Without quotes. */
  readonly etag: string;
}

/** Where an upload is. */
export interface UploadPlace {
  readonly tenancyId: string;
  readonly bucket: string;
  readonly uploadId: string;
}

/**
 * Objects that arrive in parts, in any order, over any time: what was acknowledged outlives a crash, so that a
 * client asks which parts are there and sends the rest. Completing moves no bytes: the parts become the object.
 */
export class Uploads {
  readonly #database: Database;
  readonly #bytes: StoredBytes;

  constructor(database: Database, bytes: StoredBytes) {
    this.#database = database;
    this.#bytes = bytes;
  }

  /** Throws INVALID for a key that is none, NOT_FOUND for the bucket. */
  async create(
    place: { readonly tenancyId: string; readonly bucket: string },
    upload: { readonly key: string; readonly contentType?: string | undefined },
  ): Promise<Upload> {
    const { key, contentType = DEFAULT_CONTENT_TYPE } = upload;
    requireObjectKey(key);
    requireContentType(contentType);
    const bucket = await this.#bucket(place);
    const row: UploadRow = {
      id: newId('upl'),
      bucket_id: bucket.id,
      object_key: key,
      content_type: contentType,
      created_at_ms: Date.now(),
      attributes_json: '{}',
    };
    if (await insertUpload(this.#database.kysely, row)) return toUpload(row);
    throw noBucket(place.bucket);
  }

  /** A bucket's unfinished uploads by key, then by age. Throws NOT_FOUND, INVALID for a cursor that is none. */
  async list(listing: {
    readonly tenancyId: string;
    readonly bucket: string;
    readonly prefix?: string | undefined;
    readonly startAfter?: string | undefined;
    readonly limit: number;
  }): Promise<Page<Upload>> {
    const { prefix, startAfter, limit } = listing;
    const bucket = await this.#bucket(listing);
    const rows = await listUploads(this.#database.kysely, {
      bucketId: bucket.id,
      prefix,
      startAfter: startAfter === undefined ? undefined : parseCursor(startAfter),
      limit: limit + 1,
    });
    const page = toPage(rows, limit, (row) => `${row.id}/${row.object_key}`);
    return { items: page.items.map(toUpload), next: page.next };
  }

  /** Throws NOT_FOUND. */
  async get(place: UploadPlace): Promise<Upload & { readonly parts: readonly UploadPart[] }> {
    const row = await this.#row(place);
    const parts = await listUploadParts(this.#database.kysely, { uploadId: row.id });
    return { ...toUpload(row), parts: parts.map(toPart) };
  }

  /**
   * Stores a part, over the one of that number: durable when it returns. Throws NOT_FOUND, also when the upload
   * ended while the part arrived, and INVALID for a number outside 1 to 10,000 or an MD5 that does not match.
   */
  async putPart(
    place: UploadPlace,
    partNumber: number,
    body: AsyncIterable<Uint8Array>,
    options: StageOptions = {},
  ): Promise<UploadPart> {
    if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > LARGEST_PART_NUMBER) {
      throw new DomainError('INVALID', `parts are numbered from 1 to ${LARGEST_PART_NUMBER}`);
    }
    const upload = await this.#row(place);
    const { name, lengthBytes, etag } = await this.#bytes.stage(body, options);
    const row: UploadPartRow = {
      upload_id: upload.id,
      part_number: partNumber,
      length_bytes: lengthBytes,
      etag,
      stored_name: name,
      md5: null,
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
   * Makes the parts that are listed, in ascending order, the object; parts that are not listed are dropped.
   * Throws NOT_FOUND, INVALID for a list that is none, UPLOAD_INCOMPLETE when a part is not there or was sent
   * again since; the upload then stays as it is. Throws PRECONDITION_FAILED.
   */
  async complete(
    place: UploadPlace,
    listed: readonly { readonly partNumber: number; readonly etag: string }[],
    condition: WriteCondition = {},
  ): Promise<StoredObject> {
    requireAscending(listed);
    const bucket = await this.#bucket(place);
    const { row, unneeded } = await inTransaction(this.#database.kysely, async (transaction) => {
      const upload = await findUpload(transaction, bucket.id, place.uploadId);
      const taken = upload === undefined ? undefined : await takeUpload(transaction, upload.id);
      if (taken === undefined) throw noUpload(place);
      const { chosen, dropped } = chooseParts(taken.parts, listed);
      const written = await writeObject(transaction, {
        bucket,
        key: taken.upload.object_key,
        contentType: taken.upload.content_type,
        etag: newEtag(chosen.length),
        content: {
          kind: 'stored',
          pieces: chosen.map((part) => ({ name: part.stored_name, lengthBytes: part.length_bytes })),
        },
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
    const row = await this.#row(place);
    const taken = await takeUpload(this.#database.kysely, row.id);
    if (taken === undefined) throw noUpload(place);
    await this.#bytes.discard(taken.parts.map((part) => part.stored_name));
  }

  #bucket(place: { readonly tenancyId: string; readonly bucket: string }): Promise<BucketRow> {
    return requireBucket(this.#database.kysely, place.tenancyId, place.bucket);
  }

  async #row(place: UploadPlace): Promise<UploadRow> {
    const bucket = await this.#bucket(place);
    const row = await findUpload(this.#database.kysely, bucket.id, place.uploadId);
    if (row === undefined) throw noUpload(place);
    return row;
  }
}

function requireAscending(listed: readonly { readonly partNumber: number }[]): void {
  if (listed.length === 0) throw new DomainError('INVALID', 'an object has at least one part');
  for (const [index, part] of listed.entries()) {
    const before = listed[index - 1]?.partNumber ?? 0;
    if (part.partNumber > before) continue;
    throw new DomainError('INVALID', `part ${part.partNumber} is listed after part ${before}`, {
      hint: 'list each part once, in ascending order',
    });
  }
}

/** The parts that are listed, and the others. Throws UPLOAD_INCOMPLETE. */
function chooseParts(
  parts: readonly UploadPartRow[],
  listed: readonly { readonly partNumber: number; readonly etag: string }[],
): { readonly chosen: readonly UploadPartRow[]; readonly dropped: readonly UploadPartRow[] } {
  const byNumber = new Map(parts.map((part) => [part.part_number, part]));
  const chosen = listed.map(({ partNumber, etag }) => {
    const part = byNumber.get(partNumber);
    byNumber.delete(partNumber);
    if (part?.etag === etag) return part;
    const what = part === undefined ? 'was not received' : `has the ETag ${part.etag}, not ${etag}`;
    throw new DomainError('UPLOAD_INCOMPLETE', `part ${partNumber} ${what}`, {
      hint: 'show the upload to see its parts, send what is missing, then complete it',
    });
  });
  return { chosen, dropped: [...byNumber.values()] };
}

/** The id of an upload has no slash; its key may. */
function parseCursor(cursor: string): { objectKey: string; uploadId: string } {
  const slash = cursor.indexOf('/');
  if (slash > 0) return { uploadId: cursor.slice(0, slash), objectKey: cursor.slice(slash + 1) };
  throw new DomainError('INVALID', 'this is no nextStartAfter of a list of uploads');
}

function noUpload(place: UploadPlace): DomainError {
  return new DomainError('NOT_FOUND', `there is no unfinished upload ${place.uploadId} in ${place.bucket}`);
}

function toUpload(row: UploadRow): Upload {
  return {
    id: row.id,
    key: row.object_key,
    contentType: row.content_type,
    createdAtMs: row.created_at_ms,
  };
}

function toPart(row: UploadPartRow): UploadPart {
  return { partNumber: row.part_number, lengthBytes: row.length_bytes, etag: row.etag };
}
