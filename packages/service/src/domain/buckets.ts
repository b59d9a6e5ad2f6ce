import type { Principal } from '../auth/tokens.ts';
import { isUniqueViolation } from '../db/constraint-errors.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import type { Page } from '../db/page.ts';
import {
  deleteBucket,
  findBucket,
  insertBucket,
  listBuckets,
  measureBucket,
  updateBucket,
} from '../db/repositories/buckets.ts';
import type { BucketRow, GrantVerb } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import type { Access } from './access.ts';
import {
  type BucketAttributes,
  type BucketNaming,
  bucketAttributes,
  requireBucketMetadata,
  requireBucketName,
} from './bucket-attributes.ts';
import { noCompartment, requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import { conditionHolds, type EtagList } from './object-conditions.ts';
import { type TagPolicy, type Tags, tagColumns, tagsOf } from './tags.ts';

type SentTags = { readonly [Kind in keyof Tags]?: Tags[Kind] | undefined };

export interface Bucket {
  readonly id: string;
  readonly name: string;
  readonly compartmentId: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tags: Tags;
  /** The user who made it, where that is known. */
  readonly createdBy: string | undefined;
  readonly createdAtMs: number;
  /** Without quotes; another one with every change. */
  readonly etag: string;
}

/** What a bucket holds. */
export interface BucketMeasure {
  readonly objectCount: number;
  readonly lengthBytes: number;
}

export interface NewBucket {
  readonly name: string;
  /** Default: the tenancy's root. */
  readonly compartmentId?: string | undefined;
  readonly naming?: BucketNaming | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** As they were sent. */
  readonly tags?: SentTags | undefined;
}

/** What is not said stays. */
export interface BucketChange extends Omit<NewBucket, 'name'> {
  readonly name?: string | undefined;
  /** The bucket is as it was with one of these ETags. */
  readonly ifMatch?: EtagList | undefined;
}

/** A tenancy's buckets: places that objects have names in. */
export class Buckets {
  readonly #database: Database;
  readonly #access: Access;
  readonly #tags: TagPolicy;

  constructor(database: Database, access: Access, tags: TagPolicy) {
    this.#database = database;
    this.#access = access;
    this.#tags = tags;
  }

  /** Those that the principal may see, by name. Throws NOT_FOUND for a compartment that it may not look into. */
  async list(listing: {
    readonly principal: Principal;
    readonly compartmentId?: string | undefined;
    readonly startAfter?: string | undefined;
    readonly limit: number;
  }): Promise<Page<Bucket>> {
    const { principal, compartmentId, ...page } = listing;
    if (compartmentId !== undefined) await this.#requireCompartment(principal, 'inspect', compartmentId);
    const compartmentIds =
      compartmentId === undefined
        ? await this.#access.where(principal, 'inspect', 'buckets')
        : [compartmentId];
    const { tenancyId } = principal;
    const { items, next } = await listBuckets(this.#database.kysely, { ...page, tenancyId, compartmentIds });
    return { items: items.map(toBucket), next };
  }

  /** Throws INVALID for a name that is none, CONFLICT when the tenancy has a bucket of that name. */
  async create(principal: Principal, bucket: NewBucket): Promise<Bucket> {
    const { name, compartmentId = principal.tenancyId, naming = 'portable', metadata = {} } = bucket;
    requireBucketName(name, naming);
    requireBucketMetadata(metadata);
    await this.#requireCompartment(principal, 'manage', compartmentId);
    const row: BucketRow = {
      id: newId('bkt'),
      tenancy_id: principal.tenancyId,
      compartment_id: compartmentId,
      name,
      attributes_json: attributesJson({ metadata }),
      ...tagColumns(await this.#tags.check(principal, bucket.tags ?? {})),
      created_by: principal.userId,
      version: 1,
      created_at_ms: Date.now(),
    };
    return inTransaction(this.#database.kysely, async (transaction) => {
      await requireCompartment(transaction, principal.tenancyId, compartmentId);
      if (await insertBucket(transaction, row)) return toBucket(row);
      throw bucketExists(name);
    });
  }

  /** Throws NOT_FOUND. `verb` is what the caller is about to do; to read by default. */
  async get(principal: Principal, name: string, verb: GrantVerb = 'read'): Promise<Bucket> {
    return toBucket(await this.#row(principal, name, verb));
  }

  /** How much it holds now, counted. Throws NOT_FOUND. */
  async measure(principal: Principal, name: string): Promise<BucketMeasure> {
    return measureBucket(this.#database.kysely, (await this.#row(principal, name, 'read')).id);
  }

  /**
   * Changes a bucket; another compartment needs the right to make buckets there. Throws NOT_FOUND, PRECONDITION_FAILED,
   * INVALID, and CONFLICT when another bucket has the new name.
   */
  async update(principal: Principal, name: string, change: BucketChange): Promise<Bucket> {
    if (change.name !== undefined && change.name !== name)
      requireBucketName(change.name, change.naming ?? 'portable');
    requireBucketMetadata(change.metadata ?? {});
    const before = await this.#row(principal, name, 'use');
    const { compartmentId = before.compartment_id } = change;
    if (compartmentId !== before.compartment_id)
      await this.#requireCompartment(principal, 'manage', compartmentId);
    const tags = change.tags && (await this.#tags.check(principal, change.tags, tagsOf(before)));
    return this.#change(principal, before, async (transaction, row) => {
      requireBucketMatch(toBucket(row), change.ifMatch);
      if (compartmentId !== row.compartment_id)
        await requireCompartment(transaction, principal.tenancyId, compartmentId);
      const after = changed(row, change, tags);
      await updateBucket(transaction, after);
      return toBucket(after);
    }).catch((error) => {
      throw isUniqueViolation(error) ? bucketExists(change.name ?? name) : error;
    });
  }

  /** Throws NOT_FOUND, and BUCKET_NOT_EMPTY while it holds an object or an unfinished upload. */
  async delete(principal: Principal, name: string, ifMatch?: EtagList): Promise<void> {
    const found = await this.#row(principal, name, 'manage');
    await this.#change(principal, found, async (transaction, row) => {
      requireBucketMatch(toBucket(row), ifMatch);
      if ((await deleteBucket(transaction, row.id)) === 'deleted') return;
      throw new DomainError('BUCKET_NOT_EMPTY', `bucket ${name} holds objects or unfinished uploads`, {
        hint: 'delete its objects and abort its uploads first',
      });
    });
  }

  /** With the bucket as it is now, which nothing else changes meanwhile. Throws NOT_FOUND when it is gone. */
  #change<Result>(
    { tenancyId }: Principal,
    { id, name }: BucketRow,
    change: (transaction: Queries, row: BucketRow) => Promise<Result>,
  ): Promise<Result> {
    return inTransaction(this.#database.kysely, async (transaction) => {
      const row = await findBucket(transaction, tenancyId, name, { forUpdate: true });
      if (row === undefined || row.id !== id) throw noBucket(name);
      return change(transaction, row);
    });
  }

  #row(principal: Principal, name: string, verb: GrantVerb): Promise<BucketRow> {
    return bucketFor(this.#database.kysely, this.#access, principal, name, { verb, resource: 'buckets' });
  }

  #requireCompartment(principal: Principal, verb: GrantVerb, compartmentId: string): Promise<void> {
    return this.#access.demand(principal, verb, 'buckets', compartmentId, () => noCompartment(compartmentId));
  }
}

