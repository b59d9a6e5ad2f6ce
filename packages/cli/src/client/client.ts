import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Context } from '../context.ts';
import { CommandError } from '../errors/command-error.ts';
import { isStoreError } from '../errors/describe.ts';
import { findProfile, type Profile } from '../profile/profile.ts';
import type { Page } from './api.ts';

export interface RequestOptions {
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is; made anew for each attempt. */
  readonly body?: { readonly lengthBytes: number; bytes(): AsyncIterable<Uint8Array> };
  /** False when the request must not be sent a second time. */
  readonly repeatable?: boolean;
}

type Method = 'HEAD' | 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';

/** A service that answered before is waited for: about half a minute, as long as a restart takes. */
const ATTEMPTS = 8;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 8000;
/** The gateway, the service being full or about to stop, or the same request still at work. */
const PASSING_STATUSES = new Set([429, 502, 503, 504]);

/** Talks to a service's native API as the profile says. */
export class ServiceClient {
  readonly profile: Profile;
  readonly #signal: AbortSignal;
  #hasAnswered = false;

  constructor(profile: Profile, signal: AbortSignal) {
    this.profile = profile;
    this.#signal = signal;
  }

  /** The address of a path of the API. */
  address(path: string, query: RequestOptions['query'] = {}): string {
    const url = new URL(`${this.profile.endpoint}/api/v1${path}`);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.append(name, String(value));
    }
    return url.href;
  }

  get authorization(): string {
    return `Bearer ${this.profile.token}`;
  }

  /** Sends a request; gives the JSON of its answer, undefined for an answer without one. */
  json<Answer>(method: Method, path: string, options: RequestOptions = {}): Promise<Answer> {
    return this.send(method, path, options, async (response) => {
      const text = await response.text();
      if (text === '') return undefined as Answer;
      const answer = parsedJson(text);
      if (answer !== undefined) return answer as Answer;
      throw this.#notOurs(`${method} ${path} was not answered with JSON`);
    });
  }

  /** Sends a POST that starts something; sent again after a lost answer, it starts nothing new. */
  startOnce<Answer>(path: string, json: unknown = undefined): Promise<Answer> {
    return this.json('POST', path, { json, headers: { 'idempotency-key': randomUUID() }, repeatable: true });
  }

  /** All items of a listing, page by page. */
  async *items<Item>(
    path: string,
    query: RequestOptions['query'] = {},
  ): AsyncGenerator<Item, void, undefined> {
    let startAfter: string | undefined;
    do {
      const page = await this.json<Page<Item>>('GET', path, { query: { ...query, startAfter } });
      yield* page.items;
      startAfter = page.nextStartAfter ?? undefined;
    } while (startAfter !== undefined);
  }

  /**
   * Sends a request and gives what `read` makes of the answer. Throws what the service refused with its own code,
   * SERVICE_UNREACHABLE when no answer came, or not all of it.
   */
  async send<Result>(
    method: Method,
    path: string,
    options: RequestOptions,
    read: (response: Response) => Promise<Result>,
  ): Promise<Result> {
    const isRepeatable = options.repeatable ?? (method === 'HEAD' || method === 'GET' || method === 'PUT');
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#attempt(method, path, options, read);
      if ('result' in outcome) return outcome.result;
      // Nobody waits for a service that was never there.
      const isWorthwhile = outcome.passes && isRepeatable && this.#hasAnswered;
      if (!isWorthwhile || attempt === ATTEMPTS) throw outcome.error;
      await this.sleep(Math.min(FIRST_PAUSE_MS * 2 ** (attempt - 1), LONGEST_PAUSE_MS));
    }
  }

  /** Waits; an interrupt ends it with the interrupt's own error. */
  async sleep(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#signal }).catch(() => this.#signal.throwIfAborted());
  }

  async #attempt<Result>(
    method: Method,
    path: string,
    options: RequestOptions,
    read: (response: Response) => Promise<Result>,
  ): Promise<{ result: Result } | { error: CommandError; passes: boolean }> {
    try {
      const response = await fetch(this.address(path, options.query), this.#init(method, options));
      this.#hasAnswered = true;
      if (response.ok) return { result: await read(response) };
      const error = await this.refusal(`${method} ${path}`, response);
      const passes = PASSING_STATUSES.has(response.status) || error.code === 'IDEMPOTENCY_IN_PROGRESS';
      return { error, passes };
    } catch (error) {
      this.#signal.throwIfAborted();
      const own = ownError(error);
      if (own !== undefined) throw own;
      return { error: this.unreachable(error), passes: true };
    }
  }

  #init(method: Method, { headers, json, body }: RequestOptions): RequestInit {
    const common = { authorization: this.authorization, accept: 'application/json', ...headers };
    const init: RequestInit = { method, headers: common, signal: this.#signal, redirect: 'error' };
    if (json !== undefined) {
      return {
        ...init,
        headers: { ...common, 'content-type': 'application/json' },
        body: JSON.stringify(json),
      };
    }
    if (body === undefined) return init;
    const length = { 'content-length': String(body.lengthBytes) };
    const type = { 'content-type': 'application/octet-stream' };
    return { ...init, headers: { ...type, ...common, ...length }, body: body.bytes(), duplex: 'half' };
  }

  unreachable(error: unknown): CommandError {
    // fetch says only that it failed; why stands in the cause, of which there can be several (IPv6 and IPv4).
    const cause = (error as Error).cause;
    const first = cause instanceof AggregateError ? cause.errors[0] : cause;
    return new CommandError(
      'SERVICE_UNREACHABLE',
      `the service at ${this.profile.endpoint} does not answer`,
      {
        where: this.profile.file,
        hint: 'see that it runs (npm start, or gantry serve) and that the profile is the right one',
        cause: first ?? error,
      },
    );
  }

  /** What a refusal says, with its own code. */
  async refusal(asked: string, response: Response): Promise<CommandError> {
    const text = await response.text().catch(() => '');
    const { error } = (parsedJson(text) ?? {}) as {
      error?: { code?: unknown; message?: unknown; hint?: unknown };
    };
    if (typeof error?.code === 'string' && typeof error.message === 'string') {
      const hint = typeof error.hint === 'string' ? error.hint : undefined;
      return new CommandError(error.code, error.message, { hint });
    }
    return this.#notOurs(`${asked} was answered with ${response.status} ${response.statusText}`);
  }

  #notOurs(message: string): CommandError {
    return new CommandError('SERVICE_ANSWER', message, {
      where: this.profile.endpoint,
      hint: 'see that the endpoint of the profile is a Gantry service, and of this version',
    });
  }
}

/** The object that the text is the JSON of; undefined when it is not. */
function parsedJson(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What went wrong on our side of a request (fetch wraps what a body throws), not on the way. */
function ownError(error: unknown): Error | undefined {
  const candidates = [error, (error as { cause?: unknown }).cause];
  return candidates.find(
    (candidate): candidate is Error => candidate instanceof CommandError || isStoreError(candidate),
  );
}

/** The client for the profile that the command line, the environment or a running service names. */
export async function connect({ profile, environment, signal }: Context): Promise<ServiceClient> {
  return new ServiceClient(await findProfile({ profile, environment }), signal);
}
