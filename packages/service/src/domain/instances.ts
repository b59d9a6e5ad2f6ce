import type { LaunchOptions } from '@gantry/machine';
import type { Updateable } from 'kysely';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import type { Page } from '../db/page.ts';
import { lockImage } from '../db/repositories/images.ts';
import {
  findInstance,
  forgetInstances,
  type InstanceListing,
  insertInstance,
  listInstances,
  lockInstance,
  updateInstance,
} from '../db/repositories/instances.ts';
import {
  detachVolumes,
  insertVolume,
  insertVolumeAttachment,
  listVolumeAttachments,
  updateVolume,
} from '../db/repositories/volumes.ts';
import type { GrantVerb, InstanceRow, VolumeRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import type { Job } from '../jobs/job.ts';
import type { JobQueue } from '../jobs/queue.ts';
import type { Access } from './access.ts';
import { noCompartment, requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import { noImage } from './image.ts';
import type { ImageShapes } from './image-shapes.ts';
import { DELETED_KEPT_MS } from './images.ts';
import { type LaunchPlan, type LaunchRequest, planLaunch } from './instance-launch.ts';
import type { EtagList } from './object-conditions.ts';
import { requireShape, type Shape, type ShapeConfig, shapeConfigOf } from './shapes.ts';
import { type TagPolicy, type Tags, tagColumns, tagsOf } from './tags.ts';
import { etagOfVersion, requireVersion } from './versions.ts';
import type { Volumes } from './volumes.ts';

export interface Instance {
  readonly id: string;
  readonly compartmentId: string;
  readonly name: string;
  readonly availabilityDomain: string;
  readonly shape: string;
  readonly shapeConfig: ShapeConfig;
  readonly imageId: string | undefined;
  /** `STOPPED` while nothing runs it, `TERMINATED`. */
  readonly state: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly launchMode: string | undefined;
  readonly launchOptions: LaunchOptions | undefined;
  readonly tags: Tags;
  readonly etag: string;
  readonly createdAtMs: number;
}

export interface InstanceChanges {
  readonly name?: string | undefined;
  readonly shape?: string | undefined;
  readonly shapeConfig?: Partial<ShapeConfig> | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly tags?: Partial<Tags> | undefined;
}

export interface InstanceParts {
  readonly database: Database;
  readonly queue: JobQueue;
  readonly access: Access;
  readonly tags: TagPolicy;
  readonly volumes: Volumes;
  readonly imageShapes: ImageShapes;
  readonly shapes: readonly Shape[];
}

/** Of all metadata together, as OCI bounds it. */
const METADATA_BYTES_MAX = 32_000;

/**
 * Instances as records: what was launched of which image, with which devices. Nothing runs them yet, so that each is
 * stopped from its begin.
 */
export class Instances {
  readonly #parts: InstanceParts;

  constructor(parts: InstanceParts) {
    this.#parts = parts;
  }

  async list(
    principal: Principal,
    listing: Omit<InstanceListing, 'tenancyId' | 'compartmentIds'> & {
      readonly compartmentId?: string | undefined;
    },
  ): Promise<Page<Instance>> {
    const { compartmentId, ...selection } = listing;
    const { access, database } = this.#parts;
    if (compartmentId !== undefined)
      await access.require(principal, 'inspect', 'instances', compartmentId, () =>
        noCompartment(compartmentId),
      );
    const compartmentIds =
      compartmentId === undefined ? await access.where(principal, 'inspect', 'instances') : [compartmentId];
    if (compartmentIds?.length === 0) return { items: [], next: undefined };
    const { tenancyId } = principal;
    const page = await listInstances(database.kysely, { ...selection, tenancyId, compartmentIds });
    return { items: page.items.map(toInstance), next: page.next };
  }

  /** Also one that was terminated. Throws NOT_FOUND, FORBIDDEN. */
  async get(principal: Principal, id: string): Promise<Instance> {
    return toInstance(await this.requireRow(principal, id, 'inspect'));
  }

  async requireRow(principal: Principal, id: string, verb: GrantVerb): Promise<InstanceRow> {
    const row = await findInstance(this.#parts.database.kysely, principal.tenancyId, id);
    if (row === undefined) throw noInstance(id);
    await this.#parts.access.demand(principal, verb, 'instances', row.compartment_id, () => noInstance(id));
    return row;
  }

  /**
   * Makes an instance of an image or of a boot volume; a boot volume of an image has its blocks in common with it.
   * The image may be exported meanwhile. Throws NOT_FOUND, FORBIDDEN, CONFLICT for what is not there yet or attached
   * elsewhere, INVALID for a shape that the image does not go with.
   */
  async launch(
    principal: Principal,
    request: LaunchRequest,
  ): Promise<{ readonly instance: Instance; readonly job: Job }> {
    const { access, tags, database } = this.#parts;
    await access.demand(principal, 'manage', 'instances', request.compartmentId, () =>
      noCompartment(request.compartmentId),
    );
    requireMetadataSize(request.metadata);
    const checked = await tags.check(principal, request.tags ?? {});
    const plan = await planLaunch(this.#parts, principal, request);
    return inTransaction(database.kysely, async (transaction) => {
      await requireCompartment(transaction, principal.tenancyId, request.compartmentId);
      if (plan.volume === undefined) await requireImageThere(transaction, principal, plan);
      const row = await writeInstance(transaction, principal, request, plan, checked);
      const volume = await this.#bootVolume(transaction, row, plan);
      await insertVolumeAttachment(transaction, {
        id: newId('vat'),
        tenancy_id: row.tenancy_id,
        compartment_id: row.compartment_id,
        kind: 'boot',
        instance_id: row.id,
        volume_id: volume.id,
        created_at_ms: row.created_at_ms,
        detached_at_ms: null,
      });
      const job = await this.#record(transaction, principal, row, 'LaunchInstance', 'created', [
        `the instance ${row.name} has the boot volume ${volume.id}`,
        'no hypervisor is connected to this service: the instance is recorded, and stopped',
      ]);
      return { instance: toInstance(row), job };
    });
  }

  /** Throws NOT_FOUND, PRECONDITION_FAILED, INVALID. */
  async update(
    principal: Principal,
    id: string,
    changes: InstanceChanges,
    ifMatch?: EtagList,
  ): Promise<{ readonly instance: Instance; readonly job: Job }> {
    const { tags, database } = this.#parts;
    const before = await this.requireRow(principal, id, 'use');
    const checked = await tags.check(principal, changes.tags ?? {}, tagsOf(before));
    if (changes.metadata !== undefined) requireMetadataSize(changes.metadata);
    const shaped = await this.#reshaped(before, changes);
    return inTransaction(database.kysely, async (transaction) => {
      await this.#locked(transaction, principal, id, ifMatch);
      const row = await updateInstance(transaction, id, {
        ...(changes.name !== undefined && { name: changes.name }),
        ...(changes.metadata !== undefined && { metadata_json: JSON.stringify(changes.metadata) }),
        ...shaped,
        ...tagColumns(checked),
      });
      const job = await this.#record(transaction, principal, row, 'UpdateInstance', 'updated', []);
      return { instance: toInstance(row), job };
    });
  }

  /**
   * Ends an instance; its boot volume goes with it unless it is to be kept. It stays readable, as terminated, for a
   * day. Throws NOT_FOUND, PRECONDITION_FAILED.
   */
  async terminate(
    principal: Principal,
    id: string,
    options: { readonly keepsBootVolume: boolean; readonly ifMatch?: EtagList | undefined },
  ): Promise<Job> {
    await this.requireRow(principal, id, 'manage');
    return inTransaction(this.#parts.database.kysely, async (transaction) => {
      await this.#locked(transaction, principal, id, options.ifMatch);
      const nowMs = Date.now();
      const lines = await this.#releaseVolumes(transaction, principal.tenancyId, id, nowMs, options);
      const row = await updateInstance(transaction, id, { state: 'TERMINATED', deleted_at_ms: nowMs });
      return this.#record(transaction, principal, row, 'TerminateInstance', 'deleted', lines);
    });
  }

  /** Throws CONFLICT, always: there is nothing to start, stop or reset yet. */
  async act(principal: Principal, id: string, action: string): Promise<never> {
    await this.requireRow(principal, id, 'use');
    throw new DomainError(
      'CONFLICT',
      `${action} is not possible: no hypervisor is connected to this service`,
      {
        hint: 'export the image of the instance, and start it where there is one',
      },
    );
  }

  /** Forgets what was terminated a day ago. */
  async tidy(nowMs: number = Date.now()): Promise<void> {
    await forgetInstances(this.#parts.database.kysely, nowMs - DELETED_KEPT_MS);
  }

  async #reshaped(before: InstanceRow, changes: InstanceChanges): Promise<Updateable<InstanceRow>> {
    if (changes.shape === undefined && changes.shapeConfig === undefined) return {};
    const shape = requireShape(this.#parts.shapes, changes.shape ?? before.shape);
    if (before.image_id !== null) await this.#parts.imageShapes.requireFits(before.image_id, shape.name);
    const kept: Partial<ShapeConfig> =
      changes.shape === undefined || changes.shape === before.shape
        ? JSON.parse(before.shape_config_json ?? '{}')
        : {};
    const config = shapeConfigOf(shape, { ...kept, ...changes.shapeConfig });
    return { shape: shape.name, shape_config_json: JSON.stringify(config) };
  }

  async #bootVolume(transaction: Queries, row: InstanceRow, plan: LaunchPlan): Promise<VolumeRow> {
    if (plan.volume !== undefined) return this.#parts.volumes.take(transaction, plan.volume);
    const volume: VolumeRow = {
      id: newId('vol'),
      tenancy_id: row.tenancy_id,
      compartment_id: row.compartment_id,
      kind: 'boot',
      name: `${row.name} (Boot Volume)`,
      size_bytes: plan.sizeBytes,
      manifest_id: plan.manifestId,
      image_id: row.image_id,
      availability_domain: row.availability_domain,
      freeform_tags_json: '{}',
      defined_tags_json: '{}',
      version: 1,
      created_at_ms: row.created_at_ms,
      deleted_at_ms: null,
    };
    await insertVolume(transaction, volume);
    return volume;
  }

  async #releaseVolumes(
    transaction: Queries,
    tenancyId: string,
    instanceId: string,
    nowMs: number,
    { keepsBootVolume }: { readonly keepsBootVolume: boolean },
  ): Promise<string[]> {
    const listing = { tenancyId, kind: 'boot', instanceId, isAttached: true, limit: 100 } as const;
    const attached = (await listVolumeAttachments(transaction, listing)).items;
    await detachVolumes(transaction, instanceId, nowMs);
    if (keepsBootVolume) return attached.map(({ volume_id }) => `the boot volume ${volume_id} is kept`);
    for (const { volume_id } of attached) {
      await updateVolume(transaction, volume_id, { deleted_at_ms: nowMs, manifest_id: null });
    }
    return attached.map(({ volume_id }) => `the boot volume ${volume_id} is deleted`);
  }

  async #locked(
    transaction: Queries,
    { tenancyId }: Principal,
    id: string,
    ifMatch: EtagList | undefined,
  ): Promise<InstanceRow> {
    const row = await lockInstance(transaction, tenancyId, id);
    if (row === undefined) throw noInstance(id);
    if (row.deleted_at_ms !== null) throw new DomainError('CONFLICT', `the instance ${id} is terminated`);
    requireVersion(ifMatch, row.version);
    return row;
  }

  #record(
    transaction: Queries,
    { userId, tenancyId }: Principal,
    row: InstanceRow,
    operation: string,
    action: 'created' | 'updated' | 'deleted',
    lines: readonly string[],
  ): Promise<Job> {
    const job = {
      tenancyId,
      userId,
      kind: 'instance-record',
      compartmentId: row.compartment_id,
      operation,
      resources: [{ resourceId: row.id, entityType: 'instance', action }],
      input: { instanceId: row.id },
    };
    return this.#parts.queue.record(job, lines, transaction);
  }
}

