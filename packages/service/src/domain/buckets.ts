import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import type { Page } from '../db/page.ts';
import { deleteBucket, findBucket, insertBucket, listBuckets } from '../db/repositories/buckets.ts';
import type { BucketRow } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import { DomainError } from './errors.ts';

export interface Bucket {
  readonly name: string;
  readonly createdAtMs: number;
}

/** A tenancy's buckets: places that objects have names in. */
export class Buckets {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  async list(listing: {
    readonly tenancyId: string;
    readonly startAfter?: string | undefined;
    readonly limit: number;
  }): Promise<Page<Bucket>> {
    const { items, next } = await listBuckets(this.#database.kysely, listing);
    return { items: items.map(toBucket), next };
  }

  /** Throws INVALID for a name that is none, CONFLICT when the tenancy has a bucket of that name. */
  async create(tenancyId: string, name: string): Promise<Bucket> {
    requireBucketName(name);
    const row = {
      id: newId('bkt'),
      tenancy_id: tenancyId,
      compartment_id: tenancyId,
      name,
      attributes_json: '{}',
      freeform_tags_json: '{}',
      defined_tags_json: '{}',
      created_by: null,
      version: 1,
      created_at_ms: Date.now(),
    };
    if (await insertBucket(this.#database.kysely, row)) return toBucket(row);
    throw new DomainError('CONFLICT', `there is a bucket ${name} already`);
  }

  /** Throws NOT_FOUND. */
  async get(tenancyId: string, name: string): Promise<Bucket> {
    return toBucket(await requireBucket(this.#database.kysely, tenancyId, name));
  }

  /** Throws NOT_FOUND, and BUCKET_NOT_EMPTY while it holds an object or an unfinished upload. */
  async delete(tenancyId: string, name: string): Promise<void> {
    const { id } = await requireBucket(this.#database.kysely, tenancyId, name);
    const outcome = await deleteBucket(this.#database.kysely, id);
    if (outcome === 'absent') throw noBucket(name);
    if (outcome === 'not_empty') {
      throw new DomainError('BUCKET_NOT_EMPTY', `bucket ${name} holds objects or unfinished uploads`, {
        hint: 'delete its objects and abort its uploads first',
      });
    }
  }
}

/** The tenancy's bucket of this name. Throws NOT_FOUND. */
export async function requireBucket(queries: Queries, tenancyId: string, name: string): Promise<BucketRow> {
  const bucket = await findBucket(queries, tenancyId, name);
  if (bucket === undefined) throw noBucket(name);
  return bucket;
}

export function noBucket(name: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no bucket ${name}`);
}

const LABEL = '[a-z0-9](?:[a-z0-9-]*[a-z0-9])?';
const BUCKET_NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);
const IPV4 = /^\d+\.\d+\.\d+\.\d+$/;

/**
 * Throws INVALID unless clients of S3, OBS and OCI all take the name: 3 to 63 characters, small letters, digits,
 * hyphens and dots, each label between dots beginning and ending with a letter or digit (it may become part of
 * a host name), neither an IPv4 address nor the encoding of another name (`xn--`).
 */
function requireBucketName(name: string): void {
  const fits = name.length >= 3 && name.length <= 63 && BUCKET_NAME.test(name);
  if (fits && !IPV4.test(name) && !name.startsWith('xn--')) return;
  throw new DomainError('INVALID', `${JSON.stringify(name)} cannot be a bucket's name`, {
    hint: 'take 3 to 63 small letters, digits, hyphens and dots, such as vm-images',
  });
}

function toBucket(row: BucketRow): Bucket {
  return { name: row.name, createdAtMs: row.created_at_ms };
}
