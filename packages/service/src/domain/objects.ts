import type { ByteSource } from '@gantry/disk';
import { StoreError } from '@gantry/disk';
import type { StoredPiece } from '@gantry/storage';
import type { Database } from '../db/database.ts';
import { type Page, toPage } from '../db/page.ts';
import { listObjectParts } from '../db/repositories/object-parts.ts';
import { deleteObject, findObject, listObjects } from '../db/repositories/objects.ts';
import type { ObjectRow } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import { requireBucket } from './buckets.ts';
import { DEFAULT_CONTENT_TYPE, requireContentType } from './content-type.ts';
import { DomainError } from './errors.ts';
import { requireCondition, type WriteCondition } from './object-conditions.ts';
import { requireObjectKey } from './object-key.ts';
import { forgetBytes, type ObjectContent, type WrittenObject, writeObject } from './object-writes.ts';
import type { StageOptions, StoredBytes } from './stored-bytes.ts';
import { type ViewSpec, viewSpec } from './view-spec.ts';

export interface StoredObject {
  readonly key: string;
  readonly lengthBytes: number;
  /** Without quotes; strong. */
  readonly etag: string;
  readonly contentType: string;
  /** When it was written last. */
  readonly createdAtMs: number;
  /** The image and the format that it shows, when it stores nothing of its own. */
  readonly view: { readonly manifestId: string; readonly spec: ViewSpec } | undefined;
}

/** An object with its bytes of that version: they stay whole until the source is closed. */
export interface OpenObject {
  readonly object: StoredObject;
  readonly source: ByteSource;
}

/** Shows an image in a format. The caller closes the source; the ETag is of the bytes that it gives. */
export type ViewOpener = (
  view: ViewSpec,
  manifestId: string,
) => Promise<{ readonly source: ByteSource; readonly etag: string }>;

/** Where an object is. */
export interface ObjectPlace {
  readonly tenancyId: string;
  readonly bucket: string;
  readonly key: string;
}

export interface PutObjectOptions extends StageOptions {
  readonly contentType?: string | undefined;
  readonly condition?: WriteCondition | undefined;
}

/** How often an object that changes under its reader is looked up again. */
const OPEN_ATTEMPTS = 5;

/** Lists of parts that are remembered: a client that reads range by range asks for the same one each time. */
const KEPT_LISTS = 8;

/** Objects of a tenancy's buckets: stored bytes, and views of images. Both answer alike. */
export class Objects {
  readonly #database: Database;
  readonly #bytes: StoredBytes;
  readonly #openView: ViewOpener;
  /** Pieces by the object's stored name, under which they never change; the one asked for last stands last. */
  readonly #lists: Map<string, readonly StoredPiece[]> = new Map();

  constructor(database: Database, bytes: StoredBytes, openView: ViewOpener) {
    this.#database = database;
    this.#bytes = bytes;
    this.#openView = openView;
  }

  /** A bucket's objects in the order of their keys' UTF-8 bytes; the cursor is a key. Throws NOT_FOUND. */
  async list(listing: {
    readonly tenancyId: string;
    readonly bucket: string;
    readonly prefix?: string | undefined;
    readonly startAfter?: string | undefined;
    readonly limit: number;
  }): Promise<Page<StoredObject>> {
    const { tenancyId, bucket: bucketName, prefix, startAfter, limit } = listing;
    const bucket = await requireBucket(this.#database.kysely, tenancyId, bucketName);
    const rows = await listObjects(this.#database.kysely, {
      bucketId: bucket.id,
      prefix,
      startAfter,
      limit: limit + 1,
    });
    const page = toPage(rows, limit, (row) => row.object_key);
    return { items: page.items.map(toObject), next: page.next };
  }