/** What someone is about to do in a bucket. */
export interface BucketUse {
  readonly verb: GrantVerb;
  readonly resource: 'buckets' | 'objects';
}

export const INSPECT_OBJECTS: BucketUse = { verb: 'inspect', resource: 'objects' };
export const READ_OBJECTS: BucketUse = { verb: 'read', resource: 'objects' };
export const MANAGE_OBJECTS: BucketUse = { verb: 'manage', resource: 'objects' };

/**
 * The bucket of this name in the principal's tenancy, for who may do this in it. Not within a transaction. Throws
 * NOT_FOUND, and FORBIDDEN for who may see it and not do this.
 */
export async function bucketFor(
  queries: Queries,
  access: Access,
  principal: Principal,
  name: string,
  { verb, resource }: BucketUse,
): Promise<BucketRow> {
  const bucket = await requireBucket(queries, principal.tenancyId, name);
  await access.demand(principal, verb, resource, bucket.compartment_id, () => noBucket(name));
  return bucket;
}

/** The tenancy's bucket of this name, whoever asks. Throws NOT_FOUND. */
export async function requireBucket(queries: Queries, tenancyId: string, name: string): Promise<BucketRow> {
  const bucket = await findBucket(queries, tenancyId, name);
  if (bucket === undefined) throw noBucket(name);
  return bucket;
}

export function noBucket(name: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no bucket ${name}`, { subject: 'bucket' });
}

/** Throws PRECONDITION_FAILED unless the bucket has one of these ETags. */
function requireBucketMatch({ name, etag }: Bucket, ifMatch: EtagList | undefined): void {
  if (conditionHolds({ ifMatch }, etag)) return;
  throw new DomainError('PRECONDITION_FAILED', `bucket ${name} has the ETag ${etag}`, {
    hint: 'look at the bucket as it is now, then decide again',
    subject: 'if-match',
  });
}

function bucketExists(name: string): DomainError {
  return new DomainError('CONFLICT', `there is a bucket ${name} already`, { subject: 'bucket' });
}

function changed(row: BucketRow, change: BucketChange, tags: Tags | undefined): BucketRow {
  const { name = row.name, compartmentId = row.compartment_id, metadata } = change;
  return {
    ...row,
    name,
    compartment_id: compartmentId,
    version: row.version + 1,
    ...(metadata && { attributes_json: attributesJson({ metadata }) }),
    ...(tags && tagColumns(tags)),
  };
}

function attributesJson(attributes: BucketAttributes): string {
  return JSON.stringify(attributes);
}

function toBucket(row: BucketRow): Bucket {
  return {
    id: row.id,
    name: row.name,
    compartmentId: row.compartment_id,
    metadata: bucketAttributes.parse(JSON.parse(row.attributes_json)).metadata ?? {},
    tags: tagsOf(row),
    createdBy: row.created_by ?? undefined,
    createdAtMs: row.created_at_ms,
    etag: `${row.id.slice(row.id.indexOf('-') + 1)}-${row.version}`,
  };
}
