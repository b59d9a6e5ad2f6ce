import type { Principal } from '../auth/tokens.ts';
import { newId } from '../db/ids.ts';
import { listImageShapes, putImageShape } from '../db/repositories/image-shapes.ts';
import { findImage, type ImageWithState, insertImage } from '../db/repositories/images.ts';
import { type InstanceWithState, lockInstance } from '../db/repositories/instances.ts';
import { type AttachedVolume, attachedVolumes } from '../db/repositories/volumes.ts';
import { inTransaction, type Queries } from '../db/transactions.ts';
import type { Job } from '../jobs/job.ts';
import { toJsonValue } from '../json.ts';
import type { Machines } from '../machines/machines.ts';
import type { CaptureInput } from './capture-job.ts';
import { requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import { newImageRow } from './image-imports.ts';
import type { ImageParts, Images } from './images.ts';
import { noInstance, requireIdle } from './instance.ts';
import type { Instances } from './instances.ts';
import { type Tags, tagColumns } from './tags.ts';

export interface CaptureRequest {
  readonly instanceId: string;
  readonly compartmentId: string;
  readonly name: string;
  /** Whether the guest may be restarted for it. Nothing is done to one that is stopped. */
  readonly reboot?: boolean | undefined;
  /** How long the guest has to end by itself then, where it is not as long as always. */
  readonly graceMs?: number | undefined;
  /** An image of each volume; by default of what the instance starts from. */
  readonly allVolumes?: boolean | undefined;
  readonly tags?: Partial<Tags> | undefined;
}

export interface ImageCaptureParts extends ImageParts {
  readonly images: Images;
  readonly instances: Instances;
  readonly machines: Machines;
  readonly graceMs: number;
  readonly wake: () => void;
}

/** A volume, and the image that is made of it. */
interface Captured extends AttachedVolume {
  readonly imageId: string;
  readonly name: string;
}

/** Starts to make images of instances, of one point in time. */
export class ImageCaptures {
  readonly #parts: ImageCaptureParts;

  constructor(parts: ImageCaptureParts) {
    this.#parts = parts;
  }

  /**
   * The images are `provisioning` from now on, with exactly the instance's launch options, and available when the job
   * succeeds. Throws NOT_FOUND, FORBIDDEN, and CONFLICT for an instance without a boot volume and for one that a job
   * works on.
   */
  async start(
    principal: Principal,
    request: CaptureRequest,
  ): Promise<{ readonly job: Job; readonly imageIds: readonly string[] }> {
    const { images, instances, tags, database, wake } = this.#parts;
    const { tenancyId } = principal;
    const { instanceId, compartmentId, name } = request;
    await images.requireHome(principal, compartmentId);
    await images.requireFreeName(tenancyId, name);
    await instances.requireRow(principal, instanceId, 'read');
    const checked = await tags.check(principal, request.tags ?? {});
    const started = await inTransaction(database.kysely, async (transaction) => {
      await requireCompartment(transaction, tenancyId, compartmentId);
      const instance = await lockInstance(transaction, tenancyId, instanceId);
      if (instance === undefined) throw noInstance(instanceId);
      if (instance.deleted_at_ms !== null)
        throw new DomainError('CONFLICT', `the instance ${instanceId} was terminated`);
      requireIdle(instance);
      const captured = await this.#captured(transaction, instance, request);
      const job = await this.#createJob(transaction, principal, request, captured);
      const base = await findImage(transaction, tenancyId, instance.image_id ?? '');
      for (const each of captured)
        await writeImage(transaction, { each, instance, base, job, compartmentId, tags: checked });
      return { job, imageIds: captured.map(({ imageId }) => imageId) };
    });
    wake();
    return started;
  }

  /** Throws CONFLICT when there is nothing to make an image of. */
  async #captured(
    transaction: Queries,
    { id }: InstanceWithState,
    { name, allVolumes = false }: CaptureRequest,
  ): Promise<Captured[]> {
    const attached = await attachedVolumes(transaction, id);
    if (attached[0]?.attachment.kind !== 'boot')
      throw new DomainError('CONFLICT', `the instance ${id} has no boot volume with content`);
    const chosen = allVolumes ? attached : attached.slice(0, 1);
    return chosen.map((each, index) => ({
      ...each,
      imageId: newId('img'),
      name: index === 0 ? name : `${name} (${each.volume.name})`,
    }));
  }

  #createJob(
    transaction: Queries,
    { tenancyId, userId }: Principal,
    request: CaptureRequest,
    captured: readonly Captured[],
  ): Promise<Job> {
    const { queue, machines, graceMs } = this.#parts;
    const { instanceId, compartmentId, reboot = false } = request;
    const isUnchanged = captured.every(({ volume }) => volume.file_state === null);
    if (!isUnchanged) machines.require();
    const input: CaptureInput = {
      instanceId,
      imageId: captured[0]?.imageId ?? '',
      images: captured.map(({ imageId, volume }) => ({
        imageId,
        volumeId: volume.id,
        manifestId: requireContent(isUnchanged ? volume.manifest_id : null, isUnchanged, volume.id),
      })),
      manifestIds: isUnchanged ? captured.flatMap(({ volume }) => volume.manifest_id ?? []) : [],
      reboot,
      graceMs: request.graceMs ?? graceMs,
    };
    return queue.create(
      {
        tenancyId,
        userId,
        kind: 'image-capture',
        compartmentId,
        operation: 'CreateImage',
        resources: [
          ...captured.map(({ imageId }) => ({
            resourceId: imageId,
            entityType: 'image',
            action: 'created' as const,
          })),
          { resourceId: instanceId, entityType: 'instance', action: 'related' },
        ],
        input: toJsonValue(input),
      },
      transaction,
    );
  }
}

function requireContent(
  manifestId: string | null,
  isUnchanged: boolean,
  volumeId: string,
): string | undefined {
  if (manifestId !== null || !isUnchanged) return manifestId ?? undefined;
  throw new DomainError('CONFLICT', `the volume ${volumeId} is empty: nothing was ever written to it`);
}

async function writeImage(
  transaction: Queries,
  of: {
    readonly each: Captured;
    readonly instance: InstanceWithState;
    readonly base: ImageWithState | undefined;
    readonly job: Job;
    readonly compartmentId: string;
    readonly tags: Tags;
  },
): Promise<void> {
  const { each, instance, base, job, compartmentId } = of;
  const { imageId, name, attachment } = each;
  const { tenancy_id: tenancyId } = instance;
  const row = {
    ...newImageRow({ id: imageId, tenancyId, compartmentId, name, jobId: job.id }),
    ...tagColumns(of.tags),
  };
  // What does not start a machine has nothing to do with how one is started.
  if (attachment.kind !== 'boot') return insertImage(transaction, row);
  await insertImage(transaction, {
    ...row,
    base_image_id: instance.image_id,
    launch_mode: instance.launch_mode,
    launch_options_json: instance.launch_options_json,
    operating_system: base?.operating_system ?? '',
    operating_system_version: base?.operating_system_version ?? '',
    capabilities_json: base?.capabilities_json ?? null,
    proposal_json: base?.proposal_json ?? null,
  });
  for (const shape of await listImageShapes(transaction, base?.id ?? '')) {
    await putImageShape(transaction, { ...shape, image_id: imageId });
  }
}
