import { mapOrdered } from '@gantry/disk';
import type { Context } from '../context.ts';
import { CommandError } from '../errors/command-error.ts';
import type { ObjectEntry, Upload, UploadPart, UploadWithParts } from './api.ts';
import type { ServiceClient } from './client.ts';
import type { LocalFile } from './local-file.ts';
import { apiPath, objectPath, type Place } from './paths.ts';

const MIB = 1024 * 1024;
const PART_BYTES = 64 * MIB;
const PARTS_AT_ONCE = 3;
/** As in S3. */
const PART_LIMIT = 10_000;

interface Part {
  readonly partNumber: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface UploadOptions {
  /**
   * True when the object's key names this very file (LocalFile.identity), so that parts which are there are known
   * to be its parts. Else every part is sent with its MD5, which tells its parts from those of another file.
   */
  readonly isNamedByIdentity: boolean;
}

/**
 * Puts a file into a bucket: a small one at once, a larger one in parts. When an upload of it was broken off,
 * the parts that are there are not sent again.
 */
export async function uploadFile(
  context: Context,
  client: ServiceClient,
  file: LocalFile,
  place: Place,
  options: UploadOptions,
): Promise<ObjectEntry> {
  const upload = new FileUpload(context, client, file, place, options);
  const object = file.lengthBytes <= PART_BYTES ? await upload.putWhole() : await upload.putParts();
  context.progress.end();
  if (object.lengthBytes === file.lengthBytes) return object;
  throw new CommandError(
    'VERIFY_FAILED',
    `${file.path} has ${file.lengthBytes} bytes; the object has ${object.lengthBytes}`,
  );
}

class FileUpload {
  readonly #context: Context;
  readonly #client: ServiceClient;
  readonly #file: LocalFile;
  readonly #place: Place;
  readonly #withMd5: boolean;
  readonly #uploads: string;
  #doneBytes = 0;

  constructor(
    context: Context,
    client: ServiceClient,
    file: LocalFile,
    place: Place,
    options: UploadOptions,
  ) {
    this.#context = context;
    this.#client = client;
    this.#file = file;
    this.#place = place;
    this.#withMd5 = !options.isNamedByIdentity;
    this.#uploads = apiPath('buckets', place.bucket, 'uploads');
  }

  async putWhole(): Promise<ObjectEntry> {
    const part = { partNumber: 1, offsetBytes: 0, lengthBytes: this.#file.lengthBytes };
    const object = await this.#put<ObjectEntry>(objectPath(this.#place), part);
    await this.#file.requireUnchanged();
    return object;
  }

  async putParts(): Promise<ObjectEntry> {
    const parts = partsOf(this.#file.lengthBytes);
    const upload = (await this.#brokenOff(parts)) ?? { ...(await this.#start()), parts: [] };
    const path = `${this.#uploads}${apiPath(upload.id)}`;
    const present = new Map(upload.parts.map((part) => [part.partNumber, part]));
    const listed: { partNumber: number; etag: string }[] = [];
    let keptCount = 0;
    const put = async (part: Part): Promise<UploadPart> => {
      this.#context.signal.throwIfAborted();
      const kept = present.get(part.partNumber);
      if (kept === undefined || !(await this.#isOurs(part, kept))) {
        return this.#put<UploadPart>(`${path}/parts/${part.partNumber}`, part);
      }
      keptCount++;
      this.#sent(part.lengthBytes);
      return kept;
    };
    try {
      for await (const { partNumber, etag } of mapOrdered(parts, PARTS_AT_ONCE, put)) {
        listed.push({ partNumber, etag });
      }
    } catch (error) {
      if (!this.#context.signal.aborted) throw error;
      throw new CommandError('INTERRUPTED', `you left; ${listed.length} of ${parts.length} parts are there`, {
        hint: 'run the same command again: it goes on with the rest',
      });
    }
    if (keptCount > 0)
      this.#context.progress.note(`${keptCount} of ${parts.length} parts were there already`);
    await this.#file.requireUnchanged();
    const json = { parts: listed };
    return this.#client.json<ObjectEntry>('POST', `${path}/complete`, { json });
  }

  #start(): Promise<Upload> {
    return this.#client.json<Upload>('POST', this.#uploads, { json: { key: this.#place.key } });
  }

  /** The newest unfinished upload to this key with parts of the lengths that we would give them. */
  async #brokenOff(parts: readonly Part[]): Promise<UploadWithParts | undefined> {
    const lengths = new Map(parts.map(({ partNumber, lengthBytes }) => [partNumber, lengthBytes]));
    const candidates: Upload[] = [];
    const { key } = this.#place;
    for await (const upload of this.#client.items<Upload>(this.#uploads, { prefix: key })) {
      if (upload.key === key) candidates.push(upload);
    }
    for (const { id } of candidates.sort((a, b) => b.createdAtMs - a.createdAtMs)) {
      const upload = await this.#client.json<UploadWithParts>('GET', `${this.#uploads}${apiPath(id)}`);
      if (upload.parts.every((part) => lengths.get(part.partNumber) === part.lengthBytes)) return upload;
    }
    return undefined;
  }

  async #isOurs(part: Part, kept: UploadPart): Promise<boolean> {
    if (!this.#withMd5) return true;
    return (await this.#file.md5(part.offsetBytes, part.lengthBytes)).toString('hex') === kept.etag;
  }

  async #put<Answer>(path: string, part: Part): Promise<Answer> {
    const { offsetBytes, lengthBytes } = part;
    const headers: Record<string, string> = {};
    if (this.#withMd5)
      headers['content-md5'] = (await this.#file.md5(offsetBytes, lengthBytes)).toString('base64');
    const body = this.#file.range(offsetBytes, lengthBytes, (count) => this.#sent(count));
    return this.#client.json<Answer>('PUT', path, { body, headers });
  }

  #sent(count: number): void {
    const totalBytes = this.#file.lengthBytes;
    // What is sent a second time counts once.
    this.#doneBytes = Math.min(this.#doneBytes + count, totalBytes);
    this.#context.progress.step({ phase: 'upload', doneBytes: this.#doneBytes, totalBytes });
  }
}

/** The parts follow from the length alone, so that an upload can go on after any interruption. */
function partsOf(lengthBytes: number): readonly Part[] {
  const wholeMibs = Math.ceil(lengthBytes / PART_LIMIT / MIB) * MIB;
  const partBytes = Math.max(PART_BYTES, wholeMibs);
  return Array.from({ length: Math.ceil(lengthBytes / partBytes) }, (_, index) => ({
    partNumber: index + 1,
    offsetBytes: index * partBytes,
    lengthBytes: Math.min(partBytes, lengthBytes - index * partBytes),
  }));
}
