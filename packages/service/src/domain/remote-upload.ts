import { createHash } from 'node:crypto';
import { type ByteSource, type HttpAnswer, StoreError, shownAddress } from '@gantry/disk';
import type { GuardedSend } from '@gantry/storage';
import { z } from 'zod';
import type { JobContext } from '../jobs/handler.ts';
import { DomainError } from './errors.ts';
import { readRange } from './export-pieces.ts';

const uploadCheckpoint = z.object({
  upload: z.object({
    /** Of the file that is sent: another one is sent from its begin. */
    etag: z.string(),
    partBytes: z.number().int(),
    /** Parts that arrived, from the first on. */
    partCount: z.number().int(),
    /** They are the object now: nothing is sent any more. */
    isSent: z.boolean().optional(),
  }),
});
type UploadState = z.infer<typeof uploadCheckpoint>['upload'];

export interface RemoteUploadParts {
  readonly send: GuardedSend;
  /** What the job's row must not show: the address, and once it is known that of the upload. */
  readonly secretOf: (jobId: string) => Promise<string | undefined>;
  readonly keepSecret: (jobId: string, secret: string) => Promise<void>;
}

/** Smaller files are sent as one. A part is what a kill costs. */
const PART_BYTES: number = 64 * 1024 * 1024;
const MIB: number = 1024 * 1024;
/** OCI takes no more parts of one object. */
const PARTS_MAX = 10_000;

/** The address that a job sends to. Throws NOT_FOUND when it is gone. */
export async function uploadAddress(parts: RemoteUploadParts, jobId: string): Promise<URL> {
  return new URL((await requireSecret(parts, jobId)).address);
}

/**
 * Sends a file to an address that takes it, such as a pre-authenticated request of OCI: in parts that another attempt
 * goes on from, where the server offers that (`opc-multipart`, Oracle's documentation "Putting a Large Object"), as
 * one request otherwise. What the server says that it got is compared with what was sent. Throws StoreError and
 * VERIFY_FAILED.
 */
export async function uploadFile(
  parts: RemoteUploadParts,
  context: JobContext,
  file: ByteSource,
  etag: string,
): Promise<void> {
  const { address, uploadUri } = await requireSecret(parts, context.job.id);
  const sender = new Sender(parts.send, context, file);
  if (file.lengthBytes <= PART_BYTES) return sender.whole(address);
  const saved = savedState(context, etag);
  if (saved?.isSent === true) return;
  const multipart =
    saved !== undefined && uploadUri !== undefined
      ? { uri: uploadUri, state: saved }
      : await begin(parts, context, sender, address, etag);
  if (multipart === undefined) return sender.whole(address);
  await sender.inParts(multipart.uri, multipart.state);
}

/** Lets go of the parts that arrived, when the server lets us: the next attempt begins anew. */
export async function leaveUpload(parts: RemoteUploadParts, context: JobContext): Promise<void> {
  const saved = uploadCheckpoint.safeParse(context.checkpoint);
  if (!saved.success) return;
  const [, uri] = (await parts.secretOf(context.job.id))?.split('\n') ?? [];
  if (uri !== undefined && saved.data.upload.isSent !== true) {
    const headers = { 'content-length': '0' };
    await parts
      .send(uri, { method: 'DELETE', headers, signal: AbortSignal.timeout(10_000) })
      .then(discard)
      .catch(() => context.log('warning', 'the parts that were sent could not be removed there'));
  }
  await context.saveCheckpoint(null);
}

async function discard({ body }: HttpAnswer): Promise<void> {
  for await (const _ of body ?? []);
}

function savedState(context: JobContext, etag: string): UploadState | undefined {
  const saved = uploadCheckpoint.safeParse(context.checkpoint);
  return saved.success && saved.data.upload.etag === etag ? saved.data.upload : undefined;
}

async function begin(
  parts: RemoteUploadParts,
  context: JobContext,
  sender: Sender,
  address: string,
  etag: string,
): Promise<{ uri: string; state: UploadState } | undefined> {
  const uri = await sender.startParts(address);
  if (uri === undefined) return undefined;
  await parts.keepSecret(context.job.id, `${address}\n${uri}`);
  const state = { etag, partBytes: partBytesOf(sender.lengthBytes), partCount: 0 };
  await context.saveCheckpoint({ upload: state });
  return { uri, state };
}

function partBytesOf(lengthBytes: number): number {
  return Math.max(PART_BYTES, Math.ceil(lengthBytes / PARTS_MAX / MIB) * MIB);
}

