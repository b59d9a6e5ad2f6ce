import type { ByteSource } from '@gantry/disk';
import { StoreError } from '@gantry/disk';
import type { StoredPiece } from '@gantry/storage';
import type { Database } from '../db/database.ts';
import { listObjectParts } from '../db/repositories/object-parts.ts';
import type { ObjectRow } from '../db/schema.ts';
import type { StoredBytes } from './stored-bytes.ts';
import { type StoredObject, toObject } from './stored-object.ts';
import type { ViewSpec } from './view-spec.ts';

/**
 * What of an object is read: its file; or, of one that shows an image, the guest's bytes (`raw`) or the list of the
 * image's blocks (`blocks`).
 */
export type ObjectForm = 'file' | 'raw' | 'blocks';

/** Bytes with the ETag that is theirs. */
export interface ReadableBytes {
  readonly source: ByteSource;
  readonly etag: string;
}

/** An object with its bytes of that version: they stay whole until the source is closed. */
export interface OpenObject extends ReadableBytes {
  readonly object: StoredObject;
  readonly form: ObjectForm;
}

/** Images, for objects that show them. The caller closes the sources. */
export interface ShownImages {
  /** An image in a format. */
  readonly open: (view: ViewSpec, manifestId: string) => Promise<ReadableBytes>;
  /** The list of an image's blocks, where there is one. */
  readonly openBlocks?: (manifestId: string) => Promise<ReadableBytes>;
  /** The digest of what the guest sees. */
  readonly diskDigest: (manifestId: string) => Promise<string | undefined>;
}

const RAW: ViewSpec = { format: 'raw', options: {} };
/** Lists of parts that are remembered: a client that reads range by range asks for the same one each time. */
const KEPT_LISTS = 8;

/** Opens what the catalogue's rows refer to. */
export class ObjectReader {
  readonly #database: Database;
  readonly #bytes: StoredBytes;
  readonly #images: ShownImages;
  /** Pieces by the object's stored name, under which they never change; the one asked for last stands last. */
  readonly #lists: Map<string, readonly StoredPiece[]> = new Map();

  constructor(database: Database, bytes: StoredBytes, images: ShownImages) {
    this.#database = database;
    this.#bytes = bytes;
    this.#images = images;
  }

  /** Throws STORE_NOT_FOUND when it was replaced or deleted since the row was read. */
  async open(row: ObjectRow, form: ObjectForm): Promise<OpenObject> {
    const object = toObject(row);
    if (object.view !== undefined) return this.#openView(object, object.view, form);
    const pieces = await this.pieces(row);
    if (sumOf(pieces) === row.length_bytes) {
      return { object, form: 'file', etag: row.etag, source: await this.#bytes.store.open(pieces) };
    }
    throw new StoreError('STORE_NOT_FOUND', `the parts of ${row.object_key} are gone`, {
      where: row.object_key,
    });
  }

  diskDigest(manifestId: string): Promise<string | undefined> {
    return this.#images.diskDigest(manifestId);
  }

  /** The pieces of an object of stored bytes, in order. */
  async pieces(row: ObjectRow): Promise<readonly StoredPiece[]> {
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

  async #openView(
    object: StoredObject,
    { manifestId, spec }: NonNullable<StoredObject['view']>,
    form: ObjectForm,
  ): Promise<OpenObject> {
    const { openBlocks } = this.#images;
    if (form === 'blocks' && openBlocks !== undefined) {
      return { object, form, ...(await openBlocks(manifestId)) };
    }
    if (form === 'raw') return { object, form, ...(await this.#images.open(RAW, manifestId)) };
    const { source, etag } = await this.#images.open(spec, manifestId);
    // As the bytes are now: a later release may lay the same image out in another way.
    return { object: { ...object, etag, lengthBytes: source.lengthBytes }, form: 'file', source, etag };
  }

  async #listPieces(name: string): Promise<readonly StoredPiece[]> {
    const parts = await listObjectParts(this.#database.kysely, name);
    return parts.map((part) => ({ name: part.stored_name, lengthBytes: part.length_bytes }));
  }
}

function sumOf(pieces: readonly StoredPiece[]): number {
  return pieces.reduce((sum, piece) => sum + piece.lengthBytes, 0);
}
