import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { findTenancy } from '../db/repositories/tenancies.ts';
import type { Access } from './access.ts';
import { bucketFor, MANAGE_OBJECTS, noBucket, READ_OBJECTS } from './buckets.ts';
import { DomainError } from './errors.ts';
import { ownObjectAddress } from './object-address.ts';
import type { Objects } from './objects.ts';
import type { ObjectPlace } from './stored-object.ts';

/** An object as clients of a cloud name it. */
export interface ObjectName {
  readonly namespace: string;
  readonly bucket: string;
  readonly key: string;
}

/** What an address comes to: an object of this service, by permission or by pre-authenticated request, or another's. */
export type NamedObject =
  | { readonly kind: 'object'; readonly bucket: string; readonly key: string }
  | { readonly kind: 'par' | 'url'; readonly url: string };

export interface ObjectSourceParts {
  readonly database: Database;
  readonly access: Access;
  readonly objects: Objects;
  readonly parPlace: (url: URL, action: 'read' | 'write') => Promise<ObjectPlace>;
  /** Throws STORE_REFUSED for an address that is never asked. */
  readonly requireAddress: (url: string) => void;
}

/**
 * Objects that images come from and go to, looked at when they are named: whoever asks for the impossible hears it at
 * once. All throw NOT_FOUND and FORBIDDEN as the objects themselves do.
 */
export class ObjectSources {
  readonly #parts: ObjectSourceParts;

  constructor(parts: ObjectSourceParts) {
    this.#parts = parts;
  }

  /** `hosts` are the names that this service goes by. Throws INVALID for what is no address. */
  async byAddress(
    principal: Principal,
    address: string,
    hosts: readonly string[],
    action: 'read' | 'write',
  ): Promise<NamedObject> {
    const url = URL.parse(address);
    if (url === null || !/^https?:$/.test(url.protocol))
      throw new DomainError('INVALID', 'the URI is no http or https address');
    const own = await this.ownAddress(principal, url, hosts, action);
    if (own !== undefined) return own;
    this.#parts.requireAddress(url.href);
    return { kind: 'url', url: url.href };
  }

  /** What an address of this service leads to, without a connection; undefined for one of another host. */
  async ownAddress(
    principal: Principal,
    url: URL,
    hosts: readonly string[],
    action: 'read' | 'write',
  ): Promise<NamedObject | undefined> {
    const own = ownObjectAddress(url, hosts);
    if (own === undefined) return undefined;
    if (own.token === undefined) return this.byName(principal, own, action);
    const place = await this.#parts.parPlace(url, action);
    if (action === 'read') await this.#parts.objects.get(place);
    return { kind: 'par', url: url.href };
  }

  /** An object of the principal's own tenancy: others' namespaces are not there. */
  async byName(
    principal: Principal,
    { namespace, bucket, key }: ObjectName,
    action: 'read' | 'write',
  ): Promise<NamedObject> {
    const { database, access, objects } = this.#parts;
    const tenancy = await findTenancy(database.kysely, principal.tenancyId);
    if (tenancy?.namespace !== namespace) throw noBucket(bucket);
    const use = action === 'read' ? READ_OBJECTS : MANAGE_OBJECTS;
    await bucketFor(database.kysely, access, principal, bucket, use);
    if (action === 'read') await objects.get({ principal, bucket, key });
    return { kind: 'object', bucket, key };
  }
}
