import type { FastifyReply, FastifyRequest } from 'fastify';
import type { DomainErrorCode } from '../../domain/errors.ts';
import { refusalOf } from '../native/errors.ts';

/**
 * A refusal with the status and the code that clients of OCI decide by. The SDK tries again on 500, 502, 503, 504,
 * on 409 with `IncorrectState` and on 429 with `TooManyRequests`, and on nothing else.
 */
export class OciError extends Error {
  readonly statusCode: number;
  readonly code: string;

  constructor(statusCode: number, code: string, message: string) {
    super(message);
    this.name = 'OciError';
    this.statusCode = statusCode;
    this.code = code;
  }
}

/** What the service's own refusals are called in OCI. */
const ociErrors: Record<DomainErrorCode, readonly [statusCode: number, code: string]> = {
  NOT_FOUND: [404, 'NotAuthorizedOrNotFound'],
  CONFLICT: [409, 'Conflict'],
  INVALID: [400, 'InvalidParameter'],
  UNAUTHENTICATED: [401, 'NotAuthenticated'],
  FORBIDDEN: [404, 'NotAuthorizedOrNotFound'],
  PRECONDITION_FAILED: [412, 'NoEtagMatch'],
  RANGE_NOT_SATISFIABLE: [416, 'InvalidRange'],
  TOO_LARGE: [413, 'RequestEntityTooLarge'],
  QUOTA: [400, 'LimitExceeded'],
  IDEMPOTENCY_MISMATCH: [409, 'InvalidatedRetryToken'],
  IDEMPOTENCY_IN_PROGRESS: [409, 'IncorrectState'],
  BUCKET_NOT_EMPTY: [409, 'BucketNotEmpty'],
  UPLOAD_INCOMPLETE: [400, 'InvalidUploadPart'],
  NOT_A_VIEW: [400, 'InvalidParameter'],
  VERIFY_FAILED: [500, 'InternalServerError'],
  CANCELED: [409, 'Conflict'],
  WORKER_LOST: [500, 'InternalServerError'],
  INTERNAL: [500, 'InternalServerError'],
};

/** Turns whatever a route threw into a status and OCI's shape of an error, `{code, message}`. */
export async function answerOciError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const { statusCode, code, message } = ociErrorOf(error);
  if (statusCode >= 500) request.log.error({ err: error }, 'request failed');
  if (reply.raw.headersSent) {
    // Part of the body is out: only a broken connection can say that it is not whole.
    reply.raw.destroy();
    return;
  }
  await reply.status(statusCode).header('content-type', 'application/json').send({ code, message });
}

function ociErrorOf(error: unknown): { statusCode: number; code: string; message: string } {
  if (error instanceof OciError) return error;
  const { status, code, message, hint } = refusalOf(error);
  const known = ociErrors[code as DomainErrorCode];
  const [statusCode, ociCode] = known ?? [status, status >= 500 ? 'InternalServerError' : 'InvalidParameter'];
  return { statusCode, code: ociCode, message: hint === undefined ? message : `${message} (${hint})` };
}
