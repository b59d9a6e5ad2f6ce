import assert from 'node:assert/strict';
import { mkdtemp, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launcher, temporaryFolder } from '../../command.testkit.ts';
import { sampleDisk } from '../disk/images.testkit.ts';
import { stallingProxy, startService, stopService, type TestService } from '../service.testkit.ts';

const MIB = 1024 * 1024;

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

test('objects of any length and key come back as they were put', async (t) => {
  const folder = await temporaryFolder(t);
  await service.done('bucket', 'create', 'things');
  for (const [name, content] of [
    ['empty', new Uint8Array(0)],
    ['a b/ü+%2F?#.bin', sampleDisk().subarray(0, 100_001)],
  ] as const) {
    const source = join(folder, 'source');
    await writeFile(source, content);
    const put = JSON.parse(await service.done('object', 'put', source, `things/${name}`, '-o', 'json'));
    assert.equal(put.key, name);
    assert.equal(put.lengthBytes, content.length);
    await service.done('object', 'get', `things/${name}`, join(folder, 'target'));
    assert.ok((await readFile(join(folder, 'target'))).equals(content));
  }
  const missing = await service.gantry('object', 'get', 'things/none', join(folder, 'none'));
  assert.equal(missing.code, 5);
  assert.match(missing.stderr, /^error\[NOT_FOUND\]: /);
  assert.equal((await service.gantry('object', 'put', launcher, 'things/../x')).code, 2);
  assert.equal((await service.gantry('object', 'put', launcher, 'things')).code, 2);
});

/** Four parts, of which three are on their way at once: with more than those passed on, one was acknowledged. */
const FILE_BYTES = 210 * MIB;
const PASSED_BYTES = 200 * MIB;

test('an import that was left while it uploads goes on with the parts that are missing', async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, 'big.raw');
  await writeFile(file, sampleDisk());
  await truncate(file, FILE_BYTES);
  const args = ['image', 'import', file, '--name', 'big', '--format', 'raw', '--wait', '-o', 'json'] as const;
  const proxy = await stallingProxy(t, service, folder, PASSED_BYTES);
  const running = service.start([...args, '--profile', proxy.profile]);
  await proxy.stalled;
  running.child.kill('SIGINT');
  const left = await running.ended;
  assert.equal(left.code, 130);
  assert.match(
    left.stderr,
    /^error\[INTERRUPTED\]: you left; [1-3] of 4 parts are there\n {2}do: run the same command/,
  );
  const resumed = await service.gantry(...args);
  assert.equal(resumed.code, 0, resumed.stderr);
  assert.match(resumed.stderr, /^[1-3] of 4 parts were there already\n/);
  const [digest] = (await service.done('disk', 'digest', file)).split('  ');
  assert.equal(JSON.parse(resumed.stdout).diskDigest, digest);
});

test('parts of another file of the same length are not taken for those of this one', async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, 'big.raw');
  await writeFile(file, sampleDisk());
  await truncate(file, FILE_BYTES);
  await service.done('bucket', 'create', 'other-file');
  const proxy = await stallingProxy(t, service, folder, PASSED_BYTES);
  const args = ['object', 'put', file, 'other-file/big.raw'] as const;
  const running = service.start([...args, '--profile', proxy.profile]);
  await proxy.stalled;
  running.child.kill('SIGKILL');
  await running.ended;
  const handle = await open(file, 'r+');
  await handle.write(new Uint8Array([1, 2, 3]), 0, 3, 1000);
  await handle.close();
  await service.done(...args);
  await service.done('object', 'get', 'other-file/big.raw', join(folder, 'got.raw'));
  assert.ok((await readFile(join(folder, 'got.raw'))).equals(await readFile(file)));
});
