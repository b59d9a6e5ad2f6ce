import { StoreError } from '../errors.ts';

/** The connection or the server failed in a way that may pass: worth another attempt. */
export class LostAnswer extends Error {
  /** Milliseconds that the server asks to wait; 0 when it does not say. */
  readonly pauseMs: number;

  constructor(message: string, options: { cause?: unknown; pauseMs?: number } = {}) {
    super(message, { cause: options.cause });
    this.pauseMs = options.pauseMs ?? 0;
  }
}

/** What came out of fetch or of a body as what it means: anything but a refusal counts as lost. */
function lostAnswer(error: unknown): unknown {
  if (error instanceof StoreError && error.code !== 'STORE_UNREACHABLE') return error;
  if (error instanceof LostAnswer || !(error instanceof Error)) return error;
  // The global fetch says `fetch failed` and keeps the reason as the cause.
  const reason = error.cause instanceof Error ? error.cause : error;
  return new LostAnswer(reason.message || reason.name, { cause: error });
}

/** One request from its start to its end: its signal is aborted by its callers' signals and by silence. */
export class Attempt {
  readonly signal: AbortSignal;
  readonly #controller: AbortController = new AbortController();
  readonly #outer: readonly AbortSignal[];
  readonly #idleTimeoutMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(outer: readonly (AbortSignal | undefined)[], idleTimeoutMs: number) {
    this.signal = this.#controller.signal;
    this.#outer = outer.filter((signal) => signal !== undefined);
    this.#idleTimeoutMs = idleTimeoutMs;
    for (const signal of this.#outer) {
      if (signal.aborted) this.#controller.abort(signal.reason);
      signal.addEventListener('abort', this.#onOuterAbort);
    }
    this.touch();
  }

  /** Something arrived: the wait for the next byte starts again. */
  touch(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#controller.abort(new LostAnswer(`nothing arrived for ${this.#idleTimeoutMs} ms`));
    }, this.#idleTimeoutMs);
  }

  /** The chunks of a body, with every failure to have them as what it means. */
  async *chunks(body: AsyncIterable<Uint8Array> | null): AsyncGenerator<Uint8Array, void, undefined> {
    if (body === null) return;
    try {
      for await (const chunk of body) {
        this.touch();
        yield chunk;
      }
    } catch (error) {
      throw this.failure(error);
    }
  }

  /** What a failure to get the answer means: lost, a refusal, or why the signal was aborted. */
  failure(error: unknown): unknown {
    return lostAnswer(this.signal.aborted ? this.signal.reason : error);
  }

  /** Lets go of the answer, read or not. */
  end(): void {
    clearTimeout(this.#timer);
    for (const signal of this.#outer) signal.removeEventListener('abort', this.#onOuterAbort);
    this.#controller.abort();
  }

  readonly #onOuterAbort = (event: Event): void => {
    this.#controller.abort((event.target as AbortSignal).reason);
  };
}

/** Waits, or throws the reason of the first signal that is aborted. */
export function pause(pauseMs: number, signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = () => {
      clearTimeout(timer);
      for (const signal of signals) signal?.removeEventListener('abort', finish);
      const aborted = signals.find((signal) => signal?.aborted);
      if (aborted === undefined) resolve();
      else reject(aborted.reason);
    };
    const timer = setTimeout(finish, pauseMs);
    for (const signal of signals) {
      if (signal?.aborted) return finish();
      signal?.addEventListener('abort', finish);
    }
  });
}
