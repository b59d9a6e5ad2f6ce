import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { denyReferences, diskDigest, fileSource, openDisk } from '@gantry/disk';
import fc from 'fast-check';
import { folderBytes, type ImageBody, qemuImg, ServiceProcess, temporaryFolder } from './service.testkit.ts';

const MIB = 1024 * 1024;
const folder = temporaryFolder('first-cargo');
const file = (name: string) => join(folder.path, name);
let service: ServiceProcess;
let image: ImageBody;

before(async () => {
  makeRealDisk();
  service = await ServiceProcess.start(file('data'));
  for (const name of ['incoming', 'outgoing']) await service.json('POST', '/buckets', 201, { name });
  image = await service.importBytes('web', readFileSync(file('disk.qcow2')));
});
after(async () => {
  await service.stop();
  folder.remove();
});

/** An ext4 file system with real files in it, as qcow2 with zlib. */
function makeRealDisk(): void {
  mkdirSync(file('root'));
  for (const name of ['python3', 'x86_64-linux-gnu/perl-base']) {
    cpSync(join('/usr/lib', name), join(file('root'), name), { recursive: true, dereference: false });
  }
  execFileSync('truncate', ['--size=256M', file('disk.raw')]);
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', file('root'), file('disk.raw')]);
  rmSync(file('root'), { recursive: true });
  qemuImg('convert', '-f', 'raw', '-O', 'qcow2', '-c', file('disk.raw'), file('disk.qcow2'));
}

const forms = [
  { format: 'raw', qemuFormat: 'raw' },
  { format: 'qcow2', qemuFormat: 'qcow2' },
  { format: 'qcow2', qemuFormat: 'qcow2', compression: 'zlib', isStream: true },
  { format: 'qcow2', qemuFormat: 'qcow2', compression: 'zstd' },
  { format: 'vmdk', qemuFormat: 'vmdk' },
  { format: 'vmdk', qemuFormat: 'vmdk', options: { subformat: 'streamOptimized' }, isStream: true },
  { format: 'vdi', qemuFormat: 'vdi' },
  { format: 'vhd', qemuFormat: 'vpc' },
];

for (const { qemuFormat, isStream = false, ...form } of forms) {
  const name = [form.format, form.compression, form.options?.subformat].filter(Boolean).join(' ');
  test(`an image exports as ${name}, equal to what went in`, async () => {
    const before = folderBytes(join(file('data'), 'objects'));
    const job = await service.runJob(`/images/${image.id}/exports`, {
      ...form,
      bucket: 'outgoing',
      key: name,
    });
    const grown = folderBytes(join(file('data'), 'objects')) - before;
    assert.equal(grown, isStream ? job.result?.lengthBytes : 0, 'only a form without a length is stored');
    const path = `/buckets/outgoing/objects/${encodeURIComponent(name)}`;
    const bytes = await service.bytes(path);
    const target = file('exported');
    writeFileSync(target, bytes);
    qemuImg('compare', '-f', qemuFormat, '-F', 'raw', target, file('disk.raw'));
    if (!['raw', 'vpc'].includes(qemuFormat)) qemuImg('check', '-f', qemuFormat, target);
    const source = await fileSource(target);
    const disk = await openDisk(source, { references: denyReferences, format: form.format });
    assert.equal(await diskDigest(disk), image.diskDigest);
    await disk.close();
    await source.close();
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(300_000), async (from, length) => {
        const to = Math.min(bytes.length - 1, from + length);
        const part = await service.bytes(path, { range: `bytes=${from}-${to}` });
        assert.ok(Buffer.from(part).equals(bytes.subarray(from, to + 1)));
      }),
      { numRuns: 20 },
    );
  });
}

test('every view is the same file under /as, with length, ETag, ranges and conditions', async () => {
  const path = `/images/${image.id}/as/vdi`;
  const head = await service.fetch(path, { method: 'HEAD' });
  const etag = head.headers.get('etag') ?? '';
  const bytes = await service.bytes(path);
  assert.equal(Number(head.headers.get('content-length')), bytes.length);
  assert.deepEqual(await service.bytes('/buckets/outgoing/objects/vdi'), bytes);
  const ranged = async (headers: Record<string, string>) => service.fetch(path, { headers });
  const same = await ranged({ range: 'bytes=-512', 'if-range': etag });
  assert.equal(same.status, 206);
  assert.deepEqual(new Uint8Array(await same.arrayBuffer()), bytes.slice(-512));
  const other = await ranged({ range: 'bytes=0-0', 'if-range': '"another"' });
  assert.equal(other.status, 200);
  await other.body?.cancel();
  assert.equal((await ranged({ range: `bytes=${bytes.length}-` })).status, 416);
  assert.equal((await ranged({ 'if-none-match': etag })).status, 304);
  const options = await service.fetch(`/images/${image.id}/as/qcow2?cluster_size=4096&compat=0.10`, {
    method: 'HEAD',
  });
  assert.equal(options.status, 200);
});

