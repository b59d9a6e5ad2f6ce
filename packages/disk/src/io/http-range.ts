import { invariant, StoreError } from '../errors.ts';
import type { ByteSource } from './byte-source.ts';
import { Attempt, LostAnswer, pause } from './http-attempt.ts';
import { type HttpAnswer, type HttpFetch, moveCredentials, shownAddress } from './http-fetch.ts';
import { readAheadSource } from './read-ahead.ts';

export interface HttpSourceOptions {
  /** Sent with every request, such as Authorization. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Default: the global fetch. A service that is given addresses by strangers passes its guard here. */
  readonly fetch?: HttpFetch | undefined;
  /** Ends the opening and every later read. */
  readonly signal?: AbortSignal | undefined;
  /** How often one read is tried before it fails. Default 5. */
  readonly attempts?: number | undefined;
  /** Pause after the first failure in milliseconds; each later one is twice as long. Default 250. */
  readonly firstPauseMs?: number | undefined;
  /** Milliseconds without a byte after which an answer counts as lost. Default 60,000. */
  readonly idleTimeoutMs?: number | undefined;
}

/** A version of an HTTP object. */
export interface HttpSource extends ByteSource {
  /** What tells this version from others; the same text for the same version, in another process too. */
  readonly version: string;
}

/** No pause between attempts is longer, whatever the server asks for with Retry-After. */
const LONGEST_PAUSE_MS = 30_000;

/**
 * An HTTP or HTTPS object as a source, read by ranges (RFC 9110, section 14). It is one version of the object:
 * the first request notes the strong ETag, or else Last-Modified; each later one demands it (If-Match,
 * If-Unmodified-Since), and every answer is checked for it.
 *
 * Throws STORE_CHANGED when the object changed; STORE_REFUSED when the server cannot answer ranges of one
 * version, or answers something else; STORE_NOT_FOUND and STORE_DENIED as it says; STORE_UNREACHABLE when
 * the attempts run out.
 */
export async function httpSource(address: string, options: HttpSourceOptions = {}): Promise<HttpSource> {
  const url = requireHttpAddress(address);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) headers[name.toLowerCase()] = value;
  if (options.fetch === undefined) moveCredentials(url, headers);
  const object = new HttpObject(url, headers, options);
  const { source, version } = await object.open();
  return Object.assign(readAheadSource(source), { version });
}

function requireHttpAddress(address: string): URL {
  const url = URL.parse(address);
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url;
  throw new StoreError('STORE_REFUSED', 'this is not an http or https address', {
    where: url === null ? 'address' : shownAddress(url),
  });
}

/** The version of the object that is read. */
interface Version {
  readonly lengthBytes: number;
  readonly validator: 'etag' | 'last-modified';
  readonly value: string;
}

class HttpObject {
  readonly #url: URL;
  readonly #name: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #options: HttpSourceOptions;

  constructor(url: URL, headers: Readonly<Record<string, string>>, options: HttpSourceOptions) {
    this.#url = url;
    this.#name = shownAddress(url);
    this.#headers = headers;
    this.#options = options;
  }