  /** Throws NOT_FOUND. */
  async get(place: ObjectPlace): Promise<StoredObject> {
    return toObject(await this.#row(place));
  }

  /** The object with its bytes; close the source. Throws NOT_FOUND. */
  async open(place: ObjectPlace): Promise<OpenObject> {
    for (let attempt = 1; ; attempt++) {
      const row = await this.#row(place);
      try {
        return await this.#openRow(row);
      } catch (error) {
        // Replaced or deleted between the look and the opening.
        const isGone = error instanceof StoreError && error.code === 'STORE_NOT_FOUND';
        if (!isGone || attempt === OPEN_ATTEMPTS) throw error;
      }
    }
  }

  /**
   * Stores the body as an object: seen only when it is whole and durable, over the one that the key named.
   * Throws NOT_FOUND for the bucket, PRECONDITION_FAILED, INVALID for a key or an MD5 that does not match.
   */
  async put(
    place: ObjectPlace,
    body: AsyncIterable<Uint8Array>,
    options: PutObjectOptions = {},
  ): Promise<{ readonly object: StoredObject; readonly isNew: boolean }> {
    const { contentType = DEFAULT_CONTENT_TYPE, condition = {}, ...stage } = options;
    requireObjectKey(place.key);
    requireContentType(contentType);
    const bucket = await requireBucket(this.#database.kysely, place.tenancyId, place.bucket);
    // Refused before the body is taken, when it can be; decided when the object is written.
    requireCondition(condition, (await findObject(this.#database.kysely, bucket.id, place.key))?.etag);
    const { etag, ...piece } = await this.#bytes.stage(body, stage);
    const content: ObjectContent = { kind: 'stored', pieces: [piece] };
    const write = { bucket, key: place.key, contentType, etag, content, condition };
    try {
      return await this.#written(await writeObject(this.#database.kysely, write));
    } catch (error) {
      await this.#bytes.discardUnlessWritten([piece.name], error);
      throw error;
    }
  }

  /** Makes the key name an image in a format: moves no bytes. Throws as `put` does. */
  async putView(
    place: ObjectPlace,
    view: { manifestId: string; spec: ViewSpec; lengthBytes: number; etag: string },
    options: Pick<PutObjectOptions, 'contentType' | 'condition'> = {},
  ): Promise<{ readonly object: StoredObject; readonly isNew: boolean }> {
    const { contentType = DEFAULT_CONTENT_TYPE, condition } = options;
    requireObjectKey(place.key);
    requireContentType(contentType);
    const bucket = await requireBucket(this.#database.kysely, place.tenancyId, place.bucket);
    const { manifestId, spec, lengthBytes, etag } = view;
    const content: ObjectContent = { kind: 'view', manifestId, view: spec, lengthBytes };
    const write = { bucket, key: place.key, contentType, etag, content, condition };
    return this.#written(await writeObject(this.#database.kysely, write));
  }

  /** Throws NOT_FOUND and PRECONDITION_FAILED. Who reads the object now gets it whole. */
  async delete(place: ObjectPlace, condition: WriteCondition = {}): Promise<void> {
    const bucket = await requireBucket(this.#database.kysely, place.tenancyId, place.bucket);
    const unneeded = await inTransaction(this.#database.kysely, async (transaction) => {
      const row = await deleteObject(transaction, bucket.id, place.key);
      if (row === undefined) throw noObject(place);
      requireCondition(condition, row.etag);
      return forgetBytes(transaction, row);
    });
    await this.#bytes.discard(unneeded);
  }

  async #written(written: WrittenObject): Promise<{ object: StoredObject; isNew: boolean }> {
    await this.#bytes.discard(written.unneeded);
    return { object: toObject(written.row), isNew: written.isNew };
  }

  async #row(place: ObjectPlace): Promise<ObjectRow> {
    const bucket = await requireBucket(this.#database.kysely, place.tenancyId, place.bucket);
    const row = await findObject(this.#database.kysely, bucket.id, place.key);
    if (row === undefined) throw noObject(place);
    return row;
  }

  async #openRow(row: ObjectRow): Promise<OpenObject> {
    const object = toObject(row);
    if (object.view !== undefined) {
      const { source, etag } = await this.#openView(object.view.spec, object.view.manifestId);
      // As the bytes are now: a later release may lay the same image out in another way.
      return { object: { ...object, etag, lengthBytes: source.lengthBytes }, source };
    }
    const pieces = await this.#pieces(row);
    if (sumOf(pieces) === row.length_bytes) return { object, source: await this.#bytes.store.open(pieces) };
    throw new StoreError('STORE_NOT_FOUND', `the parts of ${row.object_key} are gone`, {
      where: row.object_key,
    });
  }

  async #pieces(row: ObjectRow): Promise<readonly StoredPiece[]> {
    const { stored_name: name, length_bytes: lengthBytes } = row;
    if (name === null) return [];
    if (row.part_count === 0) return [{ name, lengthBytes }];
    const pieces = this.#lists.get(name) ?? (await this.#listPieces(name));
    this.#lists.delete(name);
    this.#lists.set(name, pieces);
    const oldest = this.#lists.keys().next().value;
    if (this.#lists.size > KEPT_LISTS && oldest !== undefined) this.#lists.delete(oldest);
    return pieces;
  }

  async #listPieces(name: string): Promise<readonly StoredPiece[]> {
    const parts = await listObjectParts(this.#database.kysely, name);
    return parts.map((part) => ({ name: part.stored_name, lengthBytes: part.length_bytes }));
  }
}

function sumOf(pieces: readonly StoredPiece[]): number {
  return pieces.reduce((sum, piece) => sum + piece.lengthBytes, 0);
}

function noObject(place: ObjectPlace): DomainError {
  return new DomainError('NOT_FOUND', `there is no object ${place.key} in bucket ${place.bucket}`);
}

export function toObject(row: ObjectRow): StoredObject {
  const { manifest_id: manifestId, view_json: viewJson } = row;
  return {
    key: row.object_key,
    lengthBytes: row.length_bytes,
    etag: row.etag,
    contentType: row.content_type,
    createdAtMs: row.created_at_ms,
    view:
      manifestId === null || viewJson === null
        ? undefined
        : { manifestId, spec: viewSpec.parse(JSON.parse(viewJson)) },
  };
}
