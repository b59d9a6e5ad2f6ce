import { createHash, randomBytes } from 'node:crypto';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import type { Page } from '../db/page.ts';
import { findBucket } from '../db/repositories/buckets.ts';
import { deletePar, findPar, findParByToken, insertPar, listPars } from '../db/repositories/pars.ts';
import { findTenancy } from '../db/repositories/tenancies.ts';
import type { BucketRow, GrantVerb, PreAuthenticatedRequestRow } from '../db/schema.ts';
import type { Access, Resource } from './access.ts';
import { bucketFor } from './buckets.ts';
import { DomainError } from './errors.ts';
import { requireObjectKey } from './object-key.ts';
import {
  actionsOf,
  allows,
  isForMany,
  type ParAccessType,
  type ParAction,
  type ParScope,
  parAccessTypes,
  requireScope,
} from './par-access.ts';

/** A URL that carries its own permission to objects of a bucket. */
export interface PreAuthenticatedRequest extends ParScope {
  readonly id: string;
  readonly name: string;
  /** Refused from this moment on. */
  readonly expiresAtMs: number;
  readonly createdAtMs: number;
}

export interface NewPreAuthenticatedRequest {
  readonly name: string;
  readonly accessType: ParAccessType;
  readonly objectKey?: string | undefined;
  readonly allowsListing?: boolean | undefined;
  readonly expiresAtMs: number;
}

/** What a URL says. */
export interface ParLink {
  readonly token: string;
  readonly namespace: string;
  readonly bucket: string;
}

/** A request that was let through. */
export interface UsedPar {
  readonly id: string;
  /** On whose behalf it acts: the user who made it, with the rights of this moment. */
  readonly principal: Principal;
  readonly scope: ParScope;
}

/** 256 bits, which nobody guesses. */
const TOKEN_BYTES = 32;
const TOKEN = /^[A-Za-z0-9_-]{43}$/;
const NAME_CHARACTERS_MAX = 255;

/**
 * Pre-authenticated requests. Making, listing and deleting them needs the grant to manage buckets where the bucket is
 * (as PAR_MANAGE does in OCI's policies), making one also what it allows: to read objects, to manage them, to inspect
 * them. A request acts as the user who made it: what that user may no longer do, it does not allow either.
 */
export class PreAuthenticatedRequests {
  readonly #database: Database;
  readonly #access: Access;
  readonly #now: () => number;

  constructor(database: Database, access: Access, options: { readonly now?: () => number } = {}) {
    this.#database = database;
    this.#access = access;
    this.#now = options.now ?? Date.now;
  }

