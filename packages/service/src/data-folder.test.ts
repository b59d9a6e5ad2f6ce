import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { writeClientProfile } from './client-profile.ts';
import { openDataFolder } from './data-folder.ts';

const run = promisify(execFile);

/** Opens the folder in a process of its own; says whether it got it, and keeps nothing. */
async function openElsewhere(path: string): Promise<string> {
  const code = `
    const { openDataFolder } = await import(${JSON.stringify(import.meta.resolve('./data-folder.ts'))});
    await openDataFolder(${JSON.stringify(path)}).then(() => console.log('open'), (error) => console.log(error.code));
  `;
  const options = ['--conditions=source', '--input-type=module', '--eval', code];
  return (await run(process.execPath, options)).stdout.trim();
}

test('a data folder is one process’s until that releases it or ends', async (t) => {
  const path = await mkdtemp(join(tmpdir(), 'gantry-folder-'));
  t.after(() => rm(path, { recursive: true }));
  assert.equal(await openElsewhere(path), 'open');
  const folder = await openDataFolder(path);
  await assert.rejects(openDataFolder(path), { code: 'STORE_REFUSED' });
  assert.equal(await openElsewhere(path), 'STORE_REFUSED');
  await folder.release();
  assert.equal(await openElsewhere(path), 'open');
});

test('a data folder is made with those above it, and where none can be made that is said', async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'gantry-folder-'));
  t.after(() => rm(home, { recursive: true }));
  const folder = await openDataFolder(join(home, 'a/b/c'));
  await folder.release();
  assert.equal((await stat(join(home, 'a/b/c'))).mode & 0o777, 0o700);
  await writeFile(join(home, 'file'), '');
  await assert.rejects(openDataFolder(join(home, 'file')), { code: 'STORE_EXISTS' });
  await assert.rejects(openDataFolder(join(home, 'file/below')), { code: 'STORE_NOT_FOUND' });
  await assert.rejects(openDataFolder('/proc/gantry/data'), { code: 'STORE_NOT_FOUND' });
});

test('a profile keeps its token when the address changes, and is not written over when it cannot be read', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-profile-'));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, 'client.toml');
  await writeClientProfile(path, 'http://127.0.0.1:1', 'secret');
  await writeClientProfile(path, 'http://127.0.0.1:2', undefined);
  assert.match(await readFile(path, 'utf8'), /^endpoint = "http:\/\/127\.0\.0\.1:2"\ntoken = "secret"$/m);
  const notFolder = join(folder, 'file');
  await writeFile(notFolder, '');
  await assert.rejects(writeClientProfile(join(notFolder, 'client.toml'), 'http://x', undefined), {
    name: 'StoreError',
  });
});
