/**
 * Codes of errors that only the command itself makes. Closed set; each has a page under docs/errors. The
 * engine's codes and the service's are shown as they come.
 */
export const commandErrorCodes = [
  /** The command line is wrong. */
  'USAGE',
  /** No service is known, or the client profile cannot be read. */
  'PROFILE',
  'SERVICE_UNREACHABLE',
  /** Something answered that does not speak Gantry's API. */
  'SERVICE_ANSWER',
  /** `--timeout` ran out; the job goes on. */
  'WAIT_TIMEOUT',
  'INTERRUPTED',
  'NOT_FOUND',
  'CONFLICT',
  'VERIFY_FAILED',
  'INTERNAL',
] as const;
export type CommandErrorCode = (typeof commandErrorCodes)[number];

/** What the command's exit status says; docs/reference/command.md explains each. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  findings: 3,
  notAuthenticated: 4,
  notFound: 5,
  conflict: 6,
  quota: 7,
  waitedTooLong: 8,
  refused: 9,
  interrupted: 130,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

const exitCodes: Readonly<Record<string, ExitCode>> = {
  USAGE: EXIT.usage,
  PROFILE: EXIT.usage,
  INVALID: EXIT.usage,
  IMAGE_OPTION: EXIT.usage,
  UNAUTHENTICATED: EXIT.notAuthenticated,
  FORBIDDEN: EXIT.notAuthenticated,
  STORE_DENIED: EXIT.notAuthenticated,
  NOT_FOUND: EXIT.notFound,
  STORE_NOT_FOUND: EXIT.notFound,
  CONFLICT: EXIT.conflict,
  STORE_EXISTS: EXIT.conflict,
  PRECONDITION_FAILED: EXIT.conflict,
  IDEMPOTENCY_MISMATCH: EXIT.conflict,
  BUCKET_NOT_EMPTY: EXIT.conflict,
  UPLOAD_INCOMPLETE: EXIT.conflict,
  NOT_A_VIEW: EXIT.conflict,
  QUOTA: EXIT.quota,
  STORE_FULL: EXIT.quota,
  WAIT_TIMEOUT: EXIT.waitedTooLong,
  IMAGE_REFERENCE: EXIT.refused,
  IMAGE_AMBIGUOUS: EXIT.refused,
  STORE_REFUSED: EXIT.refused,
  INTERRUPTED: EXIT.interrupted,
};

/** The exit status for an error code, 1 for every code that has none of its own. */
export function exitCodeOf(code: string): ExitCode {
  return Object.hasOwn(exitCodes, code) ? (exitCodes[code] ?? EXIT.failed) : EXIT.failed;
}
