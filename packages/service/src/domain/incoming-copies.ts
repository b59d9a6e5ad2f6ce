import { z } from 'zod';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { findTenancyByNamespace, findUserByName } from '../db/repositories/tenancies.ts';
import type { UserRole } from '../db/schema.ts';
import { DomainError } from './errors.ts';
import { objectAttributes } from './object-attributes.ts';
import type { Objects } from './objects.ts';
import type { StoredBytes } from './stored-bytes.ts';
import type { StoredObject } from './stored-object.ts';
import type { Uploads } from './uploads.ts';

const etags = z.union([z.literal('*'), z.array(z.string())]).optional();

/** An object that another region's service is about to send. */
export const incomingCopy = z.object({
  key: z.string(),
  lengthBytes: z.number().int().min(0),
  contentType: z.string(),
  attributes: objectAttributes,
  /** Of the object that comes of it: how it is known again when an answer was lost. */
  etag: z.string().regex(/^[0-9a-f]{32}-\d+$/),
  condition: z.object({ ifMatch: etags, ifNoneMatch: etags }),
});
export type IncomingCopy = z.infer<typeof incomingCopy>;

/** A part with the SHA-256 of its bytes, in base64. */
export const hashedPart = z.object({
  partNumber: z.number().int(),
  lengthBytes: z.number().int(),
  sha256: z.string(),
});
export type HashedPart = z.infer<typeof hashedPart>;

/** Where a copy goes, and for whom it is made. */
export interface CopyTarget {
  readonly principal: Principal;
  readonly bucket: string;
}

/** Objects that the services of other regions send on behalf of users, who need the same rights here as for a PUT. */
export class IncomingCopies {
  readonly #database: Database;
  readonly #objects: Objects;
  readonly #uploads: Uploads;
  readonly #bytes: StoredBytes;

  constructor(parts: { database: Database; objects: Objects; uploads: Uploads; bytes: StoredBytes }) {
    this.#database = parts.database;
    this.#objects = parts.objects;
    this.#uploads = parts.uploads;
    this.#bytes = parts.bytes;
  }

  /**
   * The user of this name here, in the tenancy of this namespace; with no more rights than a member's for who is no
   * administrator where the request comes from. Throws NOT_FOUND.
   */
  async principalOf(namespace: string, userName: string, roleThere: UserRole): Promise<Principal> {
    const tenancy = await findTenancyByNamespace(this.#database.kysely, namespace);
    const user =
      tenancy === undefined ? undefined : await findUserByName(this.#database.kysely, tenancy.id, userName);
    if (user !== undefined) {
      const role = roleThere === 'administrator' ? user.role : 'member';
      return { userId: user.id, tenancyId: user.tenancy_id, role };
    }
    throw new DomainError(
      'NOT_FOUND',
      `there is no user ${userName} in the tenancy ${namespace} of this region`,
      {
        hint: 'make a user of that name there, with the grant to manage objects',
      },
    );
  }

  /** The upload to send it to; undefined when it arrived already. Throws as a PUT of the object would. */
  async begin({ principal, bucket }: CopyTarget, copy: IncomingCopy): Promise<string | undefined> {
    const { key, lengthBytes, contentType, attributes, etag, condition } = copy;
    const present = await this.#objects.get({ principal, bucket, key }).catch((error) => {
      if (error instanceof DomainError && error.subject === 'object') return undefined;
      throw error;
    });
    if (present?.etag === etag) return undefined;
    // Begun already, and the answer was lost.
    const { items } = await this.#uploads.list({ principal, bucket }, { prefix: key, limit: 1000 });
    const begun = items.find((upload) => upload.key === key && upload.etag === etag);
    if (begun !== undefined) return begun.id;
    const upload = await this.#uploads.create(
      { principal, bucket },
      { key, contentType, condition, attributes: { object: attributes, etag, keepsChecksums: true } },
    );
    if (lengthBytes > (await this.#bytes.store.freeBytes())) {
      await this.#uploads.abort({ principal, bucket, uploadId: upload.id });
      throw new DomainError('TOO_LARGE', `there is no room for ${lengthBytes} bytes in the other region`);
    }
    return upload.id;
  }

  /** What arrived so far, with hashes of what was read back. Throws NOT_FOUND. */
  async parts({ principal, bucket }: CopyTarget, uploadId: string): Promise<HashedPart[]> {
    const { parts } = await this.#uploads.get({ principal, bucket, uploadId });
    return parts.map(({ partNumber, lengthBytes, checksums }) => ({
      partNumber,
      lengthBytes,
      sha256: checksums.sha256 ?? '',
    }));
  }

  /** Stores a part, reads it back and hashes that. */
  async putPart(
    { principal, bucket }: CopyTarget,
    uploadId: string,
    part: { readonly partNumber: number; readonly lengthBytes: number },
    body: AsyncIterable<Uint8Array>,
  ): Promise<HashedPart> {
    const place = { principal, bucket, uploadId };
    const stored = await this.#uploads.putPart(place, part.partNumber, body, {
      expectedBytes: part.lengthBytes,
      checksums: ['sha256'],
      readsBack: true,
    });
    const { partNumber, lengthBytes, checksums } = stored;
    return { partNumber, lengthBytes, sha256: checksums.sha256 ?? '' };
  }

  /** Makes the parts the object, when they are what was sent. Throws NOT_FOUND, VERIFY_FAILED, PRECONDITION_FAILED. */
  async complete(
    { principal, bucket }: CopyTarget,
    uploadId: string,
    sent: readonly HashedPart[],
    condition: IncomingCopy['condition'],
  ): Promise<StoredObject> {
    const place = { principal, bucket, uploadId };
    const { parts } = await this.#uploads.get(place);
    const stored = new Map(parts.map((part) => [part.partNumber, part]));
    const listed = sent.map(({ partNumber, lengthBytes, sha256 }) => {
      const part = stored.get(partNumber);
      if (part?.lengthBytes === lengthBytes && part.checksums.sha256 === sha256) return part;
      throw new DomainError('VERIFY_FAILED', `part ${partNumber} is not what was sent`, {
        hint: 'retry the copy',
        subject: 'part',
      });
    });
    return this.#uploads.complete(place, listed, condition);
  }

  async abort({ principal, bucket }: CopyTarget, uploadId: string): Promise<void> {
    await this.#uploads.abort({ principal, bucket, uploadId });
  }
}
