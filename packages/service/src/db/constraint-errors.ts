/** A row that is written refers to none, or one that is deleted is still referred to. */
export function isForeignKeyViolation(error: unknown): boolean {
  const failure = error as { errcode?: unknown; code?: unknown } | null | undefined;
  // SQLITE_CONSTRAINT_FOREIGNKEY, and PostgreSQL's foreign_key_violation.
  return failure?.errcode === 787 || failure?.code === '23503';
}

/** Another row has what only one may have. */
export function isUniqueViolation(error: unknown): boolean {
  const failure = error as { errcode?: unknown; code?: unknown } | null | undefined;
  // SQLITE_CONSTRAINT_UNIQUE and _PRIMARYKEY, and PostgreSQL's unique_violation.
  return failure?.errcode === 2067 || failure?.errcode === 1555 || failure?.code === '23505';
}
