import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import type { Page } from '../db/page.ts';
import {
  type CapabilitySchemaListing,
  deleteCapabilitySchema,
  findCapabilitySchema,
  insertCapabilitySchema,
  listCapabilitySchemas,
  lockCapabilitySchema,
  updateCapabilitySchema,
} from '../db/repositories/image-capability-schemas.ts';
import type { GrantVerb, ImageCapabilitySchemaRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import type { Access } from './access.ts';
import { noCompartment, requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import {
  type CapabilityDescriptor,
  type CapabilitySchemaData,
  globalCapabilities,
} from './global-capabilities.ts';
import type { Images } from './images.ts';
import type { EtagList } from './object-conditions.ts';
import { type TagPolicy, type Tags, tagColumns, tagsOf } from './tags.ts';
import { etagOfVersion, requireVersion } from './versions.ts';

/** What may be chosen when an image is launched. An image has one, or the archive's, or the global one. */
export interface CapabilitySchema {
  readonly id: string;
  readonly compartmentId: string;
  readonly imageId: string;
  readonly name: string;
  readonly globalVersionName: string;
  readonly data: CapabilitySchemaData;
  readonly tags: Tags;
  readonly etag: string;
  readonly createdAtMs: number;
}

export interface NewCapabilitySchema {
  readonly compartmentId: string;
  readonly imageId: string;
  readonly name?: string | undefined;
  readonly globalVersionName: string;
  readonly data: CapabilitySchemaData;
  readonly tags?: Partial<Tags> | undefined;
}

export interface CapabilitySchemaChanges {
  readonly name?: string | undefined;
  readonly data?: CapabilitySchemaData | undefined;
  readonly tags?: Partial<Tags> | undefined;
}

const ENTRIES_MAX = 200;

/** Capability schemas of images, with the permissions of images. */
export class CapabilitySchemas {
  readonly #database: Database;
  readonly #access: Access;
  readonly #tags: TagPolicy;
  readonly #images: Images;

  constructor(parts: { database: Database; access: Access; tags: TagPolicy; images: Images }) {
    this.#database = parts.database;
    this.#access = parts.access;
    this.#tags = parts.tags;
    this.#images = parts.images;
  }

  async list(
    principal: Principal,
    listing: Omit<CapabilitySchemaListing, 'tenancyId' | 'compartmentIds'> & {
      readonly compartmentId?: string | undefined;
    },
  ): Promise<Page<CapabilitySchema>> {
    const { compartmentId, ...selection } = listing;
    if (compartmentId !== undefined)
      await this.#access.require(principal, 'inspect', 'images', compartmentId, () =>
        noCompartment(compartmentId),
      );
    const compartmentIds =
      compartmentId === undefined
        ? await this.#access.where(principal, 'inspect', 'images')
        : [compartmentId];
    if (compartmentIds?.length === 0) return { items: [], next: undefined };
    const { tenancyId } = principal;
    const page = await listCapabilitySchemas(this.#database.kysely, {
      ...selection,
      tenancyId,
      compartmentIds,
    });
    return { items: page.items.map(toSchema), next: page.next };
  }

  /** Throws NOT_FOUND, FORBIDDEN. */
  async get(principal: Principal, id: string): Promise<CapabilitySchema> {
    return toSchema(await this.#row(principal, id, 'inspect'));
  }

  /** Throws NOT_FOUND for the image, INVALID for what the global schema does not have, CONFLICT for a second one. */
  async create(principal: Principal, schema: NewCapabilitySchema): Promise<CapabilitySchema> {
    requireData(schema.globalVersionName, schema.data);
    await this.#images.requireHome(principal, schema.compartmentId);
    const image = await this.#images.get(principal, schema.imageId, 'use');
    if (image.state === 'deleted') throw new DomainError('NOT_FOUND', `there is no image ${schema.imageId}`);
    const tags = await this.#tags.check(principal, schema.tags ?? {});
    const row: ImageCapabilitySchemaRow = {
      id: newId('ics'),
      tenancy_id: principal.tenancyId,
      compartment_id: schema.compartmentId,
      image_id: schema.imageId,
      name: schema.name ?? image.name,
      global_version_name: schema.globalVersionName,
      schema_json: JSON.stringify(schema.data),
      ...tagColumns(tags),
      version: 1,
      created_at_ms: Date.now(),
    };
    const isFirst = await inTransaction(this.#database.kysely, async (transaction) => {
      await requireCompartment(transaction, principal.tenancyId, schema.compartmentId);
      return insertCapabilitySchema(transaction, row);
    });
    if (isFirst) return toSchema(row);
    throw new DomainError('CONFLICT', `the image ${schema.imageId} has a capability schema already`, {
      hint: 'update that one',
    });
  }

  /** Throws NOT_FOUND, PRECONDITION_FAILED, INVALID. */
  async update(
    principal: Principal,
    id: string,
    changes: CapabilitySchemaChanges,
    ifMatch?: EtagList,
  ): Promise<CapabilitySchema> {
    const before = await this.#row(principal, id, 'use');
    const tags = await this.#tags.check(principal, changes.tags ?? {}, tagsOf(before));
    if (changes.data !== undefined) requireData(before.global_version_name, changes.data);
    return inTransaction(this.#database.kysely, async (transaction) => {
      await this.#locked(transaction, principal, id, ifMatch);
      const row = await updateCapabilitySchema(transaction, id, {
        ...(changes.name !== undefined && { name: changes.name }),
        ...(changes.data !== undefined && { schema_json: JSON.stringify(changes.data) }),
        ...tagColumns(tags),
      });
      return toSchema(row);
    });
  }

  /** Throws NOT_FOUND, PRECONDITION_FAILED. */
  async delete(principal: Principal, id: string, ifMatch?: EtagList): Promise<void> {
    await this.#row(principal, id, 'manage');
    await inTransaction(this.#database.kysely, async (transaction) => {
      await this.#locked(transaction, principal, id, ifMatch);
      await deleteCapabilitySchema(transaction, id);
    });
  }

  async #locked(
    transaction: Queries,
    { tenancyId }: Principal,
    id: string,
    ifMatch: EtagList | undefined,
  ): Promise<void> {
    const row = await lockCapabilitySchema(transaction, tenancyId, id);
    if (row === undefined) throw noSchema(id);
    requireVersion(ifMatch, row.version);
  }

  async #row(principal: Principal, id: string, verb: GrantVerb): Promise<ImageCapabilitySchemaRow> {
    const row = await findCapabilitySchema(this.#database.kysely, principal.tenancyId, id);
    if (row === undefined) throw noSchema(id);
    await this.#access.demand(principal, verb, 'images', row.compartment_id, () => noSchema(id));
    return row;
  }
}

