import { z } from 'zod';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import { listImageShapes, putImageShape } from '../db/repositories/image-shapes.ts';
import { completeImage, findImage, insertImage } from '../db/repositories/images.ts';
import { findVolume, listVolumeAttachments } from '../db/repositories/volumes.ts';
import type { InstanceRow } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import type { JobHandler } from '../jobs/handler.ts';
import type { Job } from '../jobs/job.ts';
import { toJsonValue } from '../json.ts';
import type { Vault } from '../vault/vault.ts';
import { requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import { newImageRow } from './image-imports.ts';
import type { ImageParts, Images } from './images.ts';
import type { Instances } from './instances.ts';
import { type Tags, tagColumns } from './tags.ts';

export interface CaptureRequest {
  readonly instanceId: string;
  readonly compartmentId: string;
  readonly name: string;
  readonly tags?: Partial<Tags> | undefined;
}

export interface ImageCaptureParts extends ImageParts {
  readonly images: Images;
  readonly instances: Instances;
  readonly wake: () => void;
}

const captureInput = z.object({ imageId: z.string(), manifestId: z.string(), instanceId: z.string() });

/** Starts to make images of instances: of the disk that an instance starts from, never of those beside it. */
export class ImageCaptures {
  readonly #parts: ImageCaptureParts;

  constructor(parts: ImageCaptureParts) {
    this.#parts = parts;
  }

  /**
   * The image is `provisioning` from now on, with exactly the instance's launch options, and available when the job
   * succeeds. Throws NOT_FOUND, FORBIDDEN, CONFLICT for an instance without a boot volume.
   */
  async start(principal: Principal, request: CaptureRequest): Promise<Job> {
    const { images, instances, tags, database, queue, wake } = this.#parts;
    const { tenancyId, userId } = principal;
    const { instanceId, compartmentId, name } = request;
    await images.requireHome(principal, compartmentId);
    await images.requireFreeName(tenancyId, name);
    const instance = await instances.requireRow(principal, instanceId, 'read');
    if (instance.deleted_at_ms !== null)
      throw new DomainError('CONFLICT', `the instance ${instanceId} was terminated`);
    const manifestId = await bootManifest(database, instance);
    const checked = await tags.check(principal, request.tags ?? {});
    const base =
      instance.image_id === null ? undefined : await findImage(database.kysely, tenancyId, instance.image_id);
    const imageId = newId('img');
    const job = await inTransaction(database.kysely, async (transaction) => {
      await requireCompartment(transaction, tenancyId, compartmentId);
      const created = await queue.create(
        {
          tenancyId,
          userId,
          kind: 'image-capture',
          compartmentId,
          operation: 'CreateImage',
          resources: [
            { resourceId: imageId, entityType: 'image', action: 'created' },
            { resourceId: instanceId, entityType: 'instance', action: 'related' },
          ],
          input: toJsonValue({ imageId, manifestId, instanceId }),
        },
        transaction,
      );
      await insertImage(transaction, {
        ...newImageRow({ id: imageId, tenancyId, compartmentId, name, jobId: created.id }),
        ...tagColumns(checked),
        base_image_id: instance.image_id,
        launch_mode: instance.launch_mode,
        launch_options_json: instance.launch_options_json,
        operating_system: base?.operating_system ?? '',
        operating_system_version: base?.operating_system_version ?? '',
        capabilities_json: base?.capabilities_json ?? null,
      });
      for (const shape of await listImageShapes(transaction, base?.id ?? '')) {
        await putImageShape(transaction, { ...shape, image_id: imageId });
      }
      return created;
    });
    wake();
    return job;
  }
}

async function bootManifest({ kysely }: Database, instance: InstanceRow): Promise<string> {
  const { tenancy_id: tenancyId, id: instanceId } = instance;
  const listing = { tenancyId, kind: 'boot', instanceId, isAttached: true, limit: 1 } as const;
  const [attachment] = (await listVolumeAttachments(kysely, listing)).items;
  const volume =
    attachment === undefined ? undefined : await findVolume(kysely, tenancyId, attachment.volume_id);
  if (volume?.manifest_id != null) return volume.manifest_id;
  throw new DomainError('CONFLICT', `the instance ${instanceId} has no boot volume with content`);
}

/** Checks that the blocks of the volume are listed whole; the image has them in common with it. */
export function captureHandler({ database, vault }: { database: Database; vault: Vault }): JobHandler {
  return async (context) => {
    const { imageId, manifestId } = captureInput.parse(context.input);
    await context.phase('verify');
    const disk = await vault.openManifest(manifestId);
    try {
      const { diskDigest, virtualSizeBytes } = disk;
      if (diskDigest === null || (await disk.listedDigest()) !== diskDigest) {
        throw new DomainError('VERIFY_FAILED', 'the blocks of the boot volume have another digest', {
          hint: 'check the vault with gantry vault check --data',
        });
      }
      context.atSuccess(async (transaction) => {
        const isCompleted = await completeImage(transaction, imageId, {
          manifest_id: manifestId,
          source_format: 'volume',
          virtual_size_bytes: virtualSizeBytes,
          disk_digest: diskDigest,
        });
        if (!isCompleted) throw new DomainError('CONFLICT', `the image ${imageId} was deleted meanwhile`);
      });
      context.log('info', 'the image has the blocks of the boot volume: nothing is copied');
      const row = await findImage(database.kysely, context.job.tenancyId, imageId);
      context.log('info', `launch options as of the instance: ${row?.launch_options_json ?? 'none'}`);
      return { imageId, diskDigest, virtualSizeBytes };
    } finally {
      await disk.close();
    }
  };
}