  /** `path` is told here and never again: only the token's hash is kept. Throws NOT_FOUND, FORBIDDEN, INVALID. */
  async create(
    principal: Principal,
    bucketName: string,
    request: NewPreAuthenticatedRequest,
  ): Promise<{ readonly par: PreAuthenticatedRequest; readonly path: string }> {
    const scope: ParScope = {
      accessType: request.accessType,
      objectKey: request.objectKey === '' ? undefined : request.objectKey,
      allowsListing: request.allowsListing ?? false,
    };
    requireScope(scope);
    requireName(request.name);
    if (scope.objectKey !== undefined) requireObjectKey(scope.objectKey);
    const nowMs = this.#now();
    if (!(request.expiresAtMs > nowMs)) {
      throw new DomainError('INVALID', 'the time of expiry is over already', { hint: 'give a later one' });
    }
    const bucket = await this.#bucket(principal, bucketName);
    await this.#requireRights(principal, bucket, scope);
    const tenancy = await findTenancy(this.#database.kysely, bucket.tenancy_id);
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    const row: PreAuthenticatedRequestRow = {
      id: newId('par'),
      tenancy_id: bucket.tenancy_id,
      bucket_id: bucket.id,
      user_id: principal.userId,
      name: request.name,
      access_type: scope.accessType,
      object_key: scope.objectKey ?? null,
      allows_listing: scope.allowsListing ? 1 : 0,
      token_sha256: hashOf(token),
      expires_at_ms: request.expiresAtMs,
      created_at_ms: nowMs,
    };
    await insertPar(this.#database.kysely, row);
    const link = { token, namespace: tenancy?.namespace ?? '', bucket: bucketName };
    return { par: toPar(row), path: parPath(link, scope) };
  }

  /** Throws NOT_FOUND. */
  async get(principal: Principal, bucketName: string, id: string): Promise<PreAuthenticatedRequest> {
    const bucket = await this.#bucket(principal, bucketName);
    const row = await findPar(this.#database.kysely, bucket.id, id);
    if (row === undefined) throw noPar(id);
    return toPar(row);
  }

  /** A bucket's, those that expired too, oldest first. Throws NOT_FOUND. */
  async list(
    principal: Principal,
    bucketName: string,
    listing: {
      readonly keyPrefix?: string | undefined;
      readonly startAfter?: string | undefined;
      readonly limit: number;
    },
  ): Promise<Page<PreAuthenticatedRequest>> {
    const { id: bucketId } = await this.#bucket(principal, bucketName);
    const { items, next } = await listPars(this.#database.kysely, { bucketId, ...listing });
    return { items: items.map(toPar), next };
  }

  /** From now on its URL is good for nothing. Throws NOT_FOUND. */
  async delete(principal: Principal, bucketName: string, id: string): Promise<void> {
    const bucket = await this.#bucket(principal, bucketName);
    if (!(await deletePar(this.#database.kysely, bucket.id, id))) throw noPar(id);
  }

  /**
   * Lets a request through that came by such a URL, or throws the same NOT_FOUND for everything that may be wrong
   * with it: the token, the time, the path, what it is about to do, the rights of the one who made it.
   */
  async use(link: ParLink, action: ParAction, key = ''): Promise<UsedPar> {
    const row = TOKEN.test(link.token)
      ? await findParByToken(this.#database.kysely, hashOf(link.token))
      : undefined;
    if (row === undefined || this.#now() >= row.expires_at_ms) throw refused();
    const par = toPar(row);
    if (!allows(par, action, key)) throw refused();
    const tenancy = await findTenancy(this.#database.kysely, row.tenancy_id);
    const bucket = await findBucket(this.#database.kysely, row.tenancy_id, link.bucket);
    if (tenancy?.namespace !== link.namespace || bucket?.id !== row.bucket_id) throw refused();
    const principal = await this.#access.principalOf(row.user_id);
    if (principal === undefined || !(await this.#hasRights(principal, bucket, par))) throw refused();
    return { id: row.id, principal, scope: par };
  }

  #bucket(principal: Principal, name: string): Promise<BucketRow> {
    const use = { verb: 'manage', resource: 'buckets' } as const;
    return bucketFor(this.#database.kysely, this.#access, principal, name, use);
  }

  async #requireRights(principal: Principal, bucket: BucketRow, scope: ParScope): Promise<void> {
    for (const [verb, resource] of rightsOf(scope)) {
      const right = `${verb} ${resource}`;
      await this.#access.require(principal, verb, resource, bucket.compartment_id, () => lacks(right));
    }
  }

  async #hasRights(principal: Principal, bucket: BucketRow, scope: ParScope): Promise<boolean> {
    for (const [verb, resource] of rightsOf(scope)) {
      if (!(await this.#access.allows(principal, verb, resource, bucket.compartment_id))) return false;
    }
    return true;
  }
}

const verbOf: Readonly<Record<ParAction, GrantVerb>> = { read: 'read', write: 'manage', list: 'inspect' };

/** What one must have to make it, and to go on having for it to work. */
function rightsOf(scope: ParScope): readonly (readonly [GrantVerb, Resource])[] {
  const objects = actionsOf(scope).map((action) => [verbOf[action], 'objects'] as const);
  return [['manage', 'buckets'], ...objects];
}

function lacks(right: string): DomainError {
  return new DomainError('FORBIDDEN', `who shares objects needs the grant to ${right} in this compartment`, {
    hint: 'ask an administrator of the tenancy for it',
  });
}

function requireName(name: string): void {
  if (name !== '' && name.length <= NAME_CHARACTERS_MAX && !/\p{Cc}/u.test(name)) return;
  throw new DomainError(
    'INVALID',
    `a name has 1 to ${NAME_CHARACTERS_MAX} characters, and no control characters`,
  );
}

/** The object's name is one segment, so that no client takes a part of it for a step up. */
function parPath({ token, namespace, bucket }: ParLink, { accessType, objectKey }: ParScope): string {
  const object = isForMany(accessType) ? '' : encodeURIComponent(objectKey ?? '');
  return `/p/${token}/n/${encodeURIComponent(namespace)}/b/${encodeURIComponent(bucket)}/o/${object}`;
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

function noPar(id: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no pre-authenticated request ${id}`, {
    subject: 'pre-authenticated request',
  });
}

function refused(): DomainError {
  return new DomainError('NOT_FOUND', 'this address is unknown, has expired, or is not good for this', {
    subject: 'pre-authenticated request',
  });
}

function toPar(row: PreAuthenticatedRequestRow): PreAuthenticatedRequest {
  const accessType = parAccessTypes.find((each) => each === row.access_type);
  if (accessType === undefined) throw new TypeError(`${row.access_type} is no access type`);
  return {
    id: row.id,
    name: row.name,
    accessType,
    objectKey: row.object_key ?? undefined,
    allowsListing: row.allows_listing === 1,
    expiresAtMs: row.expires_at_ms,
    createdAtMs: row.created_at_ms,
  };
}
