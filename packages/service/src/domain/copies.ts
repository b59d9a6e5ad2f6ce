import { z } from 'zod';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { findObject } from '../db/repositories/objects.ts';
import { findTenancy } from '../db/repositories/tenancies.ts';
import type { Job } from '../jobs/job.ts';
import type { JobQueue } from '../jobs/queue.ts';
import { toJsonValue } from '../json.ts';
import type { Access } from './access.ts';
import { bucketFor, MANAGE_OBJECTS, noBucket, READ_OBJECTS } from './buckets.ts';
import { DomainError } from './errors.ts';
import { requireMetadata, storageTiers } from './object-attributes.ts';
import { type EtagList, requireCondition } from './object-conditions.ts';
import { requireObjectKey } from './object-key.ts';
import type { Region } from './region.ts';
import { noObject } from './stored-object.ts';

const etags = z.union([z.literal('*'), z.array(z.string())]).optional();

export const copyInput = z.object({
  source: z.object({
    bucket: z.string(),
    key: z.string(),
    /** The version that was there when the copy was asked for: no other is copied. */
    etag: z.string(),
  }),
  target: z.object({
    region: z.string(),
    namespace: z.string(),
    bucket: z.string(),
    key: z.string(),
    ifMatch: etags,
    ifNoneMatch: etags,
  }),
  /** In place of the source's. */
  metadata: z.record(z.string(), z.string()).optional(),
  storageTier: z.enum(storageTiers).optional(),
});
export type CopyInput = z.infer<typeof copyInput>;

export interface CopyRequest {
  readonly source: { readonly bucket: string; readonly key: string; readonly ifMatch?: EtagList | undefined };
  readonly target: {
    /** This region by default. */
    readonly region?: string | undefined;
    /** The principal's own by default, and no other. */
    readonly namespace?: string | undefined;
    readonly bucket: string;
    readonly key: string;
    readonly ifMatch?: EtagList | undefined;
    readonly ifNoneMatch?: EtagList | undefined;
  };
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly storageTier?: CopyInput['storageTier'];
}

/** The kind of its jobs. */
export const COPY_JOB = 'object-copy';

/** Copies of objects, within this region and to others of the realm: jobs. */
export class Copies {
  readonly #database: Database;
  readonly #access: Access;
  readonly #queue: JobQueue;
  readonly #region: Region;

  constructor(parts: { database: Database; access: Access; queue: JobQueue; region: Region }) {
    this.#database = parts.database;
    this.#access = parts.access;
    this.#queue = parts.queue;
    this.#region = parts.region;
  }

  /**
   * Starts to copy the object as it is now. Needs the grants to read objects where it is and to manage them where it
   * goes; in another region, those of the user of the same name in the tenancy of the same namespace there. Throws
   * NOT_FOUND, FORBIDDEN, INVALID for a region that is not known, PRECONDITION_FAILED.
   */
  async start(principal: Principal, request: CopyRequest): Promise<Job> {
    const { source, target, metadata, storageTier } = request;
    requireObjectKey(target.key);
    requireMetadata(metadata ?? {});
    const queries = this.#database.kysely;
    const bucket = await bucketFor(queries, this.#access, principal, source.bucket, READ_OBJECTS);
    const row = await findObject(queries, bucket.id, source.key);
    if (row === undefined) throw noObject(source);
    requireCondition({ ifMatch: source.ifMatch }, row.etag);
    const { region = this.#region.name, ifMatch, ifNoneMatch } = target;
    const { namespace } = (await findTenancy(queries, principal.tenancyId)) ?? { namespace: '' };
    if (target.namespace !== undefined && target.namespace !== namespace) throw noBucket(target.bucket);
    if (region === this.#region.name) {
      const into = await bucketFor(queries, this.#access, principal, target.bucket, MANAGE_OBJECTS);
      const present = await findObject(queries, into.id, target.key);
      requireCondition({ ifMatch, ifNoneMatch }, present?.etag);
    } else requirePeer(this.#region, region);
    const input: CopyInput = {
      source: { bucket: source.bucket, key: source.key, etag: row.etag },
      target: {
        region,
        namespace,
        bucket: target.bucket,
        key: target.key,
        ifMatch: mutable(ifMatch),
        ifNoneMatch: mutable(ifNoneMatch),
      },
      metadata,
      storageTier,
    };
    return this.#queue.create({
      tenancyId: principal.tenancyId,
      userId: principal.userId,
      kind: COPY_JOB,
      compartmentId: bucket.compartment_id,
      operation: 'COPY_OBJECT',
      resources: [{ resourceId: bucket.id, entityType: 'bucket', action: 'related' }],
      input: toJsonValue(input),
    });
  }
}

/** Where another region's service is, and the key to ask it with. Throws INVALID for a region that is not known. */
export function requirePeer(
  { name, peers, realmKey }: Region,
  region: string,
): { readonly address: string; readonly realmKey: Uint8Array } {
  const address = peers.get(region);
  if (address === undefined) {
    throw new DomainError('INVALID', `region ${name} knows of no region ${region}`, {
      hint: `its operator can name it: gantry serve --peer ${region}=URL`,
    });
  }
  if (realmKey !== undefined) return { address, realmKey };
  throw new DomainError('INVALID', `region ${name} has no key to ask other regions with`, {
    hint: 'its operator can give it one, the same in all regions: gantry serve --realm-key FILE',
  });
}

function mutable(list: EtagList | undefined): '*' | string[] | undefined {
  return list === undefined || list === '*' ? list : [...list];
}
