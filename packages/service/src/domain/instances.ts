import type { Updateable } from 'kysely';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import type { Page } from '../db/page.ts';
import { findImage, lockImage } from '../db/repositories/images.ts';
import {
  findInstance,
  forgetInstances,
  type InstanceListing,
  type InstanceWithState,
  insertInstance,
  listInstances,
  lockInstance,
  updateInstance,
} from '../db/repositories/instances.ts';
import {
  attachedVolumes,
  detachVolumes,
  insertVolume,
  insertVolumeAttachment,
  updateVolume,
} from '../db/repositories/volumes.ts';
import type { GrantVerb, InstanceRow, VolumeRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import type { Job } from '../jobs/job.ts';
import type { JobQueue } from '../jobs/queue.ts';
import { toJsonValue } from '../json.ts';
import { machineOf } from '../machines/instance-machine.ts';
import type { Machines } from '../machines/machines.ts';
import type { Access } from './access.ts';
import { noCompartment, requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import type { HostQuota } from './host-quota.ts';
import { noImage } from './image.ts';
import type { ImageShapes } from './image-shapes.ts';
import { DELETED_KEPT_MS } from './images.ts';
import {
  currentInstance,
  hostShareOf,
  type Instance,
  noInstance,
  requireIdle,
  toInstance,
} from './instance.ts';
import { factsOf } from './instance-facts.ts';
import { type LaunchPlan, type LaunchRequest, planLaunch } from './instance-launch.ts';
import { type InstanceAction, type PowerRequest, powerJobOf } from './instance-power.ts';
import type { EtagList } from './object-conditions.ts';
import { requireShape, type Shape, type ShapeRequest, shapeConfigOf } from './shapes.ts';
import { type TagPolicy, type Tags, tagColumns, tagsOf } from './tags.ts';
import { requireVersion } from './versions.ts';
import type { Volumes } from './volumes.ts';

export type { Instance };

export interface InstanceChanges {
  readonly name?: string | undefined;
  readonly shape?: string | undefined;
  readonly shapeConfig?: ShapeRequest | undefined;
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
  readonly machines: Machines;
  readonly quota: HostQuota;
  /** How long a guest has to end by itself before it is ended, where nobody says. */
  readonly graceMs: number;
  readonly wake: () => void;
}

/** Of all metadata together, as OCI bounds it. */
const METADATA_BYTES_MAX = 32_000;

/**
 * Instances: what was launched of which image, with which devices, and what is done to them. Jobs do it, each alone with
 * its instance. Without a hypervisor they are records, stopped from their begin.
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

  async requireRow(principal: Principal, id: string, verb: GrantVerb): Promise<InstanceWithState> {
    const row = await findInstance(this.#parts.database.kysely, principal.tenancyId, id);
    if (row === undefined) throw noInstance(id);
    await this.#parts.access.demand(principal, verb, 'instances', row.compartment_id, () => noInstance(id));
    return row;
  }

  /**
   * Makes an instance of an image or of a boot volume, and starts it; a boot volume of an image has its blocks in
   * common with it. The image may be exported meanwhile. Throws NOT_FOUND, FORBIDDEN, CONFLICT for what is not there
   * yet or attached elsewhere, INVALID for a shape that the image does not go with, QUOTA, and IMAGE_UNSUPPORTED for
   * what cannot be run here.
   */
  async launch(
    principal: Principal,
    request: LaunchRequest,
  ): Promise<{ readonly instance: Instance; readonly job: Job }> {
    const { access, tags, database, machines, quota, wake } = this.#parts;
    await access.demand(principal, 'manage', 'instances', request.compartmentId, () =>
      noCompartment(request.compartmentId),
    );
    requireMetadataSize(request.metadata);
    const checked = await tags.check(principal, request.tags ?? {});
    const plan = await planLaunch(this.#parts, principal, request);
    const row = newInstance(principal, request, plan, checked);
    const volume = plan.volume ?? newBootVolume(row, plan);
    const isRun = machines.running !== undefined;
    if (isRun) await this.#requireRunnable(row, volume);
    const launched = await inTransaction(database.kysely, async (transaction) => {
      await requireCompartment(transaction, principal.tenancyId, request.compartmentId);
      if (isRun) {
        await quota.requireRun(transaction, { cpuCount: row.cpu_count, memoryBytes: row.memory_bytes });
        if (plan.volume === undefined) await quota.requireVolume(transaction, volume.size_bytes);
      }
      if (plan.volume === undefined) await requireImageThere(transaction, principal, plan);
      await insertInstance(transaction, row);
      if (plan.volume === undefined) await insertVolume(transaction, volume);
      else await this.#parts.volumes.take(transaction, plan.volume);
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
      const job = isRun
        ? await this.#start(transaction, principal, row, 'instance-launch', {
            operation: 'LaunchInstance',
            action: 'created',
            input: { copies: request.materialize === true },
          })
        : await this.#record(transaction, principal, row, 'LaunchInstance', 'created', [
            `the instance ${row.name} has the boot volume ${volume.id}`,
            'no hypervisor is connected to this service: the instance is recorded, and stopped',
          ]);
      return { instance: await currentInstance(transaction, row.id), job };
    });
    wake();
    return launched;
  }

  /** Throws NOT_FOUND, PRECONDITION_FAILED, INVALID, and CONFLICT for the shape of an instance that runs. */
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
      const now = await this.#locked(transaction, principal, id, ifMatch);
      if (shaped.shape !== undefined && now.state !== 'STOPPED')
        throw new DomainError('CONFLICT', `the instance ${id} is ${now.state}: its shape cannot be changed`, {
          hint: 'stop it first',
        });
      const row = await updateInstance(transaction, id, {
        ...(changes.name !== undefined && { name: changes.name }),
        ...(changes.metadata !== undefined && { metadata_json: JSON.stringify(changes.metadata) }),
        ...shaped,
        ...tagColumns(checked),
      });
      const job = await this.#record(transaction, principal, row, 'UpdateInstance', 'updated', []);
      return { instance: await currentInstance(transaction, id), job };
    });
  }

  /**
   * Ends an instance; its boot volume goes with it unless it is to be kept, other volumes stay. It stays readable, as
   * terminated, for a day. Asked again while it is being terminated, it gives the same job. Throws NOT_FOUND,
   * PRECONDITION_FAILED, CONFLICT.
   */
  async terminate(
    principal: Principal,
    id: string,
    options: { readonly keepsBootVolume: boolean; readonly ifMatch?: EtagList | undefined },
  ): Promise<Job> {
    const { database, machines, queue, wake } = this.#parts;
    const before = await this.requireRow(principal, id, 'manage');
    if (!options.keepsBootVolume) await this.#requireMayDelete(principal, before);
    const isRun = machines.running !== undefined;
    const { job, removed } = await inTransaction(database.kysely, async (transaction) => {
      const row = await this.#locked(transaction, principal, id, options.ifMatch);
      if (row.state === 'TERMINATING' && row.busy_job_id !== null)
        return { job: await queue.get(principal.tenancyId, row.busy_job_id), removed: [] };
      requireIdle(row);
      if (!isRun) return this.#terminateRecord(transaction, principal, row, options);
      const { keepsBootVolume } = options;
      const started = await this.#start(transaction, principal, row, 'instance-terminate', {
        operation: 'TerminateInstance',
        action: 'deleted',
        input: { keepsBootVolume },
      });
      return { job: started, removed: [] };
    });
    for (const volumeId of removed) await machines.files.remove(volumeId);
    wake();
    return job;
  }

  /**
   * Starts to start, stop or reset it. Throws NOT_FOUND, FORBIDDEN, PRECONDITION_FAILED, QUOTA, and CONFLICT when its
   * state does not allow that, a job works on it, or there is nothing that could do it.
   */
  async act(
    principal: Principal,
    id: string,
    action: InstanceAction,
    request: PowerRequest & { readonly ifMatch?: EtagList | undefined } = {},
  ): Promise<{ readonly instance: Instance; readonly job: Job }> {
    const { database, machines, quota, shapes, graceMs, wake } = this.#parts;
    await this.requireRow(principal, id, 'use');
    machines.require();
    const acted = await inTransaction(database.kysely, async (transaction) => {
      const row = await this.#locked(transaction, principal, id, request.ifMatch);
      requireIdle(row);
      const { kind, input } = powerJobOf(row, action, request.graceMs ?? graceMs);
      if (kind === 'instance-start') {
        const share = hostShareOf(requireShape(shapes, row.shape), JSON.parse(row.shape_config_json ?? '{}'));
        await quota.requireRun(transaction, { cpuCount: share.cpu_count, memoryBytes: share.memory_bytes });
        await updateInstance(transaction, id, share);
      }
      const operation = `InstanceAction ${action}`;
      const job = await this.#start(transaction, principal, row, kind, {
        operation,
        action: 'updated',
        input,
      });
      return { instance: await currentInstance(transaction, id), job };
    });
    wake();
    return acted;
  }

  /** Forgets what was terminated a day ago. */
  async tidy(nowMs: number = Date.now()): Promise<void> {
    await forgetInstances(this.#parts.database.kysely, nowMs - DELETED_KEPT_MS);
  }

  async #reshaped(before: InstanceRow, changes: InstanceChanges): Promise<Updateable<InstanceRow>> {
    if (changes.shape === undefined && changes.shapeConfig === undefined) return {};
    const shape = requireShape(this.#parts.shapes, changes.shape ?? before.shape);
    if (before.image_id !== null) await this.#parts.imageShapes.requireFits(before.image_id, shape.name);
    const kept: ShapeRequest =
      changes.shape === undefined || changes.shape === before.shape
        ? JSON.parse(before.shape_config_json ?? '{}')
        : {};
    const config = shapeConfigOf(shape, { ...kept, ...changes.shapeConfig });
    return { shape: shape.name, shape_config_json: JSON.stringify(config), ...hostShareOf(shape, config) };
  }

  /** Throws IMAGE_UNSUPPORTED and IMAGE_OPTION for what the hypervisor cannot run, QUOTA for a disk that has no room. */
  async #requireRunnable(row: InstanceRow, volume: VolumeRow): Promise<void> {
    const { machines, shapes, database } = this.#parts;
    const { driver } = machines.require();
    const image = await findImage(database.kysely, row.tenancy_id, row.image_id ?? '');
    const facts = factsOf({ shapes, machines }, row, [volume], image);
    await driver.check(machineOf(facts));
    if (volume.manifest_id !== null && volume.file_state !== 'whole')
      await machines.files.requireRoom(volume.manifest_id);
  }

  /**
   * A boot volume that was there before the instance is somebody's who may not delete it with the instance alone.
   * Throws FORBIDDEN.
   */
  async #requireMayDelete(
    principal: Principal,
    { id, created_at_ms: createdAtMs }: InstanceRow,
  ): Promise<void> {
    const { database, access } = this.#parts;
    for (const { attachment, volume } of await attachedVolumes(database.kysely, id)) {
      if (attachment.kind !== 'boot' || volume.created_at_ms >= createdAtMs) continue;
      if (await access.allows(principal, 'manage', 'volumes', volume.compartment_id)) continue;
      throw new DomainError(
        'FORBIDDEN',
        `the volume ${volume.id} was there before the instance ${id}: to delete it needs the grant to manage volumes`,
        { hint: 'keep the boot volume' },
      );
    }
  }

  async #terminateRecord(
    transaction: Queries,
    principal: Principal,
    row: InstanceWithState,
    { keepsBootVolume }: { readonly keepsBootVolume: boolean },
  ): Promise<{ readonly job: Job; readonly removed: readonly string[] }> {
    if (row.power_state === 'RUNNING')
      throw new DomainError('CONFLICT', `the instance ${row.id} runs, and no hypervisor is connected`, {
        hint: 'start the service with --hypervisor qemu first',
      });
    const nowMs = Date.now();
    const removed = await releaseVolumes(transaction, row.id, nowMs, keepsBootVolume);
    const ended = await updateInstance(transaction, row.id, { deleted_at_ms: nowMs });
    const lines = removed.map((volumeId) => `the boot volume ${volumeId} is deleted`);
    const job = await this.#record(transaction, principal, ended, 'TerminateInstance', 'deleted', lines);
    return { job, removed };
  }

  async #locked(
    transaction: Queries,
    { tenancyId }: Principal,
    id: string,
    ifMatch: EtagList | undefined,
  ): Promise<InstanceWithState> {
    const row = await lockInstance(transaction, tenancyId, id);
    if (row === undefined) throw noInstance(id);
    if (row.deleted_at_ms !== null) throw new DomainError('CONFLICT', `the instance ${id} is terminated`);
    requireVersion(ifMatch, row.version);
    return row;
  }

  /** Starts a job that has the instance to itself. */
  #start(
    transaction: Queries,
    { userId, tenancyId }: Principal,
    row: InstanceRow,
    kind: string,
    job: {
      readonly operation: string;
      readonly action: 'created' | 'updated' | 'deleted';
      readonly input: object;
    },
  ): Promise<Job> {
    const { operation, action, input } = job;
    return this.#parts.queue.create(
      {
        tenancyId,
        userId,
        kind,
        compartmentId: row.compartment_id,
        operation,
        resources: [{ resourceId: row.id, entityType: 'instance', action }],
        input: toJsonValue({ instanceId: row.id, ...input }),
      },
      transaction,
    );
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