/** What the schema says, and behind it what the global one says of all else. */
export function mergedData(data: CapabilitySchemaData): CapabilitySchemaData {
  return { ...globalCapabilities.data, ...data };
}

function noSchema(id: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no image capability schema ${id}`);
}

/** Each entry is one of the global schema's, of its type, and allows no more. */
function requireData(versionName: string, data: CapabilitySchemaData): void {
  if (versionName !== globalCapabilities.versionName) {
    throw invalid(`there is no version ${JSON.stringify(versionName)} of the global capability schema`, [
      globalCapabilities.versionName,
    ]);
  }
  const entries = Object.entries(data);
  if (entries.length > ENTRIES_MAX) throw invalid(`a schema has at most ${ENTRIES_MAX} entries`, []);
  for (const [name, descriptor] of entries) {
    const global = Object.hasOwn(globalCapabilities.data, name) ? globalCapabilities.data[name] : undefined;
    if (global === undefined)
      throw invalid(`there is no capability ${JSON.stringify(name)}`, Object.keys(globalCapabilities.data));
    requireDescriptor(name, descriptor, global);
  }
}

function requireDescriptor(
  name: string,
  descriptor: CapabilityDescriptor,
  global: CapabilityDescriptor,
): void {
  if (descriptor.descriptorType !== global.descriptorType)
    throw invalid(`${name} is of the type ${descriptor.descriptorType}`, [global.descriptorType]);
  if (descriptor.descriptorType === 'boolean' || global.descriptorType === 'boolean') return;
  const allowed: readonly (string | number)[] = global.values;
  const values: readonly (string | number)[] = descriptor.values;
  for (const value of values) {
    if (!allowed.includes(value))
      throw invalid(`${name} cannot be ${JSON.stringify(value)}`, allowed.map(String));
  }
  const { defaultValue } = descriptor;
  if (defaultValue !== undefined && !values.includes(defaultValue))
    throw invalid(`the default of ${name} is none of its values`, values.map(String));
}

function invalid(message: string, choices: readonly string[]): DomainError {
  return new DomainError('INVALID', message, {
    hint: choices.length === 0 ? undefined : `it is one of ${choices.join(', ')}`,
  });
}

function toSchema(row: ImageCapabilitySchemaRow): CapabilitySchema {
  return {
    id: row.id,
    compartmentId: row.compartment_id,
    imageId: row.image_id,
    name: row.name,
    globalVersionName: row.global_version_name,
    data: JSON.parse(row.schema_json),
    tags: tagsOf(row),
    etag: etagOfVersion(row.version),
    createdAtMs: row.created_at_ms,
  };
}
