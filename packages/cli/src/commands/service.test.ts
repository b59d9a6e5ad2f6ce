import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { closedPort, gantry, temporaryFolder } from '../command.testkit.ts';
import { rangeServer, sampleDisk, sampleFiles } from './disk/images.testkit.ts';
import { startService, stopService, type TestService } from './service.testkit.ts';

const MIB = 1024 * 1024;

let home: string;
let service: TestService;
/** The sample disk, as qemu-img wrote it. */
let raw: string;
let qcow2: string;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'gantry-service-'));
  ({ raw, qcow2 } = await sampleFiles(home));
  service = await startService(home, '--allow', '127.0.0.1');
});

after(async () => {
  await stopService(service);
  await rm(home, { recursive: true });
});

test('a wait can be left, runs out, and sees cancel and retry; the job goes on', async (t) => {
  const server = await rangeServer(t, sampleDisk(), 5 * MIB);
  const id = (
    await service.done('image', 'import', server.address, '--name', 'held', '--format', 'raw')
  ).trim();
  await server.held;

  const late = await service.gantry('job', 'watch', id, '--timeout', '0.01');
  assert.equal(late.code, 8);
  assert.match(
    late.stderr,
    new RegExp(`error\\[WAIT_TIMEOUT\\]: .*\n {2}do: watch it again with: gantry job watch ${id}\n$`),
  );

  const watching = service.start(['job', 'watch', id, '--progress', 'json']);
  assert.ok(watching.child.stderr);
  await once(watching.child.stderr, 'data');
  watching.child.kill('SIGINT');
  const left = await watching.ended;
  assert.equal(left.code, 130);
  assert.match(
    left.stderr,
    new RegExp(`error\\[INTERRUPTED\\]: .*goes on\n {2}do: watch it again with: gantry job watch ${id}\n$`),
  );

  await service.done('job', 'cancel', id);
  const canceled = await service.gantry('job', 'watch', id);
  assert.equal(canceled.code, 1);
  assert.match(canceled.stderr, /error\[CANCELED\]/);
  server.release();
  await service.done('job', 'retry', id);
  await service.done('job', 'watch', id);
  await service.done('image', 'show', 'held');
  assert.equal((await service.gantry('job', 'show', 'job-none')).code, 5);
});

test('a watch goes on over a kill -9 and a new start of the service', async (t) => {
  const folder = await temporaryFolder(t);
  const server = await rangeServer(t, sampleDisk(), 5 * MIB);
  const args = ['--allow', '127.0.0.1', '--listen', `127.0.0.1:${await closedPort()}`];
  const killed = await startService(folder, ...args);
  const imported = ['image', 'import', server.address, '--name', 'held', '--format', 'raw'] as const;
  const id = (await killed.done(...imported)).trim();
  await server.held;
  const watching = killed.start(['job', 'watch', id, '--progress', 'json']);
  assert.ok(watching.child.stderr);
  await once(watching.child.stderr, 'data');
  killed.running.child.kill('SIGKILL');
  await killed.running.ended;
  const again = await startService(folder, ...args);
  t.after(() => stopService(again));
  server.release();
  const { code, stdout, stderr } = await watching.ended;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /\nstate: succeeded\n/);
});

test('a job that fails ends the wait with its code and with what to do', async () => {
  const failed = await service.gantry(
    'image',
    'import',
    raw,
    '--name',
    'wrong',
    '--format',
    'qcow2',
    '--wait',
  );
  assert.equal(failed.code, 1);
  assert.match(
    failed.stderr,
    /error\[IMAGE_MALFORMED\]: .*\n {2}where: job job-.*\n {2}do: .*gantry job retry job-/,
  );
});

test('who talks to what is said when it goes wrong', async (t) => {
  const folder = await temporaryFolder(t);
  const ask = async (text: string) => {
    const file = join(folder, 'client.toml');
    await writeFile(file, text);
    return service.gantry('image', 'list', '--profile', file);
  };
  const stranger = await ask(`endpoint = "${service.address}"\ntoken = "gantry_wrong"\n`);
  assert.equal(stranger.code, 4);
  assert.match(stranger.stderr, /^error\[UNAUTHENTICATED\]: /);

  const nobody = await ask(`endpoint = "http://127.0.0.1:${await closedPort()}"\ntoken = "t"\n`);
  assert.equal(nobody.code, 1);
  assert.match(
    nobody.stderr,
    /^error\[SERVICE_UNREACHABLE\]: .*\n {2}where: .*client\.toml\n {2}why: .*ECONNREFUSED.*\n {2}do: /,
  );

  const other = createServer((_request, response) => response.end('<html>')).listen(0, '127.0.0.1');
  await once(other, 'listening');
  t.after(() => other.close());
  const { port } = other.address() as AddressInfo;
  const html = await ask(`endpoint = "http://127.0.0.1:${port}"\ntoken = "t"\n`);
  assert.equal(html.code, 1);
  assert.match(html.stderr, /^error\[SERVICE_ANSWER\]: /);
});

test('vault check exits with 3 for damage, and gc says what it freed', async (t) => {
  const folder = await temporaryFolder(t);
  const own = await startService(folder);
  t.after(async () => {
    own.running.child.kill('SIGTERM');
    await own.running.ended;
  });
  assert.equal((await own.gantry('image', 'import', qcow2, '--name', 'a', '--wait')).code, 0);
  const whole = await own.gantry('vault', 'check', '--data', '-o', 'json');
  assert.equal(whole.code, 0, whole.stderr);
  assert.deepEqual(JSON.parse(whole.stdout).findings, []);

  const names = await readdir(join(own.dataFolder, 'vault'), { recursive: true });
  const sizes = await Promise.all(
    names.map(async (name) => {
      const file = join(own.dataFolder, 'vault', name);
      const found = await stat(file);
      return { file, size: found.isFile() ? found.size : 0 };
    }),
  );
  const largest = sizes.reduce((a, b) => (a.size > b.size ? a : b));
  const handle = await open(largest.file, 'r+');
  await handle.write(new Uint8Array(4096).fill(0x55), 0, 4096, Math.floor(largest.size / 2));
  await handle.close();
  const damaged = await own.gantry('vault', 'check', '--data', '-o', 'json');
  assert.equal(damaged.code, 3, damaged.stderr);
  assert.ok(JSON.parse(damaged.stdout).findings.length > 0);
  assert.equal((await own.gantry('vault', 'gc')).code, 0);
});

test('serve tells where it answers, is found while it runs, and stops when told to', async (t) => {
  const folder = await temporaryFolder(t);
  const own = await startService(folder);
  assert.equal((await own.gantry('image', 'list', '-o', 'json')).stdout, '[]\n');
  assert.equal((await readdir(join(folder, 'run'))).length, 1);
  const second = await gantry(['serve', '--data', own.dataFolder, '--listen', '127.0.0.1:0']);
  assert.equal(second.code, 9);
  assert.match(second.stderr, /^error\[STORE_REFUSED\]: .* is used by another process/);
  own.running.child.kill('SIGTERM');
  const { code, stderr } = await own.running.ended;
  assert.equal(code, 0, stderr);
  assert.deepEqual(await readdir(join(folder, 'run')), []);
  const gone = await own.gantry('image', 'list');
  assert.equal(gone.code, 2);
  assert.match(
    gone.stderr,
    /^error\[PROFILE\]: no service is known to talk to\n {2}do: start one with npm start/,
  );
  const table = await startService(folder);
  table.running.child.kill('SIGINT');
  assert.equal((await table.running.ended).code, 0);
});
