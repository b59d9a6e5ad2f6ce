import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { sql } from 'kysely';
import { openDatabase } from './database.ts';
import { forEachEngine } from './engines.testkit.ts';
import { isTransientDatabaseError } from './transient-errors.ts';

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => assert.fail('it should have failed'),
    (error) => error,
  );
}

forEachEngine('a statement that is wrong stays wrong', async (open) => {
  const { kysely } = await open();
  assert.equal(isTransientDatabaseError(await errorOf(sql`SELECT * FROM nothing`.execute(kysely))), false);
  const orphan = {
    id: 'tok-1',
    user_id: 'usr-0',
    token_sha256: '',
    label: '',
    created_at_ms: 0,
    revoked_at_ms: null,
  };
  const refused = await errorOf(kysely.insertInto('tokens').values(orphan).execute());
  assert.equal(isTransientDatabaseError(refused), false);
});

forEachEngine('a database without room, or whose server goes away, may work later', async (open) => {
  const { engine, kysely } = await open();
  if (engine === 'sqlite') {
    await sql`PRAGMA max_page_count = 1`.execute(kysely);
    const large = { id: 'ten-1', name: 'x'.repeat(100_000), namespace: '', created_at_ms: 0 };
    const full = await errorOf(kysely.insertInto('tenancies').values(large).execute());
    assert.equal(isTransientDatabaseError(full), true);
  } else {
    const ended = await errorOf(sql`SELECT pg_terminate_backend(pg_backend_pid())`.execute(kysely));
    assert.equal(isTransientDatabaseError(ended), true);
    // The broken connection leaves the pool when its end is noticed; then there is a new one.
    const works = (): Promise<boolean> =>
      sql`SELECT 1`.execute(kysely).then(
        () => true,
        (error) => {
          assert.equal(isTransientDatabaseError(error), true);
          return false;
        },
      );
    while (!(await works())) await setImmediate();
  }
});

test('a server that does not answer may answer later', async () => {
  const refused = await errorOf(openDatabase('postgres://nobody@127.0.0.1:1/nothing'));
  assert.equal(isTransientDatabaseError(refused), true);
});
