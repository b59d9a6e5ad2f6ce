/** https://www.postgresql.org/docs/15/errcodes-appendix.html: connection, resources, deadlock, shutdown. */
const PASSING_SQLSTATE = /^(08...|53...|40001|40P01|57P0[123])$/;
const PASSING_SOCKET_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
]);
/** https://www.sqlite.org/rescode.html: BUSY, LOCKED, IOERR, FULL; an extended code has them in its last byte. */
const PASSING_SQLITE_CODES = new Set([5, 6, 10, 13]);

/** Whether the database was out of reach or out of room, so that the same again may work later. */
export function isTransientDatabaseError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, errcode } = error as { code?: unknown; errcode?: unknown };
  if (code === 'ERR_SQLITE_ERROR')
    return typeof errcode === 'number' && PASSING_SQLITE_CODES.has(errcode % 256);
  if (typeof code === 'string') return PASSING_SQLSTATE.test(code) || PASSING_SOCKET_CODES.has(code);
  // What `pg` says without a code when the server goes away under a query.
  return /^Connection terminated/.test(error.message);
}
