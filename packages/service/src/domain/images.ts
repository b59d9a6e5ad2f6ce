import { formatNamed, ImageError } from '@gantry/disk';
import type { Database } from '../db/database.ts';
import { newId } from '../db/ids.ts';
import { findImage, type ImageListing, listImages, markImageDeleted } from '../db/repositories/images.ts';
import { insertJobSecret } from '../db/repositories/job-secrets.ts';
import type { ImageRow } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import type { Job } from '../jobs/job.ts';
import type { JobQueue } from '../jobs/queue.ts';
import { type JsonValue, toJsonValue } from '../json.ts';
import { requireBucket } from './buckets.ts';
import { DomainError } from './errors.ts';
import type { ExportInput } from './export-job.ts';
import type { ImportInput } from './import-job.ts';
import type { ImportSource } from './import-source.ts';
import { requireObjectKey } from './object-key.ts';
import type { ViewSpec } from './view-spec.ts';
import type { ImageView, ImageViews } from './views.ts';

/** A disk image that the service keeps. */
export interface Image {
  readonly id: string;
  readonly name: string;
  readonly sourceFormat: string;
  readonly virtualSizeBytes: number;
  readonly diskDigest: string;
  readonly createdAtMs: number;
  /** What the headers of the imported file said. */
  readonly details: JsonValue;
}

/** Who asks, as far as images go. */
export interface ImageOwner {
  readonly tenancyId: string;
  readonly userId: string;
}

export interface ImportRequest {
  readonly name: string;
  readonly format?: string | undefined;
  readonly member?: string | undefined;
  readonly snapshot?: string | undefined;
  readonly source: Exclude<ImportSource, { kind: 'url' }> | { readonly kind: 'url'; readonly url: string };
}

export interface ImagePage {
  readonly items: Image[];
  readonly next: string | undefined;
}

/** Images of a tenancy: what they are, how they come in and go out. */
export class Images {
  readonly #database: Database;
  readonly #queue: JobQueue;
  readonly #views: ImageViews;
  readonly #wake: () => void;

  constructor(database: Database, queue: JobQueue, views: ImageViews, wake: () => void) {
    this.#database = database;
    this.#queue = queue;
    this.#views = views;
    this.#wake = wake;
  }

  async list(listing: ImageListing): Promise<ImagePage> {
    const { items, next } = await listImages(this.#database.kysely, listing);
    return { items: items.filter(isStored).map(toImage), next };
  }

  /** Throws NOT_FOUND. */
  async get(owner: ImageOwner, id: string): Promise<Image> {
    return toImage(await this.#row(owner, id));
  }

  /** Forgets the image. Its blocks go with the next collection, unless an object still shows it. */
  async delete(owner: ImageOwner, id: string): Promise<void> {
    const deleted = await markImageDeleted(this.#database.kysely, owner.tenancyId, id, Date.now());
    if (deleted === undefined) throw noImage(id);
  }

  /** The image as a file of a format; close its source. */
  async view(owner: ImageOwner, id: string, spec: ViewSpec): Promise<ImageView & { readonly image: Image }> {
    const row = await this.#row(owner, id);
    return { ...(await this.#views.open(row.manifest_id, spec)), image: toImage(row) };
  }

  /**
   * Starts to bring an image in. The image appears, with the id in the job's input, when the job succeeds.
   * `prepare` is called with the job's id before anyone can see the job.
   */
  async startImport(
    owner: ImageOwner,
    request: ImportRequest,
    prepare: (jobId: string) => void = () => {},
  ): Promise<Job> {
    if (request.format !== undefined) requireFormat(request.format);
    const { source, ...named } = request;
    const input: ImportInput = { ...named, imageId: newId('img'), source: storedSource(source) };
    const job = await inTransaction(this.#database.kysely, async (transaction) => {
      const created = await this.#queue.create(
        { ...owner, kind: 'image-import', input: toJsonValue(input) },
        transaction,
      );
      prepare(created.id);
      if (source.kind === 'url') await insertJobSecret(transaction, created.id, source.url);
      return created;
    });
    this.#wake();
    return job;
  }

  /** Starts to put the image into a bucket as a file of a format. Throws NOT_FOUND, INVALID for a key. */
  async startExport(
    owner: ImageOwner,
    id: string,
    request: Omit<ExportInput, 'imageId' | 'manifestId'>,
  ): Promise<Job> {
    const row = await this.#row(owner, id);
    // Refused now rather than in the job, where the one who asks can still mend it.
    requireObjectKey(request.key);
    await requireBucket(this.#database.kysely, owner.tenancyId, request.bucket);
    await this.#views.withPlan(row.manifest_id, request.view, async () => {});
    const input: ExportInput = { ...request, imageId: id, manifestId: row.manifest_id };
    return this.#queue.create({ ...owner, kind: 'image-export', input: toJsonValue(input) });
  }

  async #row(owner: ImageOwner, id: string): Promise<StoredImageRow> {
    const row = await findImage(this.#database.kysely, owner.tenancyId, id);
    if (row === undefined || !isStored(row)) throw noImage(id);
    return row;
  }
}

/** As a job's row keeps it, which many read: what stands behind an address's path may be a secret. */
function storedSource(source: ImportRequest['source']): ImportSource {
  if (source.kind !== 'url') return source;
  const { protocol, host } = new URL(source.url);
  return { kind: 'url', shownUrl: `${protocol}//${host}/…` };
}

function requireFormat(name: string): void {
  try {
    formatNamed(name);
  } catch (error) {
    if (error instanceof ImageError) throw new DomainError('INVALID', error.message, { hint: error.hint });
    throw error;
  }
}

function noImage(id: string): DomainError {
  return new DomainError('NOT_FOUND', `there is no image ${id}`);
}

/** An image whose content is in the vault. */
type StoredImageRow = ImageRow & {
  readonly manifest_id: string;
  readonly source_format: string;
  readonly virtual_size_bytes: number;
  readonly disk_digest: string;
};

function isStored(row: ImageRow): row is StoredImageRow {
  return row.manifest_id !== null;
}

function toImage(row: StoredImageRow): Image {
  return {
    id: row.id,
    name: row.name,
    sourceFormat: row.source_format,
    virtualSizeBytes: row.virtual_size_bytes,
    diskDigest: row.disk_digest,
    createdAtMs: row.created_at_ms,
    details: JSON.parse(row.details_json),
  };
}
