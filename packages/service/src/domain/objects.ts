import { StoreError } from '@gantry/disk';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { type Page, toPage } from '../db/page.ts';
import { deleteObject, findObject, listObjects, renameObject } from '../db/repositories/objects.ts';
import type { BucketRow, ObjectRow } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import type { Access } from './access.ts';
import { type BucketUse, bucketFor, INSPECT_OBJECTS, MANAGE_OBJECTS, READ_OBJECTS } from './buckets.ts';
import { DEFAULT_CONTENT_TYPE, requireContentType } from './content-type.ts';
import { DomainError } from './errors.ts';
import { type ObjectAttributes, requireAttributes, withChecksums } from './object-attributes.ts';
import { requireCondition, type WriteCondition } from './object-conditions.ts';
import { requireObjectKey } from './object-key.ts';
import { OBJECT_BYTES_MAX } from './object-limits.ts';
import { type ObjectSelection, selectObjects } from './object-listing.ts';
import type { ObjectForm, ObjectReader, OpenObject } from './object-reader.ts';
import { forgetBytes, type ObjectContent, type WrittenObject, writeObject } from './object-writes.ts';
import type { StageOptions, StoredBytes } from './stored-bytes.ts';
import { noObject, type ObjectPlace, type StoredObject, toObject } from './stored-object.ts';
import type { ViewSpec } from './view-spec.ts';

export interface PutObjectOptions extends StageOptions {
  readonly contentType?: string | undefined;
  readonly attributes?: ObjectAttributes | undefined;
  readonly condition?: WriteCondition | undefined;
}

interface BucketPlace {
  readonly principal: Principal;
  readonly bucket: string;
}

/** How often an object that changes under its reader is looked up again. */
const OPEN_ATTEMPTS = 5;

/**
 * Objects of a tenancy's buckets: stored bytes, and views of images. Both answer alike. To list and to look at them
 * needs the grant to inspect objects in the bucket's compartment, their bytes need read, all changes manage.
 *
 * Everything throws NOT_FOUND where there is no such bucket or object for the principal, and FORBIDDEN where it may
 * see the bucket's objects and not do this.
 */
export class Objects {
  readonly #database: Database;
  readonly #access: Access;
  readonly #bytes: StoredBytes;
  readonly #reader: ObjectReader;

  constructor(database: Database, access: Access, bytes: StoredBytes, reader: ObjectReader) {
    this.#database = database;
    this.#access = access;
    this.#bytes = bytes;
    this.#reader = reader;
  }

