import { z } from 'zod';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import { findImage } from '../db/repositories/images.ts';
import { type InstanceWithState, lockInstance } from '../db/repositories/instances.ts';
import { hasLiveJob } from '../db/repositories/jobs.ts';
import {
  attachedVolumes,
  endAttachment,
  findAttachment,
  findVolume,
  insertVolumeAttachment,
} from '../db/repositories/volumes.ts';
import type { VolumeRow } from '../db/schema.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import type { JobContext, JobHandler, JobHandlers } from '../jobs/handler.ts';
import type { Job } from '../jobs/job.ts';
import { goesOn, LastingError } from '../jobs/job-error.ts';
import type { JobQueue } from '../jobs/queue.ts';
import { dataDiskOf } from '../machines/instance-machine.ts';
import type { Machines } from '../machines/machines.ts';
import { DomainError } from './errors.ts';
import { noInstance, requireIdle } from './instance.ts';
import { factsOf } from './instance-facts.ts';
import { fillAfterwards, type InstanceJobParts, requireLive } from './instance-jobs.ts';
import type { Instances } from './instances.ts';
import type { VolumeAttachment, Volumes } from './volumes.ts';

/** As OCI has it for virtual machines, and what a machine's slots allow. */
const VOLUMES_MAX = 24;

interface AttachmentParts {
  readonly database: Database;
  readonly queue: JobQueue;
  readonly instances: Instances;
  readonly volumes: Volumes;
  readonly machines: Machines;
  readonly wake: () => void;
}

/** An attachment that comes or goes, and the job that does it: none where it is done already. */
export interface AttachmentChange {
  readonly attachment: VolumeAttachment;
  readonly job: Job | undefined;
}

/** Puts volumes into instances beside those that they start from, while they run too. */
export class VolumeAttachments {
  readonly #parts: AttachmentParts;

  constructor(parts: AttachmentParts) {
    this.#parts = parts;
  }

  /** Throws NOT_FOUND, FORBIDDEN, and CONFLICT for a volume that an instance has, and while a job works on this one. */
  async attach(principal: Principal, instanceId: string, volumeId: string): Promise<AttachmentChange> {
    const { database, instances, volumes, machines, wake } = this.#parts;
    await instances.requireRow(principal, instanceId, 'use');
    await volumes.requireFree(principal, volumeId);
    const id = newId('vat');
    const isRun = machines.running !== undefined;
    const job = await inTransaction(database.kysely, async (transaction) => {
      const instance = await this.#idle(transaction, principal, instanceId);
      const row = await findVolume(transaction, principal.tenancyId, volumeId);
      if (row !== undefined) await volumes.take(transaction, row);
      if ((await attachedVolumes(transaction, instanceId)).length > VOLUMES_MAX)
        throw new DomainError('CONFLICT', `the instance ${instanceId} has ${VOLUMES_MAX} volumes already`);
      await insertVolumeAttachment(transaction, {
        id,
        tenancy_id: instance.tenancy_id,
        compartment_id: instance.compartment_id,
        kind: 'block',
        instance_id: instanceId,
        volume_id: volumeId,
        created_at_ms: Date.now(),
        detached_at_ms: null,
      });
      if (!isRun) return undefined;
      return this.#start(transaction, principal, instance, 'volume-attach', { id, volumeId });
    });
    wake();
    return { attachment: await volumes.attachment(principal, id), job };
  }

  /** Throws NOT_FOUND, FORBIDDEN, and CONFLICT for a boot volume, and while a job works on volume or instance. */
  async detach(principal: Principal, attachmentId: string): Promise<AttachmentChange> {
    const { database, instances, volumes, machines, wake } = this.#parts;
    const { instanceId, volumeId, kind, isAttached } = await volumes.attachment(principal, attachmentId);
    await instances.requireRow(principal, instanceId, 'use');
    if (kind === 'boot')
      throw new DomainError('CONFLICT', `the instance ${instanceId} starts from the volume ${volumeId}`, {
        hint: 'terminate the instance, and keep its boot volume',
      });
    if (!isAttached)
      throw new DomainError('CONFLICT', `the volume ${volumeId} is detached from ${instanceId} already`);
    const isRun = machines.running !== undefined;
    const job = await inTransaction(database.kysely, async (transaction) => {
      const instance = await this.#idle(transaction, principal, instanceId);
      const volume = await findVolume(transaction, principal.tenancyId, volumeId);
      if (volume?.file_state === 'overlay' && (await hasLiveJob(transaction, instanceId, 'volume-fill')))
        throw new DomainError('CONFLICT', `the volume ${volumeId} is being filled from the vault`, {
          hint: 'wait for the job volume-fill of the instance, or cancel it',
        });
      if (!isRun) {
        await endAttachment(transaction, attachmentId, Date.now());
        return undefined;
      }
      return this.#start(transaction, principal, instance, 'volume-detach', { id: attachmentId, volumeId });
    });
    wake();
    return { attachment: await volumes.attachment(principal, attachmentId), job };
  }

