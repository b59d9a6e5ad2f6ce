import { createHash } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { DomainError } from '../../domain/errors.ts';
import type { Idempotency } from '../../jobs/idempotency.ts';
import type { JsonValue } from '../../json.ts';
import { OciError } from './errors.ts';

/** What an operation answers, and answers again. */
export interface OciAnswer {
  readonly statusCode: number;
  readonly body: JsonValue;
  readonly headers?: {
    readonly etag?: string | undefined;
    readonly 'opc-work-request-id'?: string | undefined;
  };
}

/** Oracle's API reference, CreateImage: opc-retry-token has 1 to 64 characters. */
const TOKEN = /^[\x21-\x7e]{1,64}$/;

/**
 * Runs an operation once for the `opc-retry-token` of a user: sent again within 24 hours it gets the first answer,
 * with its headers. Without a token it just runs. Throws OciError 409 `InvalidatedRetryToken` when the token came with
 * another request, 409 `IncorrectState` (which the SDK tries again) while the first still runs, and what `run` throws.
 */
export async function retryOnce(
  idempotency: Idempotency,
  request: FastifyRequest,
  reply: FastifyReply,
  operation: string,
  run: () => Promise<OciAnswer>,
): Promise<void> {
  const token = request.headers['opc-retry-token'];
  if (token === undefined) return send(reply, await run());
  if (typeof token !== 'string' || !TOKEN.test(token)) {
    throw new OciError(400, 'InvalidParameter', 'opc-retry-token has 1 to 64 characters');
  }
  const { tenancyId, userId } = request.principal;
  // No key of the native API has a line end in it.
  const key = ['oci', userId, operation, token].join('\n');
  const sha256 = createHash('sha256').update(
    JSON.stringify([request.method, request.url, request.body ?? null]),
  );
  const { body } = await idempotency
    .once(tenancyId, key, sha256.digest('hex'), async () => {
      const answer = await run();
      return { statusCode: answer.statusCode, body: toStored(answer) };
    })
    .catch((error) => {
      throw ociRefusal(error);
    });
  return send(reply, body as unknown as OciAnswer);
}

function toStored({ statusCode, body, headers = {} }: OciAnswer): JsonValue {
  const { etag, 'opc-work-request-id': workRequestId } = headers;
  return {
    statusCode,
    body,
    headers: {
      ...(etag === undefined ? {} : { etag }),
      ...(workRequestId === undefined ? {} : { 'opc-work-request-id': workRequestId }),
    },
  };
}

async function send(reply: FastifyReply, { statusCode, body, headers = {} }: OciAnswer): Promise<void> {
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) reply.header(name, value);
  }
  await reply.status(statusCode).send(body ?? undefined);
}

function ociRefusal(error: unknown): unknown {
  if (!(error instanceof DomainError)) return error;
  if (error.code === 'IDEMPOTENCY_MISMATCH') {
    return new OciError(409, 'InvalidatedRetryToken', 'The retry token came with another request before.');
  }
  if (error.code === 'IDEMPOTENCY_IN_PROGRESS') {
    return new OciError(409, 'IncorrectState', 'The first request with this retry token still runs.');
  }
  return error;
}
