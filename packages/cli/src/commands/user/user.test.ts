import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startService, stopService, type TestService } from '../service.testkit.ts';

let home: string;
let service: TestService;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'gantry-users-'));
  service = await startService(home, '--region', 'south', '--peer', 'north=http://north.example');
});
after(async () => {
  await stopService(service);
  await rm(home, { recursive: true });
});

test('compartments, users and grants are made, seen and taken back', async () => {
  await service.done('compartment', 'create', 'work', '--description', 'all of it');
  await service.done('compartment', 'create', 'work/test');
  assert.match(await service.done('compartment', 'list'), /^PATH.*\n\/ .*\nwork .*\nwork\/test .*\n$/);
  const file = join(home, 'erin.toml');
  assert.match(
    await service.done('user', 'create', 'erin', '--save', file),
    /profile with its token: .*erin\.toml/,
  );
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const again = await service.gantry('user', 'create', 'dora', '--save', file);
  assert.deepEqual([again.code, /STORE_EXISTS/.test(again.stderr)], [6, true]);
  assert.doesNotMatch(await service.done('user', 'list'), /dora/);
  assert.match(await service.done('user', 'create', 'dora'), /token, shown this once: gantry_/);

  await service.done('user', 'grant', 'erin', 'manage', 'compartments', '--compartment', 'work/test');
  assert.match(await service.done('user', 'show', 'erin'), /compartment: work\/test/);
  const asErin = ['--profile', file];
  assert.match(await service.done('compartment', 'list', ...asErin), /work\/test/);
  await service.done('compartment', 'create', 'work/test/deep', ...asErin);
  const refused = await service.gantry('compartment', 'create', 'mine', ...asErin);
  assert.equal(refused.code, 4, refused.stderr);
  await service.done('user', 'revoke', 'erin', 'manage', 'compartments', '--compartment', 'work/test');
  const gone = await service.gantry(
    'user',
    'revoke',
    'erin',
    'manage',
    'compartments',
    '--compartment',
    'work/test',
  );
  assert.equal(gone.code, 5);
  const full = await service.gantry('compartment', 'delete', 'work');
  assert.deepEqual([full.code, /holds a compartment/.test(full.stderr)], [6, true]);
  for (const path of ['work/test/deep', 'work/test', 'work'])
    await service.done('compartment', 'delete', path);
  await service.done('user', 'delete', 'erin');
  assert.equal((await service.gantry('user', 'show', 'erin')).code, 5);
});

test('a tenancy is made with an administrator who has a profile', async () => {
  const file = join(home, 'acme.toml');
  await service.done('tenancy', 'create', 'acme', '--admin', 'root', '--save', file);
  assert.match(await service.done('tenancy', 'list'), /main[\s\S]*acme/);
  assert.doesNotMatch(await service.done('tenancy', 'list', '--profile', file), /main/);
  assert.equal((await service.gantry('tenancy', 'create', 'other', '--profile', file)).code, 4);
});

test('a profile for the clients of OCI is made beside others, and replaced only by force', async () => {
  const dir = join(home, 'oci');
  const made = JSON.parse(await service.done('oci', 'setup', '--dir', dir, '-o', 'json'));
  assert.equal(made.endpoint, `${service.address}/oci`);
  assert.equal(made.region, 'south');
  assert.equal((await stat(made.key_file)).mode & 0o777, 0o600);
  assert.equal((await stat(made.configFile)).mode & 0o777, 0o600);
  assert.match(await readFile(made.key_file, 'utf8'), /BEGIN PRIVATE KEY/);

  const others = `[DEFAULT]\nuser=x\n\n${await readFile(made.configFile, 'utf8')}`;
  await writeFile(made.configFile, others);
  const again = await service.gantry('oci', 'setup', '--dir', dir);
  assert.equal(again.code, 6, again.stderr);
  assert.equal(await readFile(made.configFile, 'utf8'), others);
  const text = await service.done('oci', 'setup', '--dir', dir, '--force');
  assert.match(text, /client\.endpoint = "http/);
  const replaced = await readFile(made.configFile, 'utf8');
  assert.ok(replaced.startsWith('[DEFAULT]\nuser=x\n\n[GANTRY]\n'));
  assert.ok(!replaced.includes(made.fingerprint));

  await service.done('user', 'create', 'mia');
  await service.done('oci', 'setup', '--dir', dir, '--user', 'mia', '--profile-name', 'MIA');
  assert.match(await readFile(made.configFile, 'utf8'), /\[GANTRY\][\s\S]*\[MIA\]/);
  const shown = JSON.parse(await service.done('user', 'show', 'mia', '-o', 'json'));
  assert.equal(shown.apiKeys.length, 1);
  await service.done('user', 'delete-key', 'mia', shown.apiKeys[0]);
});