  /**
   * Asks for the first byte. Unlike a HEAD request, that works for an address that is signed for GET only,
   * and it proves that ranges are answered.
   */
  async open(): Promise<{ readonly source: ByteSource; readonly version: string }> {
    const version = await this.#retrying(undefined, (attempt) => this.#probe(attempt));
    const source: ByteSource = {
      name: this.#name,
      lengthBytes: version.lengthBytes,
      read: async (offsetBytes, into, signal) => {
        invariant(offsetBytes + into.length <= version.lengthBytes, `read beyond ${this.#name}`);
        // What arrived before a connection broke is not asked for again.
        let doneBytes = 0;
        const onChunk = (chunk: Uint8Array) => {
          into.set(chunk, doneBytes);
          doneBytes += chunk.length;
        };
        await this.#retrying(signal, async (attempt) => {
          if (doneBytes === into.length) return;
          await this.#readRange(
            attempt,
            version,
            offsetBytes + doneBytes,
            offsetBytes + into.length,
            onChunk,
          );
        });
      },
      async close() {},
    };
    return { source, version: `${version.value} ${version.lengthBytes}` };
  }

  async #probe(attempt: Attempt): Promise<Version> {
    const answer = await this.#send(attempt, { range: 'bytes=0-0' });
    // No range of an empty object can be satisfied; bytes=0-0 of any other can.
    if (answer.status === 416) return this.#version(answer, 0);
    if (answer.status === 200 && answer.headers.get('content-length') === '0')
      return this.#version(answer, 0);
    this.#requirePartial(answer);
    const range = contentRange(answer);
    if (range?.from !== 0 || range.to !== 1) throw this.#wrongRange(answer, 'bytes 0-0');
    // Read to its end, so that the connection is used again.
    await this.#readBody(attempt, answer, 1, () => {});
    return this.#version(answer, range.totalBytes);
  }

  async #readRange(
    attempt: Attempt,
    version: Version,
    from: number,
    to: number,
    onChunk: (chunk: Uint8Array) => void,
  ): Promise<void> {
    const condition = version.validator === 'etag' ? 'if-match' : 'if-unmodified-since';
    const answer = await this.#send(attempt, {
      range: `bytes=${from}-${to - 1}`,
      [condition]: version.value,
    });
    this.#requireVersion(answer, version);
    const range = contentRange(answer);
    if (range?.from !== from || range.to !== to) throw this.#wrongRange(answer, `bytes ${from}-${to - 1}`);
    await this.#readBody(attempt, answer, to - from, onChunk);
  }

  /** Never more than was asked for, whatever the server sends. */
  async #readBody(
    attempt: Attempt,
    answer: HttpAnswer,
    lengthBytes: number,
    onChunk: (chunk: Uint8Array) => void,
  ): Promise<void> {
    let restBytes = lengthBytes;
    for await (const chunk of attempt.chunks(answer.body)) {
      if (chunk.length > restBytes) throw this.#refused('the server sends more bytes than it was asked for');
      onChunk(chunk);
      restBytes -= chunk.length;
    }
    if (restBytes > 0) throw new LostAnswer('the answer ended early');
  }

  async #send(attempt: Attempt, headers: Readonly<Record<string, string>>): Promise<HttpAnswer> {
    const fetch: HttpFetch = this.#options.fetch ?? globalThis.fetch;
    const answer = await fetch(this.#url.href, {
      method: 'GET',
      // With Range, fetch asks for the identity encoding: a range of compressed bytes would be of no use.
      headers: { ...this.#headers, ...headers },
      signal: attempt.signal,
    }).catch((error: unknown) => {
      throw attempt.failure(error);
    });
    attempt.touch();
    this.#requireUsable(answer);
    return answer;
  }

  /** Throws for every status but those that say something about the range. */
  #requireUsable(answer: HttpAnswer): void {
    const { status } = answer;
    const where = this.#name;
    if ([200, 206, 412, 416].includes(status)) return;
    if (status === 401 || status === 403) {
      throw new StoreError('STORE_DENIED', `${where}: the server answered ${status}`, {
        where,
        hint: 'check the credentials; a signed address may have expired',
      });
    }
    if (status === 404 || status === 410) {
      throw new StoreError('STORE_NOT_FOUND', `${where}: the server answered ${status}`, { where });
    }
    if (status >= 500 || status === 408 || status === 429) {
      const seconds = Number(answer.headers.get('retry-after') ?? 0);
      const pauseMs = Number.isFinite(seconds) ? seconds * 1000 : 0;
      throw new LostAnswer(`the server answered ${status}`, { pauseMs });
    }
    throw this.#refused(`the server answered ${status}`);
  }

  /** Throws unless the answer is a range of this version. */
  #requireVersion(answer: HttpAnswer, version: Version): void {
    const { status, headers } = answer;
    if (status === 412 || status === 416) throw this.#changed(`the server answered ${status}`);
    const value = headers.get(version.validator);
    if (value !== version.value) {
      throw this.#changed(`${version.validator} ${version.value} became ${value ?? 'none'}`);
    }
    this.#requirePartial(answer);
    const totalBytes = contentRange(answer)?.totalBytes ?? version.lengthBytes;
    if (totalBytes !== version.lengthBytes) {
      throw this.#changed(`${version.lengthBytes} bytes became ${totalBytes}`);
    }
  }

  #requirePartial(answer: HttpAnswer): void {
    if (answer.status !== 206) {
      throw this.#refused('the server does not answer byte ranges', 'download the file, then use the copy');
    }
    const encoding = answer.headers.get('content-encoding');
    if (encoding !== null && encoding !== 'identity') {
      throw this.#refused(`the server encodes the object as ${JSON.stringify(encoding)}`);
    }
  }

  #version(answer: HttpAnswer, lengthBytes: number): Version {
    const etag = answer.headers.get('etag');
    // A weak ETag (W/"...") says nothing about bytes, and If-Match never matches it: RFC 9110, 8.8.3.2.
    if (etag?.startsWith('"')) return { lengthBytes, validator: 'etag', value: etag };
    const value = answer.headers.get('last-modified');
    if (value !== null) return { lengthBytes, validator: 'last-modified', value };
    if (lengthBytes === 0) return { lengthBytes, validator: 'etag', value: '' };
    throw this.#refused(
      'the server gives neither a strong ETag nor Last-Modified, so a change would not be noticed',
      'download the file, then use the copy',
    );
  }

  #wrongRange(answer: HttpAnswer, asked: string): StoreError {
    const given = JSON.stringify(answer.headers.get('content-range'));
    return this.#refused(`the server was asked for ${asked} and answered the range ${given}`);
  }

  #refused(message: string, hint?: string): StoreError {
    return new StoreError('STORE_REFUSED', `${this.#name}: ${message}`, { where: this.#name, hint });
  }

  #changed(how: string): StoreError {
    return new StoreError('STORE_CHANGED', `${this.#name} was changed while it was read (${how})`, {
      where: this.#name,
      hint: 'stop what writes to the object, then try again',
    });
  }

  async #retrying<Result>(
    signal: AbortSignal | undefined,
    run: (attempt: Attempt) => Promise<Result>,
  ): Promise<Result> {
    const { attempts = 5, firstPauseMs = 250, idleTimeoutMs = 60_000 } = this.#options;
    const signals = [this.#options.signal, signal];
    for (let count = 1; ; count++) {
      const attempt = new Attempt(signals, idleTimeoutMs);
      let lost: LostAnswer;
      try {
        attempt.signal.throwIfAborted();
        return await run(attempt);
      } catch (error) {
        for (const outer of signals) outer?.throwIfAborted();
        if (!(error instanceof LostAnswer)) throw error;
        lost = error;
      } finally {
        attempt.end();
      }
      if (count >= attempts) {
        throw new StoreError('STORE_UNREACHABLE', `${this.#name}: ${lost.message} (${count} attempts)`, {
          where: this.#name,
          hint: 'check the address and the network, then try again',
          cause: lost.cause ?? lost,
        });
      }
      await pause(
        Math.min(LONGEST_PAUSE_MS, Math.max(firstPauseMs * 2 ** (count - 1), lost.pauseMs)),
        signals,
      );
    }
  }
}

/** Content-Range of one range as [from, to) and the object's length; undefined for anything else. */
function contentRange(answer: HttpAnswer): { from: number; to: number; totalBytes: number } | undefined {
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/.exec(answer.headers.get('content-range') ?? '');
  if (match === null) return undefined;
  const [from = 0, last = 0, totalBytes = 0] = match.slice(1).map(Number);
  if (!Number.isSafeInteger(totalBytes) || from > last || last >= totalBytes) return undefined;
  return { from, to: last + 1, totalBytes };
}