  /** A bucket's objects in the order of their keys' UTF-8 bytes; the cursor is a key. */
  async list(
    place: BucketPlace,
    listing: {
      readonly prefix?: string | undefined;
      readonly startAfter?: string | undefined;
      readonly limit: number;
    },
  ): Promise<Page<StoredObject>> {
    const { prefix, startAfter, limit } = listing;
    const { id: bucketId } = await this.#bucket(place, INSPECT_OBJECTS);
    const rows = await listObjects(this.#database.kysely, { bucketId, prefix, startAfter, limit: limit + 1 });
    const page = toPage(rows, limit, (row) => row.object_key);
    return { items: page.items.map(toObject), next: page.next };
  }

  /** The same as a folder: keys up to a delimiter, and where the next page starts. */
  async browse(
    place: BucketPlace,
    selection: ObjectSelection,
  ): Promise<{
    readonly objects: readonly StoredObject[];
    readonly prefixes: readonly string[];
    readonly next: string | undefined;
  }> {
    const { id } = await this.#bucket(place, INSPECT_OBJECTS);
    const { rows, prefixes, next } = await selectObjects(this.#database.kysely, id, selection);
    return { objects: rows.map(toObject), prefixes, next };
  }

  async get(place: ObjectPlace): Promise<StoredObject> {
    return toObject(await this.#row(place, INSPECT_OBJECTS));
  }

  /** The object with its bytes; close the source. `form` counts only for one that shows an image. */
  async open(place: ObjectPlace, form: ObjectForm = 'file'): Promise<OpenObject> {
    for (let attempt = 1; ; attempt++) {
      const row = await this.#row(place, READ_OBJECTS);
      try {
        return await this.#reader.open(row, form);
      } catch (error) {
        // Replaced or deleted between the look and the opening.
        const isGone = error instanceof StoreError && error.code === 'STORE_NOT_FOUND';
        if (!isGone || attempt === OPEN_ATTEMPTS) throw error;
      }
    }
  }

  /** The digest of the disk that the object shows; undefined for stored bytes. */
  async diskDigest({ view }: StoredObject): Promise<string | undefined> {
    return view === undefined ? undefined : this.#reader.diskDigest(view.manifestId);
  }

  /**
   * Stores the body as an object: seen only when it is whole and durable, over the one that the key named.
   * Throws PRECONDITION_FAILED, INVALID for a key, an attribute or a checksum that does not match.
   */
  async put(
    place: ObjectPlace,
    body: AsyncIterable<Uint8Array>,
    options: PutObjectOptions = {},
  ): Promise<{ readonly object: StoredObject; readonly isNew: boolean }> {
    const { contentType = DEFAULT_CONTENT_TYPE, attributes = {}, condition = {}, ...stage } = options;
    requireObjectKey(place.key);
    requireContentType(contentType);
    requireAttributes(attributes);
    const bucket = await this.#bucket(place, MANAGE_OBJECTS);
    // Refused before the body is taken, when it can be; decided when the object is written.
    requireCondition(condition, (await findObject(this.#database.kysely, bucket.id, place.key))?.etag);
    const { etag, checksums, name, lengthBytes } = await this.#bytes.stage(body, {
      maxBytes: OBJECT_BYTES_MAX,
      ...stage,
    });
    const content: ObjectContent = { kind: 'stored', pieces: [{ name, lengthBytes }] };
    const kept = withChecksums(attributes, checksums);
    const write = { bucket, key: place.key, contentType, etag, content, attributes: kept, condition };
    try {
      return await this.#written(await writeObject(this.#database.kysely, write));
    } catch (error) {
      await this.#bytes.discardUnlessWritten([name], error);
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
    const bucket = await this.#bucket(place, MANAGE_OBJECTS);
    const { manifestId, spec, lengthBytes, etag } = view;
    const content: ObjectContent = { kind: 'view', manifestId, view: spec, lengthBytes };
    const write = { bucket, key: place.key, contentType, etag, content, condition };
    return this.#written(await writeObject(this.#database.kysely, write));
  }

  /**
   * Gives an object another key at once, over the object that has it; its bytes and its ETag stay. Throws
   * PRECONDITION_FAILED, INVALID for a key that is none.
   */
  async rename(
    place: ObjectPlace,
    newKey: string,
    conditions: {
      readonly source?: WriteCondition | undefined;
      readonly target?: WriteCondition | undefined;
    } = {},
  ): Promise<StoredObject> {
    requireObjectKey(newKey);
    if (newKey === place.key) throw new DomainError('INVALID', `${newKey} is the object's name already`);
    const { id: bucketId } = await this.#bucket(place, MANAGE_OBJECTS);
    const rename = { bucketId, objectKey: place.key, newKey, nowMs: Date.now() };
    const { row, unneeded } = await inTransaction(this.#database.kysely, async (transaction) => {
      const outcome = await renameObject(transaction, rename, (source, target) => {
        requireCondition(conditions.source ?? {}, source.etag);
        requireCondition(conditions.target ?? {}, target?.etag);
      });
      return { row: outcome.row, unneeded: await forgetBytes(transaction, outcome.replaced) };
    });
    if (row === undefined) throw noObject(place);
    await this.#bytes.discard(unneeded);
    return toObject(row);
  }

  /** Throws PRECONDITION_FAILED. Who reads the object now gets it whole. */
  async delete(place: ObjectPlace, condition: WriteCondition = {}): Promise<void> {
    const bucket = await this.#bucket(place, MANAGE_OBJECTS);
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

  async #row(place: ObjectPlace, use: BucketUse): Promise<ObjectRow> {
    const bucket = await this.#bucket(place, use);
    const row = await findObject(this.#database.kysely, bucket.id, place.key);
    if (row === undefined) throw noObject(place);
    return row;
  }

  #bucket({ principal, bucket }: BucketPlace, use: BucketUse): Promise<BucketRow> {
    return bucketFor(this.#database.kysely, this.#access, principal, bucket, use);
  }
}
