import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { lockImage } from '../db/repositories/images.ts';
import { insertJobSecret } from '../db/repositories/job-secrets.ts';
import { inTransaction } from '../db/transactions.ts';
import type { Job } from '../jobs/job.ts';
import type { JobQueue } from '../jobs/queue.ts';
import { toJsonValue } from '../json.ts';
import type { Access } from './access.ts';
import { bucketFor, MANAGE_OBJECTS } from './buckets.ts';
import { DomainError } from './errors.ts';
import type { ExportInput } from './export-job.ts';
import { noImage, requireStored, toImage } from './image.ts';
import { archiveView } from './image-metadata.ts';
import type { Images } from './images.ts';
import { requireExportable } from './launch-rules.ts';
import { requireObjectKey } from './object-key.ts';
import type { ViewSpec } from './view-spec.ts';
import type { ImageViews } from './views.ts';

/** Addresses are whole here, secrets included; `par` is one of a pre-authenticated request of this service. */
export type RequestedTarget =
  | { readonly kind: 'object'; readonly bucket: string; readonly key: string }
  | { readonly kind: 'par' | 'url'; readonly url: string };

export interface ExportRequest {
  readonly view: ViewSpec;
  readonly target: RequestedTarget;
  /** Store the bytes even where a view would do. */
  readonly materialize: boolean;
}

export interface ImageExportParts {
  readonly database: Database;
  readonly queue: JobQueue;
  readonly views: ImageViews;
  readonly access: Access;
  readonly images: Images;
  readonly wake: () => void;
}

/** Starts to take images out. */
export class ImageExports {
  readonly #parts: ImageExportParts;

  constructor(parts: ImageExportParts) {
    this.#parts = parts;
  }

  /**
   * Starts to write the image as a file of a format; it is `exporting` until the job is over. Several exports of one
   * image go on side by side. Throws NOT_FOUND, FORBIDDEN, CONFLICT while the image is being made, INVALID for one
   * that may not leave, ImageError for options that the format refuses.
   */
  async start(principal: Principal, id: string, request: ExportRequest): Promise<Job> {
    const { images, database, queue, wake } = this.#parts;
    const image = requireStored(await images.get(principal, id, 'read'));
    requireExportable(await images.kindsOf(principal.tenancyId, image));
    const { manifestId } = image.content;
    const view = await archiveView(database.kysely, image, request.view);
    await this.#requireTarget(principal, request.target);
    // Refused now rather than in the job, where the one who asks can still mend it.
    await this.#parts.views.withPlan(manifestId, view, async ({ plan }) => {
      if (plan.kind === 'stream' && request.target.kind === 'url') throw noLength(view);
    });
    const { target, materialize } = request;
    const input: ExportInput = { imageId: id, manifestId, view, materialize, ...storedTarget(target) };
    const job = await inTransaction(database.kysely, async (transaction) => {
      // Who deletes the image waits for this, and then finds it exporting.
      const row = await lockImage(transaction, principal.tenancyId, id);
      if (row === undefined) throw noImage(id);
      requireStored(toImage(row));
      const created = await queue.create(
        {
          tenancyId: principal.tenancyId,
          userId: principal.userId,
          kind: 'image-export',
          compartmentId: row.compartment_id,
          operation: 'ExportImage',
          resources: [{ resourceId: id, entityType: 'image', action: 'updated' }],
          input: toJsonValue(input),
        },
        transaction,
      );
      if (target.kind !== 'object') await insertJobSecret(transaction, created.id, target.url);
      return created;
    });
    wake();
    return job;
  }

  async #requireTarget(principal: Principal, target: RequestedTarget): Promise<void> {
    if (target.kind !== 'object') return;
    requireObjectKey(target.key);
    const { database, access } = this.#parts;
    await bucketFor(database.kysely, access, principal, target.bucket, MANAGE_OBJECTS);
  }
}

/** As a job's row keeps it, which many read. */
function storedTarget(target: RequestedTarget): Pick<ExportInput, 'bucket' | 'key' | 'via' | 'shownUrl'> {
  if (target.kind === 'object') return { bucket: target.bucket, key: target.key };
  const { protocol, host } = new URL(target.url);
  return { via: target.kind, shownUrl: `${protocol}//${host}/…` };
}

function noLength(view: ViewSpec): DomainError {
  return new DomainError('INVALID', `${view.format} in this form has no length before it is written`, {
    hint: 'export it to a bucket here, or take a form that is not compressed',
  });
}
