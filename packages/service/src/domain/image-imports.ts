import { formatNamed, ImageError } from '@gantry/disk';
import type { Principal } from '../auth/tokens.ts';
import { newId } from '../db/ids.ts';
import { insertImage } from '../db/repositories/images.ts';
import { insertJobSecret } from '../db/repositories/job-secrets.ts';
import type { ImageRow } from '../db/schema.ts';
import { inTransaction } from '../db/transactions.ts';
import type { Job } from '../jobs/job.ts';
import { type JsonValue, toJsonValue } from '../json.ts';
import { requireCompartment } from './compartments.ts';
import { DomainError } from './errors.ts';
import type { ImageParts, Images } from './images.ts';
import type { ImportInput } from './import-job.ts';
import type { ImportSource } from './import-source.ts';
import type { LaunchMode, LaunchOptionsInput } from './launch-options.ts';
import { requireLaunchable } from './launch-rules.ts';
import { type Tags, tagColumns } from './tags.ts';

export interface ImportRequest {
  readonly name: string;
  /** By default the tenancy's root. */
  readonly compartmentId?: string | undefined;
  readonly format?: string | undefined;
  readonly member?: string | undefined;
  readonly snapshot?: string | undefined;
  readonly source: RequestedSource;
  /** The source in the words of a dialect, to be given back as they are. */
  readonly sentSource?: JsonValue | undefined;
  readonly operatingSystem?: string | undefined;
  readonly operatingSystemVersion?: string | undefined;
  readonly launchMode?: LaunchMode | undefined;
  readonly launchOptions?: LaunchOptionsInput | undefined;
  readonly tags?: Partial<Tags> | undefined;
  /** Only administrators bring images that are not custom ones. */
  readonly kind?: ImageRow['kind'] | undefined;
}

/** Addresses are whole here, secrets included; `par` is one of a pre-authenticated request of this service. */
export type RequestedSource =
  | Extract<ImportSource, { kind: 'object' | 'stream' }>
  | { readonly kind: 'par' | 'url'; readonly url: string };

export interface ImageImportParts extends ImageParts {
  readonly images: Images;
  readonly wake: () => void;
}

/** Starts to bring images in. */
export class ImageImports {
  readonly #parts: ImageImportParts;

  constructor(parts: ImageImportParts) {
    this.#parts = parts;
  }

  /**
   * Starts to bring an image in: it is `importing` from now on, under the id in the job's input, and available when
   * the job succeeds. `prepare` is called with the job's id before anyone can see the job. Throws NOT_FOUND for the
   * compartment, INVALID for a format, tags or launch options that cannot be.
   */
  async start(
    principal: Principal,
    request: ImportRequest,
    prepare: (jobId: string) => void = () => {},
  ): Promise<Job> {
    const { tenancyId, userId, role } = principal;
    const { images, tags, database, queue, wake } = this.#parts;
    const { name, compartmentId = tenancyId, kind = 'custom', source } = request;
    if (request.format !== undefined) requireFormat(request.format);
    await images.requireHome(principal, compartmentId);
    if (kind === 'custom') await images.requireFreeName(tenancyId, name);
    else if (role !== 'administrator')
      throw new DomainError('FORBIDDEN', `only administrators bring ${kind} images`);
    requireLaunchable({ ...request, operatingSystem: request.operatingSystem ?? '' });
    const checked = await tags.check(principal, request.tags ?? {});
    const imageId = newId('img');
    const input: ImportInput = {
      imageId,
      name,
      format: request.format,
      member: request.member,
      snapshot: request.snapshot,
      source: storedSource(source),
    };
    const job = await inTransaction(database.kysely, async (transaction) => {
      await requireCompartment(transaction, tenancyId, compartmentId);
      const created = await queue.create(
        {
          tenancyId,
          userId,
          kind: 'image-import',
          compartmentId,
          operation: 'ImportImage',
          resources: [{ resourceId: imageId, entityType: 'image', action: 'created' }],
          input: toJsonValue(input),
        },
        transaction,
      );
      prepare(created.id);
      await insertImage(transaction, {
        ...newImageRow({ id: imageId, tenancyId, compartmentId, name, jobId: created.id }),
        ...tagColumns(checked),
        kind,
        source_json: request.sentSource === undefined ? null : JSON.stringify(request.sentSource),
        operating_system: request.operatingSystem ?? '',
        operating_system_version: request.operatingSystemVersion ?? '',
        launch_mode: request.launchMode ?? null,
        launch_options_json:
          request.launchOptions === undefined ? null : JSON.stringify(request.launchOptions),
      });
      if ('url' in source) await insertJobSecret(transaction, created.id, source.url);
      return created;
    });
    wake();
    return job;
  }
}

/** An image of which nothing is known but who makes it. */
export function newImageRow(of: {
  readonly id: string;
  readonly tenancyId: string;
  readonly compartmentId: string;
  readonly name: string;
  readonly jobId: string;
}): ImageRow {
  return {
    id: of.id,
    tenancy_id: of.tenancyId,
    compartment_id: of.compartmentId,
    name: of.name,
    kind: 'custom',
    base_image_id: null,
    manifest_id: null,
    source_format: null,
    virtual_size_bytes: null,
    disk_digest: null,
    details_json: '{}',
    job_id: of.jobId,
    source_json: null,
    operating_system: '',
    operating_system_version: '',
    launch_mode: null,
    launch_options_json: null,
    capabilities_json: null,
    capture_id: null,
    captured_at_ms: null,
    consistency: null,
    proposal_json: null,
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    version: 1,
    created_at_ms: Date.now(),
    deleted_at_ms: null,
  };
}

/** As a job's row keeps it, which many read: what stands behind an address's path may be a secret. */
function storedSource(source: RequestedSource): ImportSource {
  if (!('url' in source)) return source;
  const { protocol, host } = new URL(source.url);
  return { kind: source.kind, shownUrl: `${protocol}//${host}/…` };
}

function requireFormat(name: string): void {
  try {
    formatNamed(name);
  } catch (error) {
    if (error instanceof ImageError) throw new DomainError('INVALID', error.message, { hint: error.hint });
    throw error;
  }
}
