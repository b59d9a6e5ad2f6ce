import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { lockFolder } from './folder-lock.ts';

test('one alone, or several that share it, and nothing is left behind', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-lock-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const alone = await lockFolder(folder, { purpose: 'it is painted' });
  for (const isShared of [false, true]) {
    const other = lockFolder(folder, { purpose: 'other', isShared, waitMs: 0 });
    await assert.rejects(other, { code: 'STORE_REFUSED', message: /busy: it is painted/ });
  }
  const next = lockFolder(folder, { purpose: 'next' });
  await alone.release();
  await (await next).release();
  const first = await lockFolder(folder, { purpose: 'read', isShared: true });
  const second = await lockFolder(folder, { purpose: 'read', isShared: true });
  // One who wants it alone does not wait for those.
  await assert.rejects(lockFolder(folder, { purpose: 'other' }), { code: 'STORE_REFUSED' });
  await first.release();
  await second.release();
  assert.deepEqual(await readdir(folder), []);
});

test('of many that want it at once each gets it, never two together', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-lock-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  let holders = 0;
  const turns = Array.from({ length: 6 }, async () => {
    const lock = await lockFolder(folder, { purpose: 'turn' });
    holders += 1;
    assert.equal(holders, 1);
    await readdir(folder);
    holders -= 1;
    await lock.release();
  });
  await Promise.all(turns);
});

test('who waits for a folder that is removed keeps the next one out', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-lock-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const first = await lockFolder(folder, { purpose: 'it is removed' });
  const waiting = lockFolder(folder, { purpose: 'it is made' });
  // The one that waits has its socket here now and then.
  while ((await readdir(folder)).filter((name) => !name.startsWith('.')).length < 2);
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 1 });
  await first.release();
  const second = await waiting;
  const late = lockFolder(folder, { purpose: 'late', waitMs: 0 });
  await assert.rejects(late, { code: 'STORE_REFUSED', message: /busy: it is made/ });
  await second.release();
});

test('what a killed process holds is nobody’s', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-lock-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const module = JSON.stringify(join(import.meta.dirname, 'folder-lock.ts'));
  const code = `const { lockFolder } = await import(${module}); await lockFolder(${JSON.stringify(folder)}, { purpose: 'gone' }); process.kill(process.pid, 'SIGKILL');`;
  assert.throws(() =>
    execFileSync(process.execPath, ['--conditions=source', '--input-type=module', '-e', code]),
  );
  assert.equal((await readdir(folder)).length, 1);
  const lock = await lockFolder(folder, { purpose: 'next', waitMs: 0 });
  await lock.release();
  assert.deepEqual(await readdir(folder), []);
});
