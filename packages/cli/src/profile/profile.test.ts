import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { temporaryFolder } from '../command.testkit.ts';
import { findProfile, ownProfileFile } from './profile.ts';
import { recordRunning, runningFolder } from './running.ts';

async function writeProfile(file: string, port: number): Promise<string> {
  await mkdir(join(file, '..'), { recursive: true });
  await writeFile(file, `endpoint = "http://127.0.0.1:${port}"\ntoken = "gantry_${port}"\n`);
  return file;
}

/** A home with nothing in it, and a place for running services. */
async function emptyHome(t: TestContext): Promise<{ folder: string; environment: Record<string, string> }> {
  const folder = await temporaryFolder(t);
  return { folder, environment: { HOME: folder, GANTRY_RUN_FOLDER: join(folder, 'run') } };
}

test('the profile is the named one, else that of the environment, else the own one, else the running one', async (t) => {
  const { folder, environment } = await emptyHome(t);
  const find = async (profile?: string, more: Record<string, string> = {}) => {
    const { endpoint } = await findProfile({ profile, environment: { ...environment, ...more } });
    return endpoint;
  };
  await assert.rejects(find(), { code: 'PROFILE', message: 'no service is known to talk to' });

  const forget = await recordRunning(
    runningFolder(environment),
    await writeProfile(join(folder, 'data/client.toml'), 4),
  );
  assert.equal(await find(), 'http://127.0.0.1:4');
  await writeProfile(join(folder, '.config/gantry/client.toml'), 3);
  assert.equal(await find(), 'http://127.0.0.1:3');
  const named = await writeProfile(join(folder, 'environment.toml'), 2);
  assert.equal(await find(undefined, { GANTRY_PROFILE: named }), 'http://127.0.0.1:2');
  assert.equal(await find(undefined, { GANTRY_PROFILE: '' }), 'http://127.0.0.1:3');
  const first = await writeProfile(join(folder, 'flag.toml'), 1);
  assert.equal(await find(first, { GANTRY_PROFILE: named }), 'http://127.0.0.1:1');
  await forget();
  assert.deepEqual(await readdir(runningFolder(environment)), []);
});

test('XDG_CONFIG_HOME names the folder of the own profile, unless it is relative', () => {
  assert.equal(ownProfileFile({ XDG_CONFIG_HOME: '/etc/x', HOME: '/h' }), '/etc/x/gantry/client.toml');
  assert.equal(ownProfileFile({ XDG_CONFIG_HOME: 'x', HOME: '/h' }), '/h/.config/gantry/client.toml');
  assert.equal(ownProfileFile({ HOME: '/h' }), '/h/.config/gantry/client.toml');
});

test('a service that was killed is not found, nor another process with its number', async (t) => {
  const { folder, environment } = await emptyHome(t);
  const run = runningFolder(environment);
  await mkdir(run, { recursive: true });
  const child = spawn(process.execPath, ['--eval', ''], { stdio: 'ignore' });
  await once(child, 'exit');
  const profile = await writeProfile(join(folder, 'client.toml'), 1);
  await writeFile(
    join(run, 'gone.toml'),
    `profile = "${profile}"\nprocessId = ${child.pid}\nprocessStart = "1"\n`,
  );
  await writeFile(
    join(run, 'other.toml'),
    `profile = "${profile}"\nprocessId = ${process.pid}\nprocessStart = "1"\n`,
  );
  await writeFile(join(run, 'garbage.toml'), '\u0000');
  await assert.rejects(findProfile({ profile: undefined, environment }), { code: 'PROFILE' });
  assert.deepEqual(await readdir(run), []);
});

test('of two services that run, none is guessed', async (t) => {
  const { folder, environment } = await emptyHome(t);
  const run = runningFolder(environment);
  await recordRunning(run, await writeProfile(join(folder, 'a.toml'), 1));
  const [name = ''] = await readdir(run);
  await copyFile(join(run, name), join(run, 'second.toml'));
  await assert.rejects(findProfile({ profile: undefined, environment }), {
    code: 'PROFILE',
    message: 'more than one service runs from this clone',
  });
});

test('what is wrong with a profile is said without showing its token', async (t) => {
  const { folder, environment } = await emptyHome(t);
  const file = join(folder, 'client.toml');
  for (const [text, why] of [
    ['token = "gantry_secret', /is not TOML/],
    ['token = "gantry_secret"', /names no http or https endpoint/],
    ['endpoint = "ftp://h"\ntoken = "gantry_secret"', /names no http or https endpoint/],
    ['endpoint = "http://h"', /holds no token/],
    ['endpoint = "http://h"\ntoken = "gantry_secret\\nx: y"', /holds no token/],
  ] as const) {
    await writeFile(file, text);
    await assert.rejects(findProfile({ profile: file, environment }), (error: Error) => {
      assert.match(error.message, why);
      assert.doesNotMatch(JSON.stringify(error, Object.getOwnPropertyNames(error)), /secret/);
      return true;
    });
  }
  await assert.rejects(findProfile({ profile: join(folder, 'none'), environment }), { code: 'PROFILE' });
  await assert.rejects(findProfile({ profile: folder, environment }), { code: 'PROFILE' });
});

test('an endpoint behind a proxy keeps its path', async (t) => {
  const { folder, environment } = await emptyHome(t);
  const file = join(folder, 'client.toml');
  await writeFile(file, 'endpoint = "https://host/gantry/"\ntoken = "t"\n');
  const { endpoint } = await findProfile({ profile: file, environment });
  assert.equal(endpoint, 'https://host/gantry');
});
