import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import {
  convert,
  denyReferences,
  diskDigest,
  memorySink,
  memorySource,
  openDisk,
  tarMembers,
} from '@gantry/disk';
import { errorCode, patterned, startService, type TestService } from './service.testkit.ts';

const MIB = 1024 * 1024;
const references = denyReferences;

/** A disk with data, zeros and an end that fills no block. */
const raw = Buffer.concat([patterned(700_000), Buffer.alloc(3 * MIB), patterned(512 * 700, 7)]);
const digest = await digestOf(raw, 'raw');

async function digestOf(bytes: Uint8Array, format?: string): Promise<string> {
  return diskDigest(await openDisk(memorySource(bytes), { references, format }));
}

async function imageBytes(format: string, options = {}): Promise<Buffer<ArrayBuffer>> {
  const sink = memorySink();
  const disk = await openDisk(memorySource(raw), { references, format: 'raw' });
  await convert(disk, sink, { format, options });
  return Buffer.from(sink.bytes());
}

interface EndedJob {
  readonly state: string;
  readonly error: { readonly code: string } | null;
  readonly result: { readonly imageId: string; readonly lengthBytes: number };
}

/** Puts bytes into the bucket and starts an import of them; gives the job when it has ended. */
async function importObject(
  service: TestService,
  bytes: Buffer<ArrayBuffer>,
  fields: object = {},
): Promise<EndedJob> {
  await service.call('/buckets/bucket/objects/source', { method: 'PUT', body: bytes });
  const source = { bucket: 'bucket', key: 'source' };
  const { job } = await service.json('/images', { json: { name: 'vm', source, ...fields } }, 202);
  return ended(service, job.id);
}

async function ended(service: TestService, id: string): Promise<EndedJob> {
  for (;;) {
    const job = await service.json(`/jobs/${id}`);
    if (!['queued', 'running'].includes(job.state)) return job;
  }
}

function streamIn(
  service: TestService,
  bytes: Buffer<ArrayBuffer>,
  query: Record<string, string>,
): Promise<Response> {
  const path = `/images/stream?${new URLSearchParams({ name: 'vm', ...query })}`;
  const headers = { 'content-type': 'application/octet-stream' };
  return service.call(path, { method: 'POST', body: bytes, headers });
}

test('archives and compressed images are imported, and the image is of the format inside', async (t) => {
  const service = await startService(t);
  const forms: readonly (readonly [string, Buffer<ArrayBuffer>, string?])[] = [
    ['ova', await imageBytes('ova')],
    ['oci', await imageBytes('oci')],
    ['qcow2', Buffer.from(gzipSync(await imageBytes('qcow2')))],
    ['vmdk', Buffer.from(zstdCompressSync(await imageBytes('vmdk', { subformat: 'streamOptimized' })))],
    ['raw', Buffer.from(gzipSync(raw)), 'raw.gz'],
    ['oci', Buffer.from(gzipSync(await imageBytes('oci')))],
  ];
  for (const [sourceFormat, bytes, format] of forms) {
    const job = await importObject(service, bytes, format === undefined ? {} : { format });
    assert.equal(job.state, 'succeeded', `${sourceFormat}: ${JSON.stringify(job.error)}`);
    const image = await service.json(`/images/${job.result.imageId}`);
    assert.equal(image.diskDigest, digest);
    assert.equal(image.sourceFormat, sourceFormat);
  }
});

test('what is streamed in goes forward: archives, compressed images, every format that can', async (t) => {
  const service = await startService(t);
  const forms: readonly (readonly [string, Buffer<ArrayBuffer>])[] = [
    ['raw', raw],
    ['qcow2', await imageBytes('qcow2')],
    ['vdi', await imageBytes('vdi')],
    ['vhd', await imageBytes('vhd')],
    ['vhdx', await imageBytes('vhdx')],
    ['vmdk', await imageBytes('vmdk', { subformat: 'streamOptimized' })],
    ['oci', await imageBytes('oci')],
    ['ova', await imageBytes('ova')],
    ['gzip', Buffer.from(gzipSync(await imageBytes('qcow2')))],
    ['qcow2.zst', Buffer.from(zstdCompressSync(await imageBytes('qcow2')))],
  ];
  for (const [format, bytes] of forms) {
    const answer = await streamIn(service, bytes, { format });
    const body = (await answer.json()) as { image: { diskDigest: string } };
    assert.equal(answer.status, 201, `${format}: ${JSON.stringify(body)}`);
    assert.equal(body.image.diskDigest, digest, format);
  }
});

test('what cannot be streamed in is refused with what it is', async (t) => {
  const service = await startService(t);
  const ova = await imageBytes('ova');
  for (const [bytes, format, code] of [
    [Buffer.from(gzipSync(raw)), 'raw.gz', 'IMAGE_NOT_SEQUENTIAL'],
    [Buffer.from(gzipSync(Buffer.from(gzipSync(raw)))), 'gzip', 'IMAGE_UNSUPPORTED'],
    [ova.subarray(0, ova.length - 200_000), 'ova', 'IMAGE_TRUNCATED'],
    [Buffer.from(gzipSync(await imageBytes('qcow2'))).subarray(0, -5), 'gzip', 'IMAGE_TRUNCATED'],
  ] as const) {
    const answer = await streamIn(service, Buffer.from(bytes), { format });
    assert.notEqual(answer.status, 201);
    assert.equal(await errorCode(answer), code, format);
  }
  assert.deepEqual((await service.json('/images')).items, []);
});

