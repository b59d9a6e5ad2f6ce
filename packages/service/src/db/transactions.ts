import { type Kysely, PostgresAdapter, type SelectQueryBuilder } from 'kysely';
import type { Schema } from './schema.ts';

/** What repositories take: the database's `kysely`, or a transaction of it. */
export type Queries = Kysely<Schema>;

/** Runs all of `run` or nothing of it; inside a transaction, as part of that one. */
export function inTransaction<Result>(
  queries: Queries,
  run: (transaction: Queries) => Promise<Result>,
): Promise<Result> {
  return queries.isTransaction ? run(queries) : queries.transaction().execute(run);
}

/** Whether rows are locked one by one. SQLite has one writer at a time, and no such clauses. */
export function locksRows(queries: Queries): boolean {
  return queries.getExecutor().adapter instanceof PostgresAdapter;
}

/** Keeps the rows that are found from changing until the transaction ends. */
export function forUpdate<Table extends keyof Schema, Row>(
  queries: Queries,
  query: SelectQueryBuilder<Schema, Table, Row>,
): SelectQueryBuilder<Schema, Table, Row> {
  return locksRows(queries) ? query.forUpdate() : query;
}

/** Keeps the rows that are found from being deleted until the transaction ends. */
export function forKeyShare<Table extends keyof Schema, Row>(
  queries: Queries,
  query: SelectQueryBuilder<Schema, Table, Row>,
): SelectQueryBuilder<Schema, Table, Row> {
  return locksRows(queries) ? query.forKeyShare() : query;
}
