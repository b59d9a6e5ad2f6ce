import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { SqliteAdapter, type SqliteDatabase, SqliteDialect } from 'kysely';

/** `node:sqlite` in the shape that Kysely's SQLite dialect expects. WAL, every commit durable. */
export function sqliteDialect(file: string): SqliteDialect {
  const database = new DatabaseSync(file, { timeout: 5000 });
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;');
  const adapter: SqliteDatabase = {
    close: () => database.close(),
    prepare(text) {
      // A transaction that reads first and writes later could fail with SQLITE_BUSY at its first write when
      // another process has written meanwhile; one that takes the write lock at once waits for it instead.
      const statement = database.prepare(text === 'begin' ? 'begin immediate' : text);
      return {
        reader: statement.columns().length > 0,
        // Plain objects, as the other engine gives: these rows have no prototype.
        all: (values) => statement.all(...(values as SQLInputValue[])).map((row) => ({ ...row })),
        run: (values) => {
          const { changes, lastInsertRowid } = statement.run(...(values as SQLInputValue[]));
          return { changes, lastInsertRowid };
        },
        iterate: (values) => statement.iterate(...(values as SQLInputValue[])),
      };
    },
  };
  return new DurableSqliteDialect({ database: adapter });
}

/** SQLite does roll back DDL: told so, the migrator applies each start's migrations whole or not at all. */
class TransactionalDdlAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class DurableSqliteDialect extends SqliteDialect {
  override createAdapter(): SqliteAdapter {
    return new TransactionalDdlAdapter();
  }
}