test('a disk of an archive is chosen by its name', async (t) => {
  const service = await startService(t);
  const ova = await imageBytes('ova');
  const chosen = await importObject(service, ova, { member: 'vmdisk1' });
  assert.equal(chosen.state, 'succeeded');
  const missing = await importObject(service, ova, { member: 'vmdisk7' });
  assert.equal(missing.error?.code, 'IMAGE_OPTION');
  const answer = await streamIn(service, ova, { format: 'ova', member: 'vmdisk1' });
  assert.equal(answer.status, 201);
  await answer.body?.cancel();
});

test('an image is shown as .oci, any range of it, and exported as an OVA', async (t) => {
  const service = await startService(t);
  const { result } = await importObject(service, raw, { format: 'raw' });
  const path = `/images/${result.imageId}/as/oci?firmware=UEFI_64&os=Debian`;
  const answer = await service.call(path);
  assert.equal(answer.status, 200);
  const bytes = Buffer.from(await answer.arrayBuffer());
  assert.equal(await digestOf(bytes), digest);
  const part = await service.call(path, { headers: { range: 'bytes=500-99999' } });
  assert.ok(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(500, 100_000)));

  const request = { format: 'ova', options: { name: 'web' }, bucket: 'bucket', key: 'web.ova' };
  const { job } = await service.json(`/images/${result.imageId}/exports`, { json: request }, 202);
  const exported = await ended(service, job.id);
  assert.equal(exported.state, 'succeeded', JSON.stringify(exported.error));
  const object = await service.call('/buckets/bucket/objects/web.ova');
  const ova = Buffer.from(await object.arrayBuffer());
  assert.equal(ova.length, exported.result.lengthBytes);
  assert.equal(await digestOf(ova, 'ova'), digest);
  const names = [];
  for await (const { name } of tarMembers(memorySource(ova))) names.push(name);
  assert.deepEqual(names, ['web.ovf', 'web-disk1.vmdk', 'web.mf']);
});

test('an image appears when its import succeeds, also at a second try, and not before', async (t) => {
  const service = await startService(t);
  const source = { bucket: 'bucket', key: 'later' };
  const { job } = await service.json('/images', { json: { name: 'vm', format: 'raw', source } }, 202);
  const failed = await ended(service, job.id);
  assert.deepEqual([failed.state, failed.error?.code], ['failed', 'NOT_FOUND']);
  const { imageId } = job.input as { imageId: string };
  assert.equal(await errorCode(await service.call(`/images/${imageId}`)), 'NOT_FOUND');
  assert.deepEqual((await service.json('/images')).items, []);
  await service.call('/buckets/bucket/objects/later', { method: 'PUT', body: raw });
  await service.json(`/jobs/${job.id}/retry`, { method: 'POST' });
  const retried = await ended(service, job.id);
  assert.equal(retried.state, 'succeeded', JSON.stringify(retried.error));
  assert.equal((await service.json(`/images/${imageId}`)).diskDigest, digest);
});

test('what is said of an image is kept and changed, and images of others stay where they are', async (t) => {
  const service = await startService(t);
  const said = {
    operatingSystem: 'Debian',
    operatingSystemVersion: '13',
    launchMode: 'CUSTOM',
    launchOptions: { firmware: 'UEFI_64', networkType: 'E1000' },
    freeformTags: { team: 'moving' },
  };
  const { result } = await importObject(service, raw, { format: 'raw', ...said });
  const image = await service.json(`/images/${result.imageId}`);
  assert.deepEqual(
    [image.state, image.kind, image.operatingSystem, image.launchMode, image.launchOptions.networkType],
    ['available', 'custom', 'Debian', 'CUSTOM', 'E1000'],
  );
  assert.deepEqual(image.freeformTags, said.freeformTags);
  const changes = { name: 'renamed', operatingSystemVersion: '14' };
  const changed = await service.json(`/images/${result.imageId}`, { method: 'PATCH', json: changes });
  assert.deepEqual([changed.name, changed.operatingSystemVersion], ['renamed', '14']);
  assert.deepEqual(changed.freeformTags, said.freeformTags);

  const asked = { json: { format: 'raw', bucket: 'bucket', key: 'out' } };
  for (const kind of ['platform', 'marketplace']) {
    const { result: foreign } = await importObject(service, raw, { name: kind, format: 'raw', kind });
    const answer = await service.call(`/images/${foreign.imageId}/exports`, asked);
    assert.equal(await errorCode(answer), 'INVALID', kind);
  }
  const taken = await service.call('/images', {
    json: { name: 'platform', format: 'raw', source: { bucket: 'bucket', key: 'source' } },
  });
  assert.equal(await errorCode(taken), 'CONFLICT');
  const compatibility = await service.json(
    '/hardware-compatibility?operatingSystem=CentOS&operatingSystemVersion=7',
  );
  assert.deepEqual([compatibility.x5OnX7, compatibility.x6Elsewhere], ['kernel', 'no']);
});

test('a disk that is larger than the operator allows is not imported', async (t) => {
  const service = await startService(t, 'bucket', { imageSizeMaxBytes: raw.length - 1 });
  const job = await importObject(service, raw, { format: 'raw' });
  assert.equal(job.error?.code, 'TOO_LARGE');
});
