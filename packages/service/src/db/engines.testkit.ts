import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { type Database, openDatabase } from './database.ts';

/** Opens a fresh, empty, migrated database; it is closed and removed when the test ends. */
export type OpenFresh = () => Promise<Database>;

/** Where that database is, for a process or a connection of the test's own: what openDatabase takes. */
export type AddressOf = (database: Database) => string;

/** Registers the test twice: on SQLite in a temporary file, and on the PostgreSQL of GANTRY_TEST_POSTGRES. */
export function forEachEngine(
  name: string,
  body: (open: OpenFresh, addressOf: AddressOf) => Promise<void>,
): void {
  test(`${name} (sqlite)`, () => withDatabases(makeSqliteFile, body));
  test(`${name} (postgres)`, () => withDatabases(makePostgresDatabase, body));
}

/** A place for one database, and how to remove it. */
export interface Place {
  readonly address: string;
  remove(): Promise<void>;
}

async function withDatabases(
  makePlace: () => Promise<Place>,
  body: (open: OpenFresh, addressOf: AddressOf) => Promise<void>,
): Promise<void> {
  const opened: { place: Place; database: Database }[] = [];
  const open = async (): Promise<Database> => {
    const place = await makePlace();
    const database = await openDatabase(place.address);
    opened.push({ place, database });
    return database;
  };
  const addressOf = (database: Database): string => {
    const found = opened.find((each) => each.database === database);
    if (found === undefined) throw new Error('this database was not opened by the test kit');
    return found.place.address;
  };
  try {
    await body(open, addressOf);
  } finally {
    for (const { place, database } of opened) {
      await database.close();
      await place.remove();
    }
  }
}

export async function makeSqliteFile(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-sqlite-'));
  return { address: join(folder, 'catalogue.db'), remove: () => rm(folder, { recursive: true }) };
}

export async function makePostgresDatabase(): Promise<Place> {
  const server = process.env.GANTRY_TEST_POSTGRES;
  if (server === undefined || server === '') {
    throw new Error(
      'GANTRY_TEST_POSTGRES is not set, and no test is skipped: run `node setup/postgres.mjs -- CMD…`, which starts a temporary PostgreSQL for CMD',
    );
  }
  const name = `test_${randomBytes(8).toString('hex')}`;
  await runOnServer(server, `CREATE DATABASE ${name}`);
  const address = new URL(server);
  address.pathname = `/${name}`;
  return {
    address: address.href,
    remove: () => runOnServer(server, `DROP DATABASE ${name} WITH (FORCE)`),
  };
}

async function runOnServer(server: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: server });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