async function requireSecret(
  { secretOf }: RemoteUploadParts,
  jobId: string,
): Promise<{ address: string; uploadUri: string | undefined }> {
  const [address, uploadUri] = (await secretOf(jobId))?.split('\n') ?? [];
  if (address === undefined) throw new DomainError('NOT_FOUND', `the address of job ${jobId} is gone`);
  return { address, uploadUri };
}

class Sender {
  readonly #send: GuardedSend;
  readonly #context: JobContext;
  readonly #file: ByteSource;

  constructor(send: GuardedSend, context: JobContext, file: ByteSource) {
    this.#send = send;
    this.#context = context;
    this.#file = file;
  }

  get lengthBytes(): number {
    return this.#file.lengthBytes;
  }

  async whole(address: string): Promise<void> {
    await this.#context.phase('send', this.lengthBytes);
    await this.#put(address, 0, this.lengthBytes);
  }

  /** Where to send parts; undefined when the server knows no parts. */
  async startParts(address: string): Promise<string | undefined> {
    const headers = { 'opc-multipart': 'true', 'content-length': '0' };
    const answer = await this.#request(address, { method: 'PUT', headers });
    const { accessUri } = started.safeParse(await jsonOf(answer)).data ?? {};
    if (accessUri === undefined) return undefined;
    const uri = new URL(accessUri, address);
    if (uri.origin === new URL(address).origin) return uri.href.replace(/\/*$/, '/');
    throw new StoreError('STORE_REFUSED', `${shownAddress(uri)}: it sends parts to another server`, {
      where: shownAddress(uri),
    });
  }

  async inParts(uri: string, state: UploadState): Promise<void> {
    const { partBytes, etag } = state;
    const lengthBytes = this.lengthBytes;
    await this.#context.phase('send', lengthBytes, state.partCount * partBytes);
    for (let part = state.partCount; part * partBytes < lengthBytes; part++) {
      await this.#put(`${uri}${part + 1}`, part * partBytes, Math.min(lengthBytes, (part + 1) * partBytes));
      await this.#context.saveCheckpoint({ upload: { etag, partBytes, partCount: part + 1 } });
    }
    await discard(await this.#request(uri, { method: 'POST', headers: { 'content-length': '0' } }));
    const partCount = Math.ceil(lengthBytes / partBytes);
    await this.#context.saveCheckpoint({ upload: { etag, partBytes, partCount, isSent: true } });
  }

  async #put(address: string, from: number, to: number): Promise<void> {
    const md5 = createHash('md5');
    const { signal } = this.#context;
    const file = this.#file;
    const onBytes = (doneBytes: number) => this.#context.progress(doneBytes);
    const body = async function* () {
      let at = from;
      for await (const bytes of readRange(file, from, to, signal)) {
        md5.update(bytes);
        yield bytes;
        at += bytes.length;
        onBytes(at);
      }
    };
    const headers = { 'content-length': String(to - from), 'content-type': 'application/octet-stream' };
    const answer = await this.#request(address, { method: 'PUT', headers, body: body() });
    await discard(answer);
    const got = answer.headers.get('opc-content-md5');
    if (got === null || got === md5.digest('base64')) return;
    throw new DomainError('VERIFY_FAILED', 'the server got other bytes than were sent: their MD5 differs', {
      hint: 'export again',
    });
  }

  async #request(address: string, init: Omit<Parameters<GuardedSend>[1], 'signal'>): Promise<HttpAnswer> {
    const answer = await this.#send(address, { ...init, signal: this.#context.signal });
    if (answer.status >= 200 && answer.status < 300) return answer;
    await discard(answer);
    throw refusedWith(answer.status, new URL(address));
  }
}

const started = z.object({ accessUri: z.string() });
/** What an answer to a request for parts holds at most. */
const ANSWER_BYTES_MAX: number = 64 * 1024;

async function jsonOf({ body }: HttpAnswer): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let lengthBytes = 0;
  for await (const chunk of body ?? []) {
    lengthBytes += chunk.length;
    if (lengthBytes <= ANSWER_BYTES_MAX) chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    return undefined;
  }
}

function refusedWith(status: number, url: URL): StoreError {
  const where = shownAddress(url);
  const message = `${where} answered ${status}`;
  if (status >= 500 || status === 429) return new StoreError('STORE_UNREACHABLE', message, { where });
  if (status === 401 || status === 403 || status === 404) {
    return new StoreError('STORE_DENIED', `${message}: it does not take the file`, {
      where,
      hint: 'is the pre-authenticated request for writing, still there, and not expired?',
    });
  }
  return new StoreError('STORE_REFUSED', message, { where });
}