/** Keeps the image from being deleted, and its content from being collected, until the volume refers to that. */
async function requireImageThere(
  transaction: Queries,
  { tenancyId }: Principal,
  { imageId = '', manifestId }: LaunchPlan,
): Promise<void> {
  const image = await lockImage(transaction, tenancyId, imageId);
  if (image === undefined || image.manifest_id !== manifestId) throw noImage(imageId);
}

async function writeInstance(
  transaction: Queries,
  { tenancyId }: Principal,
  request: LaunchRequest,
  plan: LaunchPlan,
  tags: Tags,
): Promise<InstanceRow> {
  const id = newId('ins');
  const row: InstanceRow = {
    id,
    tenancy_id: tenancyId,
    compartment_id: request.compartmentId,
    name: request.name ?? `instance-${id.slice(-8)}`,
    availability_domain: request.availabilityDomain,
    shape: plan.shape,
    shape_config_json: JSON.stringify(plan.shapeConfig),
    image_id: plan.imageId ?? null,
    state: 'STOPPED',
    metadata_json: JSON.stringify(request.metadata),
    launch_mode: plan.launchOptions?.launchMode ?? null,
    launch_options_json: plan.launchOptions === undefined ? null : JSON.stringify(plan.launchOptions),
    ...tagColumns(tags),
    version: 1,
    created_at_ms: Date.now(),
    deleted_at_ms: null,
  };
  await insertInstance(transaction, row);
  return row;
}

function requireMetadataSize(metadata: Readonly<Record<string, string>>): void {
  const sizeBytes = Buffer.byteLength(JSON.stringify(metadata));
  if (sizeBytes <= METADATA_BYTES_MAX) return;
  throw new DomainError('INVALID', `all metadata together has at most ${METADATA_BYTES_MAX} bytes`);
}

function noInstance(id: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no instance ${id}`);
}

function toInstance(row: InstanceRow): Instance {
  return {
    id: row.id,
    compartmentId: row.compartment_id,
    name: row.name,
    availabilityDomain: row.availability_domain,
    shape: row.shape,
    shapeConfig: JSON.parse(row.shape_config_json ?? '{"ocpus":1,"memoryInGBs":1}'),
    imageId: row.image_id ?? undefined,
    state: row.state,
    metadata: JSON.parse(row.metadata_json),
    launchMode: row.launch_mode ?? undefined,
    launchOptions: row.launch_options_json === null ? undefined : JSON.parse(row.launch_options_json),
    tags: tagsOf(row),
    etag: etagOfVersion(row.version),
    createdAtMs: row.created_at_ms,
  };
}
