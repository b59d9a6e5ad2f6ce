import { isForeignKeyViolation, isUniqueViolation } from '../db/constraint-errors.ts';

/** What the service refuses or could not do. Closed set; each code has a page under docs/errors. */
export const domainErrorCodes = [
  /** It does not exist, or belongs to another tenancy: the two look the same. */
  'NOT_FOUND',
  /** It exists already, or its present state does not allow this. */
  'CONFLICT',
  /** The request itself is wrong: a name, a number, a combination. */
  'INVALID',
  'UNAUTHENTICATED',
  'FORBIDDEN',
  /** If-Match, If-None-Match and their like did not hold. */
  'PRECONDITION_FAILED',
  'RANGE_NOT_SATISFIABLE',
  'TOO_LARGE',
  /** It would take more of the host than instances may have together. */
  'QUOTA',
  /** An idempotency key came again with another request. */
  'IDEMPOTENCY_MISMATCH',
  /** An idempotency key came again while its first request still runs. */
  'IDEMPOTENCY_IN_PROGRESS',
  'BUCKET_NOT_EMPTY',
  'UPLOAD_INCOMPLETE',
  /** The form that was asked for has no length before it is written: it can be exported, not viewed. */
  'NOT_A_VIEW',
  /** What was written, read back, is not what was meant to be written. */
  'VERIFY_FAILED',
  'CANCELED',
  /** Worker after worker died while it ran a job. */
  'WORKER_LOST',
  /** A fault of ours. What exactly stands in the service's log, never in an answer. */
  'INTERNAL',
] as const;
export type DomainErrorCode = (typeof domainErrorCodes)[number];

/** What a refusal is about, for dialects that say so in their codes. */
export type RefusalSubject =
  | 'bucket'
  | 'object'
  | 'upload'
  | 'part'
  | 'pre-authenticated request'
  | 'if-match'
  | 'if-none-match'
  | 'md5'
  | 'checksum';

/** The service's own refusal: safe to show to the user as it is. */
export class DomainError extends Error {
  readonly code: DomainErrorCode;
  /** What the user can do. */
  readonly hint: string | undefined;
  readonly subject: RefusalSubject | undefined;

  constructor(
    code: DomainErrorCode,
    message: string,
    options: {
      hint?: string | undefined;
      cause?: unknown;
      subject?: RefusalSubject | undefined;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'DomainError';
    this.code = code;
    this.hint = options.hint;
    this.subject = options.subject;
  }
}

/**
 * The refusal behind an error of the database: what a row refers to was deleted, or what it is to have was taken, after
 * it was looked at. Undefined for any other error.
 */
export function refusedByDatabase(error: unknown): DomainError | undefined {
  if (!isForeignKeyViolation(error) && !isUniqueViolation(error)) return undefined;
  return new DomainError('CONFLICT', 'something that this needs was changed or deleted meanwhile', {
    hint: 'look at what is there now, then decide again',
    cause: error,
  });
}