test('a form without a length is refused as a view, with what to do', async () => {
  const answer = await service.json<{ error: { code: string; hint: string } }>(
    'GET',
    `/images/${image.id}/as/qcow2?compression=zlib`,
    409,
  );
  assert.equal(answer.error.code, 'NOT_A_VIEW');
  assert.match(answer.error.hint, /export/);
  const unknown = await service.fetch(`/images/${image.id}/as/qcow2?compression=lz4`);
  assert.equal(unknown.status, 400);
  await unknown.body?.cancel();
});

test('an export that was canceled leaves nothing, and a retry makes it whole', async () => {
  const objects = join(file('data'), 'objects');
  const before = folderBytes(objects);
  const request = { format: 'qcow2', compression: 'zlib', bucket: 'outgoing', key: 'canceled.qcow2' };
  const { id } = await service.startJob(`/images/${image.id}/exports`, request);
  await service.json('POST', `/jobs/${id}/cancel`, 200);
  assert.equal((await service.ended(id)).state, 'canceled');
  await service.json('GET', '/buckets/outgoing/objects/canceled.qcow2', 404);
  assert.equal(folderBytes(objects), before);
  await service.json('POST', `/jobs/${id}/retry`, 200);
  const job = await service.ended(id);
  assert.equal(job.state, 'succeeded', JSON.stringify(job.error));
  assert.equal(folderBytes(objects) - before, job.result?.lengthBytes);
});

test('stored bytes instead of a view are the same file', async () => {
  const request = { format: 'qcow2', bucket: 'outgoing', key: 'bytes.qcow2', materialize: true };
  const job = await service.runJob(`/images/${image.id}/exports`, request);
  assert.equal(job.result?.storedBytes, job.result?.lengthBytes);
  assert.deepEqual(
    await service.bytes('/buckets/outgoing/objects/bytes.qcow2'),
    await service.bytes(`/images/${image.id}/as/qcow2`),
  );
});

test('an image that is streamed in is the same image; it needs a format that decodes front to back', async () => {
  const post = (name: string, format: string, bytes: Uint8Array) =>
    service.fetch(`/images/stream?name=${name}&format=${format}`, {
      method: 'POST',
      body: new Uint8Array(bytes),
    });
  for (const [format, form] of [
    ['raw', 'raw'],
    ['qcow2', 'qcow2'],
    ['vdi', 'vdi'],
    ['vmdk', 'vmdk'],
    ['vhd', 'vhd'],
    ['vhd', 'vhd?subformat=fixed'],
    ['oci', 'oci'],
  ] as const) {
    const response = await post(
      `streamed-${format}`,
      format,
      await service.bytes(`/images/${image.id}/as/${form}`),
    );
    const { image: streamed } = (await response.json()) as { image: ImageBody };
    assert.equal(response.status, 201);
    assert.equal(streamed.diskDigest, image.diskDigest);
  }
  // How long what is inside is, only its end tells.
  const packed = await post(
    'streamed-gz',
    'raw.gz',
    gzipSync(readFileSync(file('disk.raw')).subarray(0, MIB)),
  );
  assert.equal(packed.status, 422);
  assert.equal(((await packed.json()) as { error: { code: string } }).error.code, 'IMAGE_NOT_SEQUENTIAL');
});

test('the same content in another format is stored once', async () => {
  const vault = join(file('data'), 'vault');
  const before = folderBytes(vault);
  const again = await service.importBytes('web-again', readFileSync(file('disk.qcow2')));
  const asVmdk = await service.importBytes('web-vmdk', await service.bytes(`/images/${image.id}/as/vmdk`));
  assert.equal(again.diskDigest, image.diskDigest);
  assert.equal(asVmdk.diskDigest, image.diskDigest);
  assert.ok(folderBytes(vault) - before < MIB, 'no block is stored again');
});

test('a view outlives its image, collections included, until it is deleted itself', async () => {
  const raw = readFileSync(file('disk.raw')).subarray(0, 64 * MIB);
  const other = await service.importBytes('short-lived', raw, 'raw');
  await service.runJob(`/images/${other.id}/exports`, { format: 'vdi', bucket: 'outgoing', key: 'kept.vdi' });
  const shown = await service.bytes('/buckets/outgoing/objects/kept.vdi');
  await service.json('DELETE', `/images/${other.id}`, 204);
  await service.json('GET', `/images/${other.id}`, 404);
  await service.runJob('/vault/gc');
  assert.deepEqual(await service.bytes('/buckets/outgoing/objects/kept.vdi'), shown);
  await service.json('DELETE', '/buckets/outgoing/objects/kept.vdi', 204);
  const collected = await service.runJob('/vault/gc');
  assert.ok(Number(collected.result?.manifestCount) > 0, 'nothing shows the image any more');
  await service.requireCleanVault();
});

test('a request that is sent again with its key starts no second job', async () => {
  const send = (name: string) =>
    service.fetch('/images', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': 'once' },
      body: JSON.stringify({ name, source: { bucket: 'incoming', key: 'web' } }),
    });
  const first = (await (await send('twice')).json()) as { job: { id: string } };
  const second = (await (await send('twice')).json()) as { job: { id: string } };
  assert.equal(second.job.id, first.job.id);
  assert.equal((await send('other')).status, 422);
  await service.ended(first.job.id);
});
