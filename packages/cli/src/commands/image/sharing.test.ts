import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Ended, gantry, temporaryFolder } from '../../command.testkit.ts';
import { startService, stopService, type TestService } from '../service.testkit.ts';

const MIB = 2 ** 20;

async function withImage(service: TestService, folder: string): Promise<{ readonly diskDigest: string }> {
  const raw = Buffer.alloc(4 * MIB);
  crypto.getRandomValues(raw.subarray(MIB, MIB + 60_000));
  const file = join(folder, 'disk.raw');
  await writeFile(file, raw);
  const import_ = ['image', 'import', file, '--name', 'web 01', '--format', 'raw', '--wait', '-o', 'json'];
  return JSON.parse(await service.done(...import_));
}

async function names(service: TestService, bucket: string): Promise<readonly string[]> {
  const listed: readonly { readonly key: string }[] = JSON.parse(
    await service.done('object', 'list', bucket, '-o', 'json'),
  );
  return listed.map(({ key }) => key);
}

test('an image goes to another service and is the same disk there; nothing stays on the way', async (t) => {
  const folder = await temporaryFolder(t);
  const source = await startService(join(folder, 'source'));
  const target = await startService(join(folder, 'target'), '--allow', '127.0.0.1');
  t.after(() => Promise.all([stopService(source), stopService(target)]));
  const image = await withImage(source, folder);
  const args = ['image', 'replicate', 'web 01', '--to', target.profile, '--name', 'replica', '-o', 'json'];
  const outcome = JSON.parse(await source.done(...args));
  assert.equal(outcome.diskDigest, image.diskDigest);
  const replica = JSON.parse(await target.done('image', 'show', 'replica', '-o', 'json'));
  assert.equal(replica.id, outcome.replica);
  assert.equal(replica.diskDigest, image.diskDigest);
  assert.deepEqual(await names(source, 'gantry-replicas'), []);

  // The other way the address is refused, which is an answer of the other service.
  const back: Ended = await target.gantry('image', 'replicate', 'replica', '--to', source.profile);
  assert.equal(back.code, 9, back.stderr);
  assert.match(back.stderr, /^error\[STORE_REFUSED\]/m);
  assert.ok(back.stderr.includes(` of ${source.address}\n`), back.stderr);
  assert.ok(
    back.stderr.endsWith(
      `do: let ${source.address} reach ${target.address}: start it with gantry serve --peer NAME=${target.address}, or with --allow\n`,
    ),
    back.stderr,
  );
  assert.deepEqual(await names(target, 'gantry-replicas'), []);
});

test('between peers only the blocks move that the other one lacks', async (t) => {
  const folder = await temporaryFolder(t);
  const source = await startService(join(folder, 'source'));
  const target = await startService(join(folder, 'target'), '--peer', `home=${source.address}`);
  t.after(() => Promise.all([stopService(source), stopService(target)]));
  const image = await withImage(source, folder);
  const replicate = async (name: string): Promise<{ readonly diskDigest: string }> =>
    JSON.parse(
      await source.done('image', 'replicate', 'web 01', '--to', target.profile, '--name', name, '-o', 'json'),
    );
  assert.equal((await replicate('first')).diskDigest, image.diskDigest);
  assert.equal((await replicate('second')).diskDigest, image.diskDigest);
  const jobs: readonly { readonly id: string }[] = JSON.parse(await target.done('job', 'list', '-o', 'json'));
  const { log } = JSON.parse(await target.done('job', 'show', jobs[0]?.id ?? '', '-o', 'json'));
  const messages: readonly string[] = log.map(({ message }: { readonly message: string }) => message);
  assert.ok(messages.includes('of 1 blocks 1 were here, 0 were fetched'), messages.join('\n'));
});

test('a shared image is read by whoever has its address, until it is taken back', async (t) => {
  const folder = await temporaryFolder(t);
  const service = await startService(folder, '--allow', '127.0.0.1');
  t.after(() => stopService(service));
  const image = await withImage(service, folder);
  const shared = JSON.parse(await service.done('image', 'share', 'web 01', '--expires', '1h', '-o', 'json'));
  assert.equal(shared.diskDigest, image.diskDigest);
  assert.ok(shared.expiresAtMs > Date.now() && shared.expiresAtMs < Date.now() + 2 * 3600 * 1000);
  const { stdout } = await gantry(['disk', 'digest', shared.url, '-o', 'json']);
  assert.equal(JSON.parse(stdout).diskDigest, image.diskDigest);
  await service.done('image', 'import', shared.url, '--name', 'again', '--wait');
  const told = await service.done('image', 'share', 'web 01', '--form', 'qcow2');
  assert.match(told, /^http:.*\/p\/.*\.qcow2\n/);
  assert.match(told, /gantry image import http/);
  await service.done('object', 'delete', `${shared.bucket}/${shared.key}`);
  const after = await gantry(['disk', 'digest', shared.url]);
  assert.equal(after.code, 5, after.stderr);
});

test('what cannot be meant is refused before anything is asked', async () => {
  for (const [args, expected] of [
    [
      ['image', 'replicate', 'a', '--to', 'oci://P/eu-frankfurt-1'],
      /from service to service, or from OCI to OCI/,
    ],
    [['image', 'replicate', 'oci://P/ocid1.image.x', '--to', 'oci://P/eu-frankfurt-1'], /say which bucket/],
    [['image', 'replicate', 'oci://P/ocid1.image.x', '--bucket', 'b', '--to', 'oci://P/X Y'], /is no region/],
    [['image', 'share', 'oci://P/ocid1.instance.x', '--bucket', 'b'], /is no OCID of an image/],
    [['image', 'share', 'oci://P/ocid1.image.x', '--bucket', 'b', '--form', 'vmdk'], /are shared as oci/],
    [['image', 'share', 'a', '--expires', '3 weeks'], /Write a number with m, h or d/],
    [['image', 'share', 'a', '--form', 'zip'], /zip/],
  ] as const) {
    const { code, stderr } = await gantry(args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, expected);
  }
});
