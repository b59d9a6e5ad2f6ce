import { ImageError, type ImageErrorCode, StoreError, type StoreErrorCode } from '@gantry/disk';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { DomainError, type DomainErrorCode, refusedByDatabase } from '../../domain/errors.ts';

/** The one shape of a refusal in the native API. */
export const errorBody = z.object({
  error: z.object({
    code: z.string(),
    message: z.string(),
    hint: z.string().optional(),
    requestId: z.string(),
  }),
});
export type ErrorBody = z.infer<typeof errorBody>;

const statusOfDomain: Record<DomainErrorCode, number> = {
  NOT_FOUND: 404,
  CONFLICT: 409,
  INVALID: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  PRECONDITION_FAILED: 412,
  RANGE_NOT_SATISFIABLE: 416,
  TOO_LARGE: 413,
  QUOTA: 409,
  IDEMPOTENCY_MISMATCH: 422,
  IDEMPOTENCY_IN_PROGRESS: 409,
  BUCKET_NOT_EMPTY: 409,
  UPLOAD_INCOMPLETE: 409,
  NOT_A_VIEW: 409,
  VERIFY_FAILED: 500,
  CANCELED: 409,
  WORKER_LOST: 500,
  INTERNAL: 500,
};

const statusOfStore: Record<StoreErrorCode, number> = {
  STORE_NOT_FOUND: 404,
  STORE_EXISTS: 409,
  STORE_DENIED: 403,
  STORE_FULL: 507,
  STORE_IO: 500,
  STORE_UNREACHABLE: 502,
  STORE_REFUSED: 403,
  STORE_CHANGED: 409,
  STORE_CORRUPT: 500,
};

/** An image that is refused is the request's fault; an option of ours that does not exist is too. */
const statusOfImage: Record<ImageErrorCode, number> = {
  IMAGE_MALFORMED: 422,
  IMAGE_TRUNCATED: 422,
  IMAGE_UNSUPPORTED: 422,
  IMAGE_LIMIT: 422,
  IMAGE_REFERENCE: 422,
  IMAGE_AMBIGUOUS: 422,
  IMAGE_OPTION: 400,
  IMAGE_NOT_SEQUENTIAL: 422,
};

interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly hint?: string | undefined;
}

/** What of an error is for the user to see. A fault of ours shows no more than that it is one. */
export function refusalOf(thrown: unknown): Refusal {
  const error = refusedByDatabase(thrown) ?? thrown;
  if (error instanceof DomainError) return { ...known(error), status: statusOfDomain[error.code] };
  if (error instanceof StoreError) return { ...known(error), status: statusOfStore[error.code] };
  if (error instanceof ImageError) return { ...known(error), status: statusOfImage[error.code] };
  const { validation, statusCode, message } = error as Partial<FastifyError>;
  if (validation !== undefined && message !== undefined) return { status: 400, code: 'INVALID', message };
  if (statusCode === 413) return { status: 413, code: 'TOO_LARGE', message: 'the request body is too large' };
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return { status: statusCode, code: 'INVALID', message: message ?? 'the request is not understood' };
  }
  return {
    status: 500,
    code: 'INTERNAL',
    message: 'the service failed',
    hint: "the service's log has the details under this request's id",
  };
}

function known(error: DomainError | StoreError | ImageError): Omit<Refusal, 'status'> {
  return { code: error.code, message: error.message, hint: error.hint };
}

/** Turns whatever a route threw into a status and the one error shape. */
export async function answerError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const { status, code, message, hint } = refusalOf(error);
  if (status >= 500) request.log.error({ err: error }, 'request failed');
  if (reply.raw.headersSent) {
    // Part of the body is out: only a broken connection can say that it is not whole.
    reply.raw.destroy();
    return;
  }
  const body: ErrorBody = {
    error: { code, message, requestId: request.id, ...(hint === undefined ? {} : { hint }) },
  };
  if (status === 401) reply.header('www-authenticate', 'Bearer realm="gantry"');
  await reply.status(status).header('content-type', 'application/json; charset=utf-8').send(body);
}
