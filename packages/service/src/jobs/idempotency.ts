import {
  answerIdempotencyKey,
  deleteIdempotencyKeysBefore,
  findIdempotencyKey,
  insertIdempotencyKey,
  releaseIdempotencyKey,
} from '../db/repositories/idempotency-keys.ts';
import type { IdempotencyKeyRow } from '../db/schema.ts';
import type { Queries } from '../db/transactions.ts';
import { DomainError } from '../domain/errors.ts';
import type { JsonValue } from '../json.ts';

/** OCI keeps retry tokens for 24 hours (Object Storage and Compute API, opc-retry-token). */
const KEPT_MS = 24 * 60 * 60 * 1000;
/** A request that has not answered for so long died with its process. */
const LONGEST_REQUEST_MS = 15 * 60 * 1000;

export interface Answer {
  readonly statusCode: number;
  readonly body: JsonValue;
}

/** Answers a request that is sent again with its key as the first time, without doing it again. */
export class Idempotency {
  readonly #queries: Queries;
  readonly #now: () => number;

  constructor(queries: Queries, options: { now?: () => number } = {}) {
    this.#queries = queries;
    this.#now = options.now ?? Date.now;
  }

  /**
   * Runs the request, or returns what it answered before. `requestSha256` is the hash of method, path and body.
   * An answer of 500 or above, or an error, frees the key. Throws IDEMPOTENCY_MISMATCH when the key came with
   * another request, IDEMPOTENCY_IN_PROGRESS while the first still runs, and what `run` throws.
   */
  async once(
    tenancyId: string,
    key: string,
    requestSha256: string,
    run: () => Promise<Answer>,
  ): Promise<Answer & { readonly isReplay: boolean }> {
    const hold: IdempotencyKeyRow = {
      tenancy_id: tenancyId,
      idempotency_key: key,
      request_sha256: requestSha256,
      status_code: null,
      response_json: null,
      created_at_ms: this.#now(),
    };
    while (!(await insertIdempotencyKey(this.#queries, hold))) {
      const first = await findIdempotencyKey(this.#queries, tenancyId, key);
      if (first === undefined || (await this.#forget(first))) continue;
      return { ...answerOf(first, requestSha256), isReplay: true };
    }
    return { ...(await this.#runFirst(hold, run)), isReplay: false };
  }

  async #runFirst(hold: IdempotencyKeyRow, run: () => Promise<Answer>): Promise<Answer> {
    let answer: Answer;
    try {
      answer = await run();
    } catch (error) {
      // A key that cannot be freed now is free when a request may take no longer.
      await releaseIdempotencyKey(this.#queries, hold).catch(() => {});
      throw error;
    }
    if (answer.statusCode >= 500) await releaseIdempotencyKey(this.#queries, hold);
    else {
      await answerIdempotencyKey(this.#queries, hold, {
        status_code: answer.statusCode,
        response_json: JSON.stringify(answer.body),
      });
    }
    return answer;
  }

  /** Frees a key whose time is over; false when it is not. */
  async #forget(row: IdempotencyKeyRow): Promise<boolean> {
    const keptMs = row.status_code === null ? LONGEST_REQUEST_MS : KEPT_MS;
    if (row.created_at_ms + keptMs > this.#now()) return false;
    await releaseIdempotencyKey(this.#queries, row);
    return true;
  }

  /** Frees all keys whose time is over: for now and then. */
  async forgetOld(): Promise<void> {
    await deleteIdempotencyKeysBefore(this.#queries, this.#now() - KEPT_MS, 'answered');
    await deleteIdempotencyKeysBefore(this.#queries, this.#now() - LONGEST_REQUEST_MS, 'unanswered');
  }

  /** Frees the keys of all requests that have no answer: at the start of the only process there is. */
  async forgetUnanswered(): Promise<void> {
    await deleteIdempotencyKeysBefore(this.#queries, Number.MAX_SAFE_INTEGER, 'unanswered');
  }
}

function answerOf(first: IdempotencyKeyRow, requestSha256: string): Answer {
  if (first.request_sha256 !== requestSha256) {
    throw new DomainError('IDEMPOTENCY_MISMATCH', 'this idempotency key came with another request before', {
      hint: 'use a new key for a new request',
    });
  }
  if (first.status_code === null || first.response_json === null) {
    throw new DomainError(
      'IDEMPOTENCY_IN_PROGRESS',
      'the first request with this idempotency key still runs',
      {
        hint: 'send it again in a while',
      },
    );
  }
  return { statusCode: first.status_code, body: JSON.parse(first.response_json) };
}
