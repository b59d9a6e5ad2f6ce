import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { sql } from 'kysely';
import { openDatabase } from './database.ts';
import { forEachEngine, makePostgresDatabase, makeSqliteFile } from './engines.testkit.ts';
import { newId } from './ids.ts';

const run = promisify(execFile);

forEachEngine('a database opened again keeps its rows and its tables', async (open, addressOf) => {
  const first = await open();
  const tenancy = { id: newId('ten'), name: 'main', namespace: 'main', created_at_ms: 1 };
  await first.kysely.insertInto('tenancies').values(tenancy).execute();
  const second = await openDatabase(addressOf(first));
  try {
    assert.deepEqual(await second.kysely.selectFrom('tenancies').selectAll().execute(), [tenancy]);
  } finally {
    await second.close();
  }
});

forEachEngine('whole numbers up to 2^53 - 1 come back as numbers, larger ones are refused', async (open) => {
  const { kysely } = await open();
  const row = {
    number: 1,
    id: 'seg-1',
    committed_bytes: Number.MAX_SAFE_INTEGER,
    live_bytes: 0,
    created_at_ms: 0,
  };
  await kysely.insertInto('vault_segments').values(row).execute();
  assert.deepEqual(await kysely.selectFrom('vault_segments').selectAll().execute(), [row]);

  await sql`UPDATE vault_segments SET committed_bytes = 9007199254740992`.execute(kysely);
  await assert.rejects(kysely.selectFrom('vault_segments').selectAll().execute(), RangeError);
});

forEachEngine('bytes come back as they were stored', async (open) => {
  const { kysely } = await open();
  const entries = Uint8Array.from({ length: 256 }, (_, index) => index);
  await kysely
    .insertInto('manifests')
    .values({
      id: 'man-1',
      state: 'building',
      virtual_size_bytes: 0,
      disk_digest: null,
      data_bytes: 0,
      created_at_ms: 0,
    })
    .execute();
  await kysely
    .insertInto('manifest_chunks')
    .values({ manifest_id: 'man-1', chunk_index: 0, entries })
    .execute();
  const stored = await kysely.selectFrom('manifest_chunks').select('entries').executeTakeFirstOrThrow();
  assert.deepEqual(stored.entries, entries);
});

forEachEngine('foreign keys hold', async (open) => {
  const { kysely } = await open();
  const token = { id: 'tok-1', token_sha256: '', label: '', created_at_ms: 0, revoked_at_ms: null };
  await assert.rejects(
    kysely
      .insertInto('tokens')
      .values({ ...token, user_id: 'usr-0' })
      .execute(),
    /foreign key/i,
  );
});

test('a migration that fails leaves no table behind', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-sqlite-'));
  try {
    const file = join(folder, 'catalogue.db');
    const before = new DatabaseSync(file);
    before.exec('CREATE TABLE job_log (id INTEGER)');
    before.close();
    await assert.rejects(openDatabase(file), /job_log/);
    const after = new DatabaseSync(file);
    const tables = after.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
    after.close();
    assert.ok(!tables.some((table) => table.name === 'tenancies'));
  } finally {
    await rm(folder, { recursive: true });
  }
});

for (const [engine, makePlace] of [
  ['sqlite', makeSqliteFile],
  ['postgres', makePostgresDatabase],
] as const) {
  test(`processes that start at once migrate once (${engine})`, async () => {
    const place = await makePlace();
    try {
      const script = `const { openDatabase } = await import(process.argv[1]);
        await (await openDatabase(process.argv[2])).close();`;
      const args = ['--conditions=source', '--input-type=module', '-e', script];
      const module = import.meta.resolve('./database.ts');
      await Promise.all([1, 2, 3].map(() => run(process.execPath, [...args, module, place.address])));
      const database = await openDatabase(place.address);
      await database.close();
    } finally {
      await place.remove();
    }
  });
}
