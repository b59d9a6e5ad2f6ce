import { ImageError, StoreError } from '@gantry/disk';
import type { Principal } from '../auth/tokens.ts';
import type { Job } from '../jobs/job.ts';
import type { JobQueue } from '../jobs/queue.ts';
import { DomainError, type DomainErrorCode, domainErrorCodes } from './errors.ts';
import type { StoredImage } from './image.ts';
import type { ImageImports } from './image-imports.ts';
import type { Images } from './images.ts';
import type { ArrivingBody } from './import-source.ts';

export interface StreamImportRequest extends ArrivingBody {
  readonly name: string;
  readonly format: string;
  readonly member?: string | undefined;
  readonly snapshot?: string | undefined;
  readonly compartmentId?: string | undefined;
}

/** Imports whose bytes come with a request: the job lives as long as the request does. */
export class StreamImports {
  readonly #queue: JobQueue;
  readonly #images: Images;
  readonly #imports: ImageImports;
  readonly #bodies: Map<string, ArrivingBody> = new Map();

  constructor(queue: JobQueue, images: Images, imports: ImageImports) {
    this.#queue = queue;
    this.#images = images;
    this.#imports = imports;
  }

  /** The body of a job's request while that lasts; for the import's handler. */
  readonly bodyOf = (jobId: string): ArrivingBody | undefined => this.#bodies.get(jobId);

  /**
   * Imports the body; returns when the job has ended well. Throws what the job ended with. A job that waits for
   * others holds the sender back, nothing is buffered.
   */
  async run(principal: Principal, request: StreamImportRequest): Promise<{ job: Job; image: StoredImage }> {
    const { body, lengthBytes, ...image } = request;
    const ended = Promise.withResolvers<void>();
    let jobId = '';
    const unsubscribe = this.#queue.subscribe((change, id) => {
      // Queued again: the service stops, or what failed may pass, and the body does not come twice.
      if (id === jobId && (change === 'finished' || change === 'queued')) ended.resolve();
    });
    try {
      await this.#imports.start(principal, { ...image, source: { kind: 'stream' } }, (id) => {
        jobId = id;
        this.#bodies.set(id, { body, lengthBytes });
      });
      await ended.promise;
      const end = await this.#queue.get(principal.tenancyId, jobId);
      if (end.state !== 'succeeded') throw failureOf(end);
      const { imageId } = end.result as { imageId: string };
      return { job: end, image: await this.#images.stored(principal, imageId) };
    } finally {
      unsubscribe();
      this.#bodies.delete(jobId);
    }
  }
}

/** The error that a job ended with, as the one who waited for it gets it. */
function failureOf(job: Job): Error {
  if (job.state === 'queued' || job.state === 'running') {
    const message = 'the import was interrupted, and the image does not come twice';
    return new DomainError('UPLOAD_INCOMPLETE', message, { hint: 'send the image again' });
  }
  if (job.error === undefined) return new DomainError('CANCELED', `job ${job.id} was canceled`);
  const { code, message } = job.error;
  const hint = job.error.hint ?? undefined;
  if (code.startsWith('IMAGE_')) {
    return new ImageError(code as ImageError['code'], message, { structure: 'the image', hint });
  }
  if (code.startsWith('STORE_'))
    return new StoreError(code as StoreError['code'], message, { where: job.id, hint });
  const known = domainErrorCodes.find((domainCode) => domainCode === code);
  return new DomainError(known ?? ('INTERNAL' satisfies DomainErrorCode), message, { hint });
}