  async #idle(
    transaction: Queries,
    { tenancyId }: Principal,
    instanceId: string,
  ): Promise<InstanceWithState> {
    const row = await lockInstance(transaction, tenancyId, instanceId);
    if (row === undefined) throw noInstance(instanceId);
    if (row.deleted_at_ms !== null)
      throw new DomainError('CONFLICT', `the instance ${instanceId} is terminated`);
    requireIdle(row);
    return row;
  }

  #start(
    transaction: Queries,
    { tenancyId, userId }: Principal,
    { id: instanceId, compartment_id: compartmentId }: InstanceWithState,
    kind: 'volume-attach' | 'volume-detach',
    { id, volumeId }: { readonly id: string; readonly volumeId: string },
  ): Promise<Job> {
    return this.#parts.queue.create(
      {
        tenancyId,
        userId,
        kind,
        compartmentId,
        operation: kind === 'volume-attach' ? 'AttachVolume' : 'DetachVolume',
        resources: [
          { resourceId: instanceId, entityType: 'instance', action: 'related' },
          { resourceId: volumeId, entityType: 'volume', action: 'related' },
          {
            resourceId: id,
            entityType: 'volumeAttachment',
            action: kind === 'volume-attach' ? 'created' : 'deleted',
          },
        ],
        input: { instanceId, volumeId, attachmentId: id },
        // The volume is taken from now on: an attachment that is canceled before it began lets go of it.
        checkpoint: kind === 'volume-attach' ? {} : undefined,
      },
      transaction,
    );
  }
}

const attachmentInput = z.object({ instanceId: z.string(), volumeId: z.string(), attachmentId: z.string() });

export function attachmentHandlers(parts: InstanceJobParts): JobHandlers {
  return { 'volume-attach': attachHandler(parts), 'volume-detach': detachHandler(parts) };
}

function attachHandler(parts: InstanceJobParts): JobHandler {
  return async (context) => {
    const { instanceId, volumeId, attachmentId } = attachmentInput.parse(context.input);
    const { database } = parts;
    const row = await requireLive(parts, instanceId);
    const attachment = await findAttachment(database.kysely, attachmentId);
    if (attachment === undefined || attachment.detached_at_ms !== null)
      throw new DomainError('CONFLICT', `the volume attachment ${attachmentId} has ended`);
    const volume = await findVolume(database.kysely, row.tenancy_id, volumeId);
    try {
      await context.phase('attach');
      if (volume === undefined || volume.deleted_at_ms !== null)
        throw new DomainError('NOT_FOUND', `there is no volume ${volumeId}`);
      await putIn(parts, context, row, volume);
    } catch (error) {
      if (!goesOn(error, context.signal) && (await isOut(parts, context, instanceId, volume)))
        await endAttachment(database.kysely, attachmentId, Date.now());
      throw error;
    }
    return { attachmentId };
  };
}

/** A machine that is not known yet gets all of its volumes with its first start. */
async function putIn(
  parts: InstanceJobParts,
  context: JobContext,
  row: InstanceWithState,
  volume: VolumeRow,
): Promise<void> {
  const { database, machines } = parts;
  const { driver } = machines.require();
  if (!(await driver.list()).includes(row.id)) return;
  const made = await machines.files.make(volume);
  const image = await findImage(database.kysely, row.tenancy_id, row.image_id ?? '');
  const disk = dataDiskOf(machines.files.fileOf(made), factsOf(parts, row, [made], image));
  try {
    await driver.attachDisk(row.id, disk, context.signal);
  } catch (error) {
    throw new LastingError(error);
  }
  if (row.power_state === 'RUNNING') fillAfterwards(parts, context, row);
}

/** Whether the machine has nothing of the volume: what an attempt before has put in is taken out. */
async function isOut(
  { machines }: InstanceJobParts,
  context: JobContext,
  instanceId: string,
  volume: VolumeRow | undefined,
): Promise<boolean> {
  const { driver } = machines.require();
  if (volume === undefined || !(await driver.list()).includes(instanceId)) return true;
  try {
    await driver.detachDisk(instanceId, machines.files.fileOf(volume).path);
    return true;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    context.log('warning', `the volume ${volume.id} stays attached: ${why}`);
    return false;
  }
}

function detachHandler(parts: InstanceJobParts): JobHandler {
  return async (context) => {
    const { instanceId, volumeId, attachmentId } = attachmentInput.parse(context.input);
    const { database, machines } = parts;
    const { driver } = machines.require();
    await context.phase('detach');
    const row = await requireLive(parts, instanceId);
    const volume = await findVolume(database.kysely, row.tenancy_id, volumeId);
    const isKnown = (await driver.list()).includes(instanceId);
    if (isKnown && volume !== undefined && volume.file_state !== null)
      await driver.detachDisk(instanceId, machines.files.fileOf(volume).path, context.signal);
    context.atSuccess((transaction) => endAttachment(transaction, attachmentId, Date.now()));
    return { attachmentId };
  };
}
