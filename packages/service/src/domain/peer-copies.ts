import { type HttpAnswer, StoreError, shownAddress } from '@gantry/disk';
import type { GuardedSend } from '@gantry/storage';
import { z } from 'zod';
import { BODY_LATER, bodyHash, realmSignature } from '../auth/realm.ts';
import type { UserRole } from '../db/schema.ts';
import type { HashedBytes } from './copy-to-region.ts';
import { DomainError, domainErrorCodes } from './errors.ts';
import { type HashedPart, hashedPart, type IncomingCopy } from './incoming-copies.ts';

export type RealmSend = GuardedSend;

export interface PeerCopiesOptions {
  readonly send: RealmSend;
  readonly address: string;
  readonly realmKey: Uint8Array;
  /** The region that is asked. */
  readonly region: string;
  readonly namespace: string;
  /** Of the user here: there it is no more than that, whatever the user of the name is there. */
  readonly role: UserRole;
  readonly userName: string;
  readonly bucket: string;
  readonly signal: AbortSignal;
}

/** Answers are short: a list of 10,000 parts at most. */
const ANSWER_BYTES_MAX: number = 4 * 1024 * 1024;

const refusal = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }),
});

/**
 * The copies that another region's service takes in, asked on behalf of a user (api/realm/server.ts answers). Throws
 * what that service refuses, and StoreError when it does not answer.
 */
export class PeerCopies {
  readonly #options: PeerCopiesOptions;
  readonly #path: string;

  constructor(options: PeerCopiesOptions) {
    this.#options = options;
    const names = [options.namespace, options.userName, options.bucket].map(encodeURIComponent);
    this.#path = `/realm/v1/namespaces/${names[0]}/${options.role}s/${names[1]}/buckets/${names[2]}/copies`;
  }

  /** Undefined when the object is there already. */
  async begin(copy: IncomingCopy): Promise<string | undefined> {
    const answer = await this.#json('POST', '', copy);
    return z.object({ uploadId: z.string().nullable() }).parse(answer).uploadId ?? undefined;
  }

  async parts(uploadId: string): Promise<HashedPart[]> {
    return z.object({ parts: z.array(hashedPart) }).parse(await this.#json('POST', `/${uploadId}/parts`, {}))
      .parts;
  }

  /** Gives our own hash of what was sent. */
  async putPart(
    uploadId: string,
    { partNumber, lengthBytes }: { readonly partNumber: number; readonly lengthBytes: number },
    bytes: HashedBytes,
  ): Promise<HashedPart> {
    const headers = { 'content-type': 'application/octet-stream', 'content-length': `${lengthBytes}` };
    const path = `/${uploadId}/parts/${partNumber}`;
    const stored = hashedPart.parse(await this.#send('PUT', path, BODY_LATER, headers, bytes.chunks));
    const sha256 = bytes.sha256();
    if (stored.sha256 === sha256) return { partNumber, lengthBytes, sha256 };
    const message = `part ${partNumber} did not arrive as it was sent`;
    throw new StoreError('STORE_UNREACHABLE', message, { where: this.#options.region });
  }

  async complete(
    uploadId: string,
    body: { readonly parts: readonly HashedPart[]; readonly condition: IncomingCopy['condition'] },
  ): Promise<void> {
    await this.#json('POST', `/${uploadId}/complete`, body);
  }

  /** Also after this job's own signal was aborted. */
  async abort(uploadId: string): Promise<void> {
    await this.#send('DELETE', `/${uploadId}`, bodyHash(''), {}, undefined, AbortSignal.timeout(10_000));
  }

  #json(method: 'POST', path: string, body: object): Promise<unknown> {
    const text = JSON.stringify(body);
    const bytes = Buffer.from(text);
    const headers = { 'content-type': 'application/json', 'content-length': `${bytes.length}` };
    return this.#send(method, path, bodyHash(bytes), headers, chunkOf(bytes));
  }

  async #send(
    method: 'POST' | 'PUT' | 'DELETE',
    path: string,
    bodySha256: string,
    headers: Readonly<Record<string, string>>,
    body: AsyncIterable<Uint8Array> | undefined,
    signal: AbortSignal = this.#options.signal,
  ): Promise<unknown> {
    const { send, address, realmKey, region } = this.#options;
    const target = `${this.#path}${path}`;
    const date = new Date().toUTCString();
    const signed = { region, method, target, date, bodySha256 };
    const answer = await send(`${address}${target}`, {
      method,
      headers: {
        ...headers,
        'gantry-date': date,
        'gantry-body-sha256': bodySha256,
        authorization: `Gantry-Realm ${realmSignature(realmKey, signed)}`,
      },
      body,
      signal,
    });
    return this.#read(answer, address);
  }

  async #read(answer: HttpAnswer, address: string): Promise<unknown> {
    const where = shownAddress(new URL(address));
    const text = await textOf(answer, where);
    if (answer.status >= 200 && answer.status < 300) return text === '' ? undefined : JSON.parse(text);
    const told = refusal.safeParse(parsed(text));
    const what = `the service of region ${this.#options.region}`;
    if (answer.status >= 500 || !told.success) {
      const message = `${what} answered ${answer.status}`;
      throw new StoreError(answer.status >= 500 ? 'STORE_UNREACHABLE' : 'STORE_REFUSED', message, { where });
    }
    const { code, message, hint } = told.data.error;
    const known = domainErrorCodes.find((each) => each === code);
    // Our own key is refused: nothing that the user of the job can mend.
    if (known === undefined || known === 'UNAUTHENTICATED') {
      throw new StoreError('STORE_REFUSED', `${what} refused: ${message}`, { where, hint });
    }
    throw new DomainError(known, `${what}: ${message}`, { hint });
  }
}

async function* chunkOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

async function textOf(answer: HttpAnswer, where: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let lengthBytes = 0;
  for await (const chunk of answer.body ?? []) {
    lengthBytes += chunk.length;
    if (lengthBytes > ANSWER_BYTES_MAX) {
      throw new StoreError('STORE_REFUSED', `${where}: the answer is too long`, { where });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
