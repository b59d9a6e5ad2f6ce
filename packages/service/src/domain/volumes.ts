import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import type { Page } from '../db/page.ts';
import {
  type AttachmentListing,
  findVolume,
  forgetVolumes,
  listVolumeAttachments,
  listVolumes,
  lockVolume,
  updateVolume,
  type VolumeListing,
} from '../db/repositories/volumes.ts';
import type { GrantVerb, VolumeAttachmentRow, VolumeRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import type { Access } from './access.ts';
import { noCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import { DELETED_KEPT_MS } from './images.ts';
import type { EtagList } from './object-conditions.ts';
import { type Tags, tagsOf } from './tags.ts';
import { etagOfVersion, requireVersion } from './versions.ts';

export interface Volume {
  readonly id: string;
  readonly compartmentId: string;
  readonly name: string;
  readonly sizeBytes: number;
  /** The image that it was made from. */
  readonly imageId: string | undefined;
  readonly availabilityDomain: string;
  readonly state: 'available' | 'deleted';
  readonly tags: Tags;
  readonly etag: string;
  readonly createdAtMs: number;
}

/** That a volume is, or was, an instance's. */
export interface VolumeAttachment {
  readonly id: string;
  readonly compartmentId: string;
  readonly instanceId: string;
  readonly volumeId: string;
  readonly availabilityDomain: string;
  readonly isAttached: boolean;
  readonly createdAtMs: number;
}

type InCompartment<Listing> = Omit<Listing, 'tenancyId' | 'compartmentIds' | 'kind'> & {
  readonly compartmentId?: string | undefined;
};

/** Boot volumes: the disks that instances start from. Each has its image's blocks in common with it. */
export class Volumes {
  readonly #database: Database;
  readonly #access: Access;

  constructor(database: Database, access: Access) {
    this.#database = database;
    this.#access = access;
  }

  async list(principal: Principal, listing: InCompartment<VolumeListing>): Promise<Page<Volume>> {
    const { compartmentId, ...selection } = listing;
    const compartmentIds = await this.#compartments(principal, 'volumes', compartmentId);
    if (compartmentIds?.length === 0) return { items: [], next: undefined };
    const { tenancyId } = principal;
    const page = await listVolumes(this.#database.kysely, {
      ...selection,
      kind: 'boot',
      tenancyId,
      compartmentIds,
    });
    return { items: page.items.map(toVolume), next: page.next };
  }

  /** Also one that was deleted. Throws NOT_FOUND, FORBIDDEN. */
  async get(principal: Principal, id: string): Promise<Volume> {
    return toVolume(await this.#row(principal, id, 'inspect'));
  }

  /** Throws NOT_FOUND, PRECONDITION_FAILED, and CONFLICT while an instance has it. */
  async delete(principal: Principal, id: string, ifMatch?: EtagList): Promise<void> {
    await this.#row(principal, id, 'manage');
    await inTransaction(this.#database.kysely, async (transaction) => {
      const row = await lockVolume(transaction, principal.tenancyId, id);
      if (row === undefined || row.deleted_at_ms !== null) throw noVolume(id);
      requireVersion(ifMatch, row.version);
      await this.#requireDetached(transaction, row);
      await updateVolume(transaction, id, { deleted_at_ms: Date.now(), manifest_id: null });
    });
  }

  /** A volume that an instance may be launched from. Throws NOT_FOUND, FORBIDDEN, CONFLICT. */
  async requireFree(principal: Principal, id: string): Promise<VolumeRow> {
    const row = await this.#row(principal, id, 'use');
    if (row.deleted_at_ms !== null) throw noVolume(id);
    await this.#requireDetached(this.#database.kysely, row);
    return row;
  }

  /** The same once more, when nothing can change it. */
  async take(transaction: Queries, { tenancy_id, id }: VolumeRow): Promise<VolumeRow> {
    const row = await lockVolume(transaction, tenancy_id, id);
    if (row === undefined || row.deleted_at_ms !== null) throw noVolume(id);
    await this.#requireDetached(transaction, row);
    return row;
  }

  /** Which instances have, or had, which boot volumes. */
  async attachments(
    principal: Principal,
    listing: InCompartment<AttachmentListing>,
  ): Promise<Page<VolumeAttachment>> {
    const { compartmentId, ...selection } = listing;
    const compartmentIds = await this.#compartments(principal, 'instances', compartmentId);
    if (compartmentIds?.length === 0) return { items: [], next: undefined };
    const { tenancyId } = principal;
    const page = await listVolumeAttachments(this.#database.kysely, {
      ...selection,
      kind: 'boot',
      tenancyId,
      compartmentIds,
    });
    const items = [];
    for (const row of page.items) {
      const volume = await findVolume(this.#database.kysely, tenancyId, row.volume_id);
      items.push(toAttachment(row, volume));
    }
    return { items, next: page.next };
  }

  /** Throws NOT_FOUND. */
  async attachment(principal: Principal, id: string): Promise<VolumeAttachment> {
    const [found] = (await this.attachments(principal, { id, limit: 1 })).items;
    if (found !== undefined) return found;
    throw new DomainError('NOT_FOUND', `there is no boot volume attachment ${id}`);
  }

  /** Forgets what was deleted a day ago. */
  async tidy(nowMs: number = Date.now()): Promise<void> {
    await forgetVolumes(this.#database.kysely, nowMs - DELETED_KEPT_MS);
  }

  async #compartments(
    principal: Principal,
    resource: 'volumes' | 'instances',
    compartmentId: string | undefined,
  ): Promise<readonly string[] | undefined> {
    if (compartmentId === undefined) return this.#access.where(principal, 'inspect', resource);
    await this.#access.require(principal, 'inspect', resource, compartmentId, () =>
      noCompartment(compartmentId),
    );
    return [compartmentId];
  }

  async #requireDetached(
    queries: Queries,
    { tenancy_id: tenancyId, id: volumeId }: VolumeRow,
  ): Promise<void> {
    const listing = { tenancyId, kind: 'boot', volumeId, isAttached: true, limit: 1 } as const;
    const [attachment] = (await listVolumeAttachments(queries, listing)).items;
    if (attachment === undefined) return;
    throw new DomainError(
      'CONFLICT',
      `the boot volume ${volumeId} is attached to ${attachment.instance_id}`,
      {
        hint: 'terminate that instance with preserveBootVolume first',
      },
    );
  }

  async #row(principal: Principal, id: string, verb: GrantVerb): Promise<VolumeRow> {
    const row = await findVolume(this.#database.kysely, principal.tenancyId, id);
    if (row === undefined || row.kind !== 'boot') throw noVolume(id);
    await this.#access.demand(principal, verb, 'volumes', row.compartment_id, () => noVolume(id));
    return row;
  }
}

function noVolume(id: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no boot volume ${id}`);
}

function toVolume(row: VolumeRow): Volume {
  return {
    id: row.id,
    compartmentId: row.compartment_id,
    name: row.name,
    sizeBytes: row.size_bytes,
    imageId: row.image_id ?? undefined,
    availabilityDomain: row.availability_domain,
    state: row.deleted_at_ms === null ? 'available' : 'deleted',
    tags: tagsOf(row),
    etag: etagOfVersion(row.version),
    createdAtMs: row.created_at_ms,
  };
}

function toAttachment(row: VolumeAttachmentRow, volume: VolumeRow | undefined): VolumeAttachment {
  return {
    id: row.id,
    compartmentId: row.compartment_id,
    instanceId: row.instance_id,
    volumeId: row.volume_id,
    availabilityDomain: volume?.availability_domain ?? '',
    isAttached: row.detached_at_ms === null,
    createdAtMs: row.created_at_ms,
  };
}
