import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { temporaryFolder } from '../../command.testkit.ts';
import { startService, stopService, type TestService } from '../service.testkit.ts';

let home: string;
let service: TestService;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'gantry-service-'));
  service = await startService(home);
});

after(async () => {
  await stopService(service);
  await rm(home, { recursive: true });
});

test('an address is made, used by whoever has it, listed and deleted', async (t) => {
  const folder = await temporaryFolder(t);
  await service.done('bucket', 'create', 'shared');
  const file = join(folder, 'vm.oci');
  await writeFile(file, 'an image');
  await service.done('object', 'put', file, 'shared/a/vm.oci');

  const url = (await service.done('par', 'create', 'shared/a/vm.oci', '--expires', '7d')).trim();
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/oci\/p\/[\w-]{43}\/n\/main\/b\/shared\/o\/a%2Fvm\.oci$/);
  assert.equal(await (await fetch(url)).text(), 'an image');
  assert.equal((await fetch(url, { method: 'PUT', body: 'x' })).status, 404);

  const made = JSON.parse(
    await service.done(
      'par',
      'create',
      'shared/a/',
      '--prefix',
      '--list',
      '--access',
      'read-write',
      '--expires',
      '30m',
      '-o',
      'json',
    ),
  );
  assert.equal(made.accessType, 'AnyObjectReadWrite');
  assert.equal((await fetch(`${made.url}a/new`, { method: 'PUT', body: 'new' })).status, 200);
  const { objects } = (await (await fetch(made.url)).json()) as { objects: { name: string }[] };
  assert.deepEqual(
    objects.map(({ name }) => name),
    ['a/new', 'a/vm.oci'],
  );

  const listed = JSON.parse(await service.done('par', 'list', 'shared', '-o', 'json'));
  assert.equal(listed.length, 2);
  assert.ok(listed.every((par: object) => !('url' in par)));
  await service.done('par', 'delete', 'shared', made.id);
  assert.equal((await fetch(made.url)).status, 404);
  assert.equal(JSON.parse(await service.done('par', 'list', 'shared/a/vm', '-o', 'json')).length, 1);
});

test('what makes no sense is refused before anything is asked', async () => {
  for (const args of [
    ['shared', '--expires', '7d'],
    ['shared/k', '--expires', 'soon'],
    ['shared/k', '--expires', '2001-01-01T00:00:00Z'],
    ['shared/k'],
    ['shared/k', '--expires', '7d', '--list'],
    ['shared/', '--prefix', '--list', '--access', 'write', '--expires', '7d'],
  ]) {
    assert.equal((await service.gantry('par', 'create', ...args)).code, 2, args.join(' '));
  }
});

test('objects are copied and renamed', async (t) => {
  const folder = await temporaryFolder(t);
  await service.done('bucket', 'create', 'from');
  await service.done('bucket', 'create', 'target');
  const file = join(folder, 'file');
  await writeFile(file, 'bytes');
  await service.done('object', 'put', file, 'from/k');
  await service.done('object', 'copy', 'from/k', 'target/copy', '--wait');
  assert.equal((await service.gantry('object', 'copy', 'from/k', 'target/copy', '--if-absent')).code, 6);
  assert.equal((await service.gantry('object', 'copy', 'from/k', 'target/x', '--region', 'nowhere')).code, 2);
  await service.done('object', 'rename', 'target/copy', 'renamed');
  await service.done('object', 'get', 'target/renamed', join(folder, 'got'));
  assert.equal(await readFile(join(folder, 'got'), 'utf8'), 'bytes');
  assert.equal((await service.gantry('object', 'rename', 'target/copy', 'x')).code, 5);
});

test('the log of the service tells of an address that was used, and not its token', async (t) => {
  const folder = await temporaryFolder(t);
  const logging = await startService(folder, '--log-level', 'debug');
  await logging.done('bucket', 'create', 'shared');
  const create = [
    'par',
    'create',
    'shared',
    '--prefix',
    '--list',
    '--access',
    'read-write',
    '--expires',
    '1h',
  ];
  const url = (await logging.done(...create)).trim();
  const token = /\/p\/([\w-]+)\//.exec(url)?.[1] ?? '';
  assert.equal(token.length, 43);
  const headers = { 'opc-multipart': 'true' };
  const begun = await fetch(`${url}big`, { method: 'PUT', headers });
  const { accessUri } = (await begun.json()) as { accessUri: string };
  const upload = `${new URL(url).origin}/oci${accessUri}`;
  for (const [address, init] of [
    [url, {}],
    [`${url}absent?x=%zz`, {}],
    [`${upload}1`, { method: 'PUT', body: 'x' }],
    [`${upload}x`, { method: 'PUT', body: 'x' }],
    [upload, { method: 'POST' }],
    [url.replace('/o/', '/nothing/'), {}],
    [`${url}%ff`, {}],
  ] as const) {
    await (await fetch(address, init)).body?.cancel();
  }
  await stopService(logging);
  const { stderr } = await logging.running.ended;
  assert.match(stderr, /"path":"\/oci\/p\/…\/n\/main/);
  assert.ok(!stderr.includes(token), 'the token stands in the log');
});
