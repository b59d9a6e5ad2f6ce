import { Kysely, PostgresDialect } from 'kysely';
import { migrateToLatest } from './migrations/migrate.ts';
import type { Schema } from './schema.ts';

export type SqlEngine = 'sqlite' | 'postgres';

/** The catalogue: one of two engines behind one query builder. */
export interface Database {
  readonly engine: SqlEngine;
  readonly kysely: Kysely<Schema>;
  close(): Promise<void>;
}

/**
 * Opens the catalogue and brings its tables up to date.
 * `where` is a file for SQLite, or a `postgres://` address for PostgreSQL 15 or later.
 */
export async function openDatabase(where: string): Promise<Database> {
  const database = /^postgres(ql)?:/.test(where) ? await openPostgres(where) : await openSqlite(where);
  try {
    await migrateToLatest(database);
  } catch (error) {
    await database.close();
    throw error;
  }
  return database;
}

async function openSqlite(file: string): Promise<Database> {
  const { sqliteDialect } = await import('./sqlite-dialect.ts');
  const kysely = new Kysely<Schema>({ dialect: sqliteDialect(file) });
  return { engine: 'sqlite', kysely, close: () => kysely.destroy() };
}

async function openPostgres(address: string): Promise<Database> {
  const { default: pg } = await import('pg');
  const types = new pg.TypeOverrides();
  // BIGINT arrives as text: every value of ours is a safe integer, and is checked to be one.
  types.setTypeParser(pg.types.builtins.INT8, (text: string) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value)) throw new RangeError(`a BIGINT of ${text} is above 2^53 - 1`);
    return value;
  });
  // A BYTEA arrives as a Buffer: the other engine gives a Uint8Array, and so do we.
  const parseBytes: (text: string) => Buffer = pg.types.getTypeParser(pg.types.builtins.BYTEA);
  types.setTypeParser(pg.types.builtins.BYTEA, (text: string) => {
    const bytes = parseBytes(text);
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  });
  const pool = new pg.Pool({ connectionString: address, max: 8, types });
  // When the server goes away, the queries that run fail, the broken connections leave the pool, and the next
  // query connects anew. Without listeners, the events that tell the same would end the process.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  const kysely = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
  return { engine: 'postgres', kysely, close: () => kysely.destroy() };
}
