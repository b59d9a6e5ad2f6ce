import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import type { Page } from '../db/page.ts';
import { lockImage } from '../db/repositories/images.ts';
import { liveJobKinds } from '../db/repositories/jobs.ts';
import {
  type AttachmentListing,
  attachmentsOf,
  findVolume,
  forgetVolumes,
  insertVolume,
  listVolumeAttachments,
  listVolumes,
  lockVolume,
  updateVolume,
  type VolumeListing,
} from '../db/repositories/volumes.ts';
import type { GrantVerb, VolumeAttachmentRow, VolumeRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import type { Machines } from '../machines/machines.ts';
import { wholeSectors } from '../machines/volume-disk.ts';
import type { Access } from './access.ts';
import { noCompartment, requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import type { HostQuota } from './host-quota.ts';
import { noImage, requireStored } from './image.ts';
import { DELETED_KEPT_MS, type Images } from './images.ts';
import type { EtagList } from './object-conditions.ts';
import { type TagPolicy, type Tags, tagColumns, tagsOf } from './tags.ts';
import { etagOfVersion, requireVersion } from './versions.ts';

export interface Volume {
  readonly id: string;
  /** What an instance starts from, or one beside it. */
  readonly kind: 'boot' | 'block';
  readonly compartmentId: string;
  readonly name: string;
  readonly sizeBytes: number;
  /** The image that it was made from. */
  readonly imageId: string | undefined;
  /** Whether it needs nothing of the vault. */
  readonly isFilled: boolean;
  readonly availabilityDomain: string;
  readonly state: 'available' | 'deleted';
  readonly tags: Tags;
  readonly etag: string;
  readonly createdAtMs: number;
}

/** That a volume is, or was, an instance's. */
export interface VolumeAttachment {
  readonly id: string;
  readonly kind: 'boot' | 'block';
  readonly compartmentId: string;
  readonly instanceId: string;
  readonly volumeId: string;
  readonly availabilityDomain: string;
  readonly isAttached: boolean;
  readonly state: 'attaching' | 'attached' | 'detaching' | 'detached';
  readonly createdAtMs: number;
}

export interface NewVolume {
  readonly compartmentId: string;
  readonly availabilityDomain: string;
  readonly name?: string | undefined;
  /** By default the image's size; an empty volume needs one. */
  readonly sizeBytes?: number | undefined;
  /** What it holds from its begin; nothing when absent. */
  readonly imageId?: string | undefined;
  readonly tags?: Partial<Tags> | undefined;
}

export interface VolumeParts {
  readonly database: Database;
  readonly access: Access;
  readonly tags: TagPolicy;
  readonly images: Images;
  readonly machines: Machines;
  readonly quota: HostQuota;
}

/** OCI's largest volume. */
export const VOLUME_BYTES_MAX: number = 32 * 1024 ** 4;

type InCompartment<Listing> = Omit<Listing, 'tenancyId' | 'compartmentIds'> & {
  readonly compartmentId?: string | undefined;
};

/** Disks of instances: those that they start from, and others. One that is made of an image has its blocks in common. */
export class Volumes {
  readonly #parts: VolumeParts;
  readonly #database: Database;
  readonly #access: Access;

  constructor(parts: VolumeParts) {
    this.#parts = parts;
    this.#database = parts.database;
    this.#access = parts.access;
  }

  /**
   * Makes a volume that no instance starts from: empty, or as an image is. Throws NOT_FOUND, FORBIDDEN, CONFLICT,
   * INVALID, QUOTA.
   */
  async create(principal: Principal, request: NewVolume): Promise<Volume> {
    const { images, tags, quota } = this.#parts;
    const { compartmentId, imageId } = request;
    const { tenancyId } = principal;
    await this.#access.demand(principal, 'manage', 'volumes', compartmentId, () =>
      noCompartment(compartmentId),
    );
    const checked = await tags.check(principal, request.tags ?? {});
    const content =
      imageId === undefined ? undefined : requireStored(await images.get(principal, imageId, 'read')).content;
    const sizeBytes = requireVolumeSize(request.sizeBytes, content?.virtualSizeBytes);
    const id = newId('vol');
    const row: VolumeRow = {
      id,
      tenancy_id: tenancyId,
      compartment_id: compartmentId,
      kind: 'block',
      name: request.name ?? `volume-${id.slice(-8)}`,
      size_bytes: sizeBytes,
      manifest_id: content?.manifestId ?? null,
      file_state: null,
      image_id: imageId ?? null,
      availability_domain: request.availabilityDomain,
      ...tagColumns(checked),
      version: 1,
      created_at_ms: Date.now(),
      deleted_at_ms: null,
    };
    await inTransaction(this.#database.kysely, async (transaction) => {
      await requireCompartment(transaction, tenancyId, compartmentId);
      await quota.requireVolume(transaction, sizeBytes);
      if (imageId !== undefined) {
        const image = await lockImage(transaction, tenancyId, imageId);
        if (image === undefined || image.manifest_id !== content?.manifestId) throw noImage(imageId);
      }
      await insertVolume(transaction, row);
    });
    return toVolume(row);
  }

  async list(principal: Principal, listing: InCompartment<VolumeListing>): Promise<Page<Volume>> {
    const { compartmentId, ...selection } = listing;
    const compartmentIds = await this.#compartments(principal, 'volumes', compartmentId);
    if (compartmentIds?.length === 0) return { items: [], next: undefined };
    const { tenancyId } = principal;
    const page = await listVolumes(this.#database.kysely, {
      ...selection,
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
    await this.#parts.machines.files.remove(id);
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
      tenancyId,
      compartmentIds,
    });
    const items: VolumeAttachment[] = [];
    const jobs = await liveJobKinds(
      this.#database.kysely,
      page.items.map(({ id }) => id),
    );
    for (const row of page.items) {
      const volume = await findVolume(this.#database.kysely, tenancyId, row.volume_id);
      items.push(toAttachment(row, volume, jobs.get(row.id)));
    }
    return { items, next: page.next };
  }

  /** What an instance has now: what it starts from first. Throws NOT_FOUND. */
  async attachedTo(principal: Principal, instanceId: string): Promise<VolumeAttachment[]> {
    const found = await this.attachments(principal, { instanceId, isAttached: true, limit: 1000 });
    const byTime = [...found.items].reverse();
    return [
      ...byTime.filter(({ kind }) => kind === 'boot'),
      ...byTime.filter(({ kind }) => kind === 'block'),
    ];
  }

  /** Which instance has each of these volumes, as far as one does. */
  async holders(volumeIds: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const rows = await attachmentsOf(this.#database.kysely, volumeIds);
    return new Map(rows.map(({ volume_id, instance_id }) => [volume_id, instance_id]));
  }

  /** Throws NOT_FOUND. */
  async attachment(principal: Principal, id: string): Promise<VolumeAttachment> {
    const [found] = (await this.attachments(principal, { id, limit: 1 })).items;
    if (found !== undefined) return found;
    throw new DomainError('NOT_FOUND', `there is no volume attachment ${id}`);
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
    const listing = { tenancyId, volumeId, isAttached: true, limit: 1 } as const;
    const [attachment] = (await listVolumeAttachments(queries, listing)).items;
    if (attachment === undefined) return;
    const isBoot = attachment.kind === 'boot';
    throw new DomainError('CONFLICT', `the volume ${volumeId} is attached to ${attachment.instance_id}`, {
      hint: isBoot ? 'terminate that instance, and keep its boot volume' : 'detach it first',
    });
  }

  async #row(principal: Principal, id: string, verb: GrantVerb): Promise<VolumeRow> {
    const row = await findVolume(this.#database.kysely, principal.tenancyId, id);
    if (row === undefined) throw noVolume(id);
    await this.#access.demand(principal, verb, 'volumes', row.compartment_id, () => noVolume(id));
    return row;
  }
}

function noVolume(id: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no volume ${id}`);
}

/** Throws INVALID for an empty volume without a size, and for one that its image does not fit into. */
function requireVolumeSize(asked: number | undefined, contentBytes: number | undefined): number {
  const sizeBytes = wholeSectors(asked ?? contentBytes ?? 0);
  if (sizeBytes > 0 && sizeBytes <= VOLUME_BYTES_MAX && sizeBytes >= (contentBytes ?? 0)) return sizeBytes;
  throw new DomainError('INVALID', `a volume of ${sizeBytes} bytes is not made`, {
    hint: `it has 1 to ${VOLUME_BYTES_MAX} bytes, and at least ${contentBytes ?? 1}`,
  });
}

function toVolume(row: VolumeRow): Volume {
  return {
    id: row.id,
    kind: row.kind,
    compartmentId: row.compartment_id,
    name: row.name,
    sizeBytes: row.size_bytes,
    isFilled: row.file_state === 'whole' || row.manifest_id === null,
    imageId: row.image_id ?? undefined,
    availabilityDomain: row.availability_domain,
    state: row.deleted_at_ms === null ? 'available' : 'deleted',
    tags: tagsOf(row),
    etag: etagOfVersion(row.version),
    createdAtMs: row.created_at_ms,
  };
}

/** While a job works on it, its state follows from that. */
function attachmentState(
  { detached_at_ms: detachedAtMs }: VolumeAttachmentRow,
  jobKind: string | undefined,
): VolumeAttachment['state'] {
  if (detachedAtMs !== null) return 'detached';
  if (jobKind === 'volume-attach') return 'attaching';
  return jobKind === 'volume-detach' ? 'detaching' : 'attached';
}

function toAttachment(
  row: VolumeAttachmentRow,
  volume: VolumeRow | undefined,
  jobKind: string | undefined,
): VolumeAttachment {
  return {
    id: row.id,
    kind: row.kind,
    compartmentId: row.compartment_id,
    instanceId: row.instance_id,
    volumeId: row.volume_id,
    availabilityDomain: volume?.availability_domain ?? '',
    isAttached: row.detached_at_ms === null,
    state: attachmentState(row, jobKind),
    createdAtMs: row.created_at_ms,
  };
}
