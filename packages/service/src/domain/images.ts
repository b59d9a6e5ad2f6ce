import type { Updateable } from 'kysely';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import type { Page } from '../db/page.ts';
import {
  findImage,
  forgetImages,
  type ImageListing,
  type ImageWithState,
  isPlatformName,
  listImages,
  lockImage,
  markImageDeleted,
  updateImage,
} from '../db/repositories/images.ts';
import type { GrantVerb, ImageRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import { isTerminal } from '../jobs/job.ts';
import type { JobQueue } from '../jobs/queue.ts';
import type { Access } from './access.ts';
import { noCompartment, requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import { type Image, noImage, requireStored, type StoredImage, toImage } from './image.ts';
import { archiveView } from './image-metadata.ts';
import type { EtagList } from './object-conditions.ts';
import { type TagPolicy, type Tags, tagColumns, tagsOf } from './tags.ts';
import { requireVersion } from './versions.ts';
import type { ViewSpec } from './view-spec.ts';
import type { ImageView, ImageViews } from './views.ts';

export interface ImageParts {
  readonly database: Database;
  readonly queue: JobQueue;
  readonly views: ImageViews;
  readonly access: Access;
  readonly tags: TagPolicy;
}

export interface ImageChanges {
  readonly name?: string | undefined;
  readonly operatingSystem?: string | undefined;
  readonly operatingSystemVersion?: string | undefined;
  readonly tags?: Partial<Tags> | undefined;
}

/** What lists are asked for besides whose. */
export type ImageSelection = Omit<ImageListing, 'tenancyId' | 'compartmentIds'> & {
  readonly compartmentId?: string | undefined;
};

/** How long what was deleted can still be looked at. */
export const DELETED_KEPT_MS: number = 24 * 60 * 60 * 1000;

/**
 * Images of a tenancy: what they are. To see them needs the grant to inspect images in their compartment, their
 * content read, changes use, and making, moving and deleting them manage; what may not be seen is NOT_FOUND.
 */
export class Images {
  readonly #parts: ImageParts;

  constructor(parts: ImageParts) {
    this.#parts = parts;
  }

  async list(principal: Principal, { compartmentId, ...selection }: ImageSelection): Promise<Page<Image>> {
    const { access, database } = this.#parts;
    const { tenancyId } = principal;
    if (compartmentId !== undefined)
      await access.require(principal, 'inspect', 'images', compartmentId, () => noCompartment(compartmentId));
    const compartmentIds =
      compartmentId === undefined ? await access.where(principal, 'inspect', 'images') : [compartmentId];
    if (compartmentIds?.length === 0) return { items: [], next: undefined };
    const page = await listImages(database.kysely, { ...selection, tenancyId, compartmentIds });
    return { items: page.items.map(toImage), next: page.next };
  }

  /** Also one that is being made or was deleted. Throws NOT_FOUND, FORBIDDEN. */
  async get(principal: Principal, id: string, verb: GrantVerb = 'inspect'): Promise<Image> {
    return toImage(await this.#row(principal, id, verb));
  }

  /** One whose content is there. Throws NOT_FOUND, FORBIDDEN. */
  async stored(principal: Principal, id: string, verb: GrantVerb = 'inspect'): Promise<StoredImage> {
    const image = await this.get(principal, id, verb);
    if (image.content === undefined) throw noImage(id);
    return requireStored(image);
  }

  /**
   * Forgets the image: its blocks go with the next collection, unless an object or a volume still shows it. The
   * job of one that is being made is canceled. Throws NOT_FOUND, PRECONDITION_FAILED, and CONFLICT while it is
   * exported.
   */
  async delete(principal: Principal, id: string, ifMatch?: EtagList): Promise<void> {
    const { database, queue } = this.#parts;
    await this.#row(principal, id, 'manage');
    const deleted = await inTransaction(database.kysely, async (transaction) => {
      const row = await this.#locked(transaction, principal, id, ifMatch);
      if (row.state === 'exporting') {
        throw new DomainError('CONFLICT', `the image ${id} is being exported`, {
          hint: 'wait for the export, or cancel its job',
        });
      }
      await markImageDeleted(transaction, principal.tenancyId, id, Date.now());
      return row;
    });
    const isBeingMade = deleted.state === 'importing' || deleted.state === 'provisioning';
    if (!isBeingMade || deleted.job_id === null) return;
    const job = await queue.get(principal.tenancyId, deleted.job_id);
    if (!isTerminal(job.state)) await queue.cancel(principal.tenancyId, job.id).catch(ignoreConflict);
  }

  /** Throws NOT_FOUND, PRECONDITION_FAILED, INVALID for tags and names. */
  async update(principal: Principal, id: string, changes: ImageChanges, ifMatch?: EtagList): Promise<Image> {
    const before = await this.#row(principal, id, 'use');
    const { name, operatingSystem, operatingSystemVersion, tags } = changes;
    if (name !== undefined && before.kind === 'custom') await this.requireFreeName(principal.tenancyId, name);
    const checked = await this.#parts.tags.check(principal, tags ?? {}, tagsOf(before));
    return this.#write(principal, id, ifMatch, {
      ...(name !== undefined && { name }),
      ...(operatingSystem !== undefined && { operating_system: operatingSystem }),
      ...(operatingSystemVersion !== undefined && { operating_system_version: operatingSystemVersion }),
      ...tagColumns(checked),
    });
  }

  /** Moves it to another compartment of the tenancy, where the principal may make images, too. */
  async move(principal: Principal, id: string, compartmentId: string, ifMatch?: EtagList): Promise<Image> {
    await this.#row(principal, id, 'manage');
    await this.requireHome(principal, compartmentId);
    return this.#write(principal, id, ifMatch, { compartment_id: compartmentId });
  }

  /** Throws NOT_FOUND unless the principal may make images in the compartment. */
  async requireHome(principal: Principal, compartmentId: string): Promise<void> {
    await this.#parts.access.demand(principal, 'manage', 'images', compartmentId, () =>
      noCompartment(compartmentId),
    );
  }

  /** A custom image may not pass for one of the platform's. Throws CONFLICT. */
  async requireFreeName(tenancyId: string, name: string): Promise<void> {
    if (!(await isPlatformName(this.#parts.database.kysely, tenancyId, name))) return;
    throw new DomainError('CONFLICT', `${JSON.stringify(name)} is the name of a platform image`, {
      hint: 'choose another name',
    });
  }

  /** The image as a file of a format; close its source. */
  async view(
    principal: Principal,
    id: string,
    spec: ViewSpec,
  ): Promise<ImageView & { readonly image: StoredImage }> {
    const image = await this.stored(principal, id, 'read');
    const { database, views } = this.#parts;
    const view = await archiveView(database.kysely, image, spec);
    return { ...(await views.open(image.content.manifestId, view)), image };
  }

  /** Kinds of the image and of those that it was made from, nearest first. */
  async kindsOf(tenancyId: string, image: Image): Promise<string[]> {
    const kinds: string[] = [image.kind];
    const seen = new Set([image.id]);
    for (let id = image.baseImageId; id !== undefined && !seen.has(id); ) {
      seen.add(id);
      const base = await findImage(this.#parts.database.kysely, tenancyId, id);
      if (base === undefined) break;
      kinds.push(base.kind);
      id = base.base_image_id ?? undefined;
    }
    return kinds;
  }

  /** Forgets what was deleted, or failed to come, a day ago. */
  async tidy(nowMs: number = Date.now()): Promise<void> {
    await forgetImages(this.#parts.database.kysely, nowMs - DELETED_KEPT_MS);
  }

  async #write(
    principal: Principal,
    id: string,
    ifMatch: EtagList | undefined,
    changes: Omit<Updateable<ImageRow>, 'compartment_id'> & { readonly compartment_id?: string },
  ): Promise<Image> {
    const { compartment_id: home } = changes;
    return inTransaction(this.#parts.database.kysely, async (transaction) => {
      if (home !== undefined) await requireCompartment(transaction, principal.tenancyId, home);
      const { state } = await this.#locked(transaction, principal, id, ifMatch);
      return toImage({ ...(await updateImage(transaction, id, changes)), state });
    });
  }

  async #locked(
    transaction: Queries,
    { tenancyId }: Principal,
    id: string,
    ifMatch: EtagList | undefined,
  ): Promise<ImageWithState> {
    const row = await lockImage(transaction, tenancyId, id);
    if (row === undefined || row.state === 'deleted') throw noImage(id);
    requireVersion(ifMatch, row.version);
    return row;
  }

  async #row(principal: Principal, id: string, verb: GrantVerb): Promise<ImageWithState> {
    const row = await findImage(this.#parts.database.kysely, principal.tenancyId, id);
    if (row === undefined) throw noImage(id);
    await this.#parts.access.demand(principal, verb, 'images', row.compartment_id, () => noImage(id));
    return row;
  }
}

/** It ended by itself meanwhile: what it made is not shown any more. */
function ignoreConflict(error: unknown): void {
  if (!(error instanceof DomainError && error.code === 'CONFLICT')) throw error;
}
