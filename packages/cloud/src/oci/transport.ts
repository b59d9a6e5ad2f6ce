import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import { StoreError } from '@gantry/disk';
import type { DefaultRequestSigner, HttpClient } from 'oci-common';
import { isPassing, OciRefusal } from './refusal.ts';

type HttpRequest = Parameters<HttpClient['send']>[0];

export interface RetryPolicy {
  /** How often one request is sent before it fails. */
  readonly attempts: number;
  /** Pause after the first failure, in milliseconds; each later one is twice as long. */
  readonly firstPauseMs: number;
}

const DEFAULT_POLICY: RetryPolicy = { attempts: 8, firstPauseMs: 500 };
const LONGEST_PAUSE_MS = 30_000;
/** Of a body that says why: more is not read. */
const ERROR_BYTES_MAX = 64 * 1024;

/**
 * What the SDK's clients send their requests with: signed anew for each attempt, sent again while that may help, ended
 * by the signal. The SDK's own retries cannot be ended, and write each failure onto the console; they see successes only.
 */
export class OciTransport implements HttpClient {
  readonly #signer: DefaultRequestSigner;
  readonly #signal: AbortSignal;
  readonly #policy: RetryPolicy;
  readonly #calls = new AsyncLocalStorage<(failure: unknown) => void>();

  constructor(signer: DefaultRequestSigner, signal: AbortSignal, policy: RetryPolicy = DEFAULT_POLICY) {
    this.#signer = signer;
    this.#signal = signal;
    this.#policy = policy;
  }

  /** Runs one operation of a client. Throws OciRefusal, STORE_UNREACHABLE, or the reason of the signal. */
  call<Answer>(operation: () => Promise<Answer>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#calls.run(reject, () => void operation().then(resolve, reject));
    });
  }

  /** Called by the SDK. A failure goes to `call`; the SDK, which would try again, never hears of it. */
  async send(request: HttpRequest, _excludeBody = false, _service = '', operation = ''): Promise<Response> {
    const fail = this.#calls.getStore();
    try {
      return await this.#retrying(request, operation);
    } catch (error) {
      if (fail === undefined) throw error;
      fail(error);
      return new Promise(() => {});
    }
  }

  /** Signs a request without a body and gives its headers. */
  async sign(
    method: 'GET' | 'HEAD',
    address: string,
    headers: Readonly<Record<string, string>>,
  ): Promise<Headers> {
    const signed = new Headers(headers);
    signed.set('x-date', new Date().toUTCString());
    await this.#signer.signHttpRequest({ method, uri: address, headers: signed } as HttpRequest);
    return signed;
  }

  async #retrying(request: HttpRequest, operation: string): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#attempt(request, operation);
      if ('answer' in outcome) return outcome.answer;
      if (!outcome.isPassing || attempt >= this.#policy.attempts) throw outcome.failure;
      const pauseMs = Math.min(this.#policy.firstPauseMs * 2 ** (attempt - 1), LONGEST_PAUSE_MS);
      // Spread, so that many clients do not come back at once.
      await this.#sleep(pauseMs * (0.75 + Math.random() / 2));
    }
  }

  async #attempt(
    request: HttpRequest,
    operation: string,
  ): Promise<{ answer: Response } | { failure: unknown; isPassing: boolean }> {
    const { method, uri, body } = request;
    const headers = new Headers(request.headers);
    headers.set('x-date', new Date().toUTCString());
    await this.#signer.signHttpRequest({ ...request, headers });
    let answer: Response;
    try {
      // A redirect would carry a signature that is not its own.
      const init = { method, headers, signal: this.#signal, redirect: 'error' as const };
      answer = await fetch(uri, body === undefined ? init : { ...init, body });
    } catch (error) {
      this.#signal.throwIfAborted();
      return { failure: unreachable(uri, error), isPassing: true };
    }
    if (answer.ok) return { answer };
    const { code, message } = await this.#refusal(answer);
    const id = answer.headers.get('opc-request-id');
    const failure = new OciRefusal({
      operation,
      statusCode: answer.status,
      serviceCode: code,
      message,
      where: `${method} ${uri}${id === null ? '' : `, opc-request-id ${id}`}`,
    });
    return { failure, isPassing: isPassing(answer.status, code, message) };
  }

  async #refusal(answer: Response): Promise<{ readonly code: string; readonly message: string }> {
    const text = await answer.text().catch(() => '');
    this.#signal.throwIfAborted();
    try {
      const { code, message } = JSON.parse(text.slice(0, ERROR_BYTES_MAX));
      if (typeof code === 'string' && typeof message === 'string') return { code, message };
    } catch {
      // Not OCI's own words: a gateway's, or no body at all, as to HEAD.
    }
    return { code: '', message: answer.statusText || 'no reason is given' };
  }

  async #sleep(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#signal }).catch(() => this.#signal.throwIfAborted());
  }
}

function unreachable(uri: string, error: unknown): StoreError {
  // fetch says only that it failed; why stands in the cause, of which there can be several (IPv6 and IPv4).
  const cause = (error as Error).cause;
  const first = cause instanceof AggregateError ? cause.errors[0] : cause;
  const { host } = new URL(uri);
  return new StoreError('STORE_UNREACHABLE', `${host} does not answer`, {
    where: host,
    hint: 'check the network, and the region or the endpoint; then try again',
    cause: first ?? error,
  });
}