function newInstance(
  { tenancyId }: Principal,
  request: LaunchRequest,
  plan: LaunchPlan,
  tags: Tags,
): InstanceRow {
  const id = newId('ins');
  return {
    id,
    tenancy_id: tenancyId,
    compartment_id: request.compartmentId,
    name: request.name ?? `instance-${id.slice(-8)}`,
    availability_domain: request.availabilityDomain,
    shape: plan.shape.name,
    shape_config_json: JSON.stringify(plan.shapeConfig),
    image_id: plan.imageId ?? null,
    power_state: 'STOPPED',
    power_reason: null,
    ...hostShareOf(plan.shape, plan.shapeConfig),
    metadata_json: JSON.stringify(request.metadata),
    launch_mode: plan.launchOptions?.launchMode ?? null,
    launch_options_json: plan.launchOptions === undefined ? null : JSON.stringify(plan.launchOptions),
    ...tagColumns(tags),
    version: 1,
    created_at_ms: Date.now(),
    deleted_at_ms: null,
  };
}

function newBootVolume(row: InstanceRow, plan: LaunchPlan): VolumeRow {
  return {
    id: newId('vol'),
    tenancy_id: row.tenancy_id,
    compartment_id: row.compartment_id,
    kind: 'boot',
    name: `${row.name} (Boot Volume)`,
    size_bytes: plan.sizeBytes,
    manifest_id: plan.manifestId,
    file_state: null,
    image_id: row.image_id,
    availability_domain: row.availability_domain,
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    version: 1,
    created_at_ms: row.created_at_ms,
    deleted_at_ms: null,
  };
}

/** Takes all volumes from an instance that ends; gives those that go with it. */
export async function releaseVolumes(
  transaction: Queries,
  instanceId: string,
  nowMs: number,
  keepsBootVolume: boolean,
): Promise<string[]> {
  const attached = await attachedVolumes(transaction, instanceId);
  await detachVolumes(transaction, instanceId, nowMs);
  if (keepsBootVolume) return [];
  const boot = attached.filter(({ attachment }) => attachment.kind === 'boot').map(({ volume }) => volume.id);
  for (const id of boot) await updateVolume(transaction, id, { deleted_at_ms: nowMs, manifest_id: null });
  return boot;
}

function requireMetadataSize(metadata: Readonly<Record<string, string>>): void {
  const sizeBytes = Buffer.byteLength(JSON.stringify(metadata));
  if (sizeBytes <= METADATA_BYTES_MAX) return;
  throw new DomainError('INVALID', `all metadata together has at most ${METADATA_BYTES_MAX} bytes`);
}
