import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { type JobBody, qemuImg, ServiceProcess, temporaryFolder } from './service.testkit.ts';

const MIB = 1024 * 1024;
const folder = temporaryFolder('refusals');
const file = (name: string) => join(folder.path, name);
let service: ServiceProcess;

before(async () => {
  service = await ServiceProcess.start(file('data'));
  await service.json('POST', '/buckets', 201, { name: 'incoming' });
});
after(async () => {
  await service.stop();
  folder.remove();
});
afterEach(async () => {
  assert.deepEqual(await service.images(), [], 'the image never appears');
  await service.runJob('/vault/gc');
  await service.requireCleanVault();
});

async function failedImport(request: { source: unknown; format?: string }): Promise<JobBody> {
  const job = await service.ended((await service.startJob('/images', { name: 'refused', ...request })).id);
  assert.equal(job.state, 'failed', JSON.stringify(job));
  return job;
}

async function failedObject(bytes: Uint8Array, format?: string): Promise<JobBody> {
  await service.put('/buckets/incoming/objects/image', bytes);
  return failedImport({ source: { bucket: 'incoming', key: 'image' }, ...(format && { format }) });
}

function noiseImage(lengthBytes: number, format: string): Buffer {
  writeFileSync(file('noise.raw'), randomBytes(lengthBytes));
  qemuImg('convert', '-f', 'raw', '-O', format, file('noise.raw'), file('noise'));
  return readFileSync(file('noise'));
}

test('a truncated qcow2 is refused before a byte is stored, saying where it ends', async () => {
  const image = noiseImage(8 * MIB, 'qcow2');
  const { error } = await failedObject(image.subarray(0, 5 * MIB));
  assert.equal(error?.code, 'IMAGE_TRUNCATED');
  assert.match(error?.hint ?? '', /copy or download it again/);
});

test('a wrong declared format is refused, and never guessed instead', async () => {
  const { error } = await failedObject(noiseImage(MIB, 'qcow2'), 'vdi');
  assert.equal(error?.code, 'IMAGE_MALFORMED');
});

test('a qcow2 with a backing file is refused by the name that it gives', async () => {
  writeFileSync(file('base.raw'), new Uint8Array(MIB));
  qemuImg('create', '-f', 'qcow2', '-b', file('base.raw'), '-F', 'raw', file('overlay.qcow2'));
  const { error } = await failedObject(readFileSync(file('overlay.qcow2')));
  assert.equal(error?.code, 'IMAGE_REFERENCE');
  assert.match(error?.message ?? '', /base\.raw/);
});

test('a VMDK descriptor that names /etc/passwd is refused, and the file is not opened', async () => {
  const descriptor = [
    '# Disk DescriptorFile',
    'version=1',
    'CID=12345678',
    'parentCID=ffffffff',
    'createType="monolithicFlat"',
    'RW 8 FLAT "/etc/passwd" 0',
    '',
  ].join('\n');
  const { error } = await failedObject(Buffer.from(descriptor));
  assert.equal(error?.code, 'IMAGE_REFERENCE');
});

/** Sends the head of a request and part of its body, then goes away. */
async function breakOff(head: string, sentBytes: number): Promise<void> {
  const { port, hostname } = new URL(service.address);
  const token = /token = "(.+)"/.exec(readFileSync(join(file('data'), 'client.toml'), 'utf8'))?.[1];
  const socket = connect(Number(port), hostname);
  const lines = [
    head,
    'Host: gantry',
    `Authorization: Bearer ${token}`,
    `Content-Length: ${20 * MIB}`,
    '',
    '',
  ];
  socket.resume();
  socket.write(lines.join('\r\n'));
  socket.write(randomBytes(sentBytes), () => socket.end());
  await once(socket, 'close');
}

test('an upload that breaks off leaves no object', async () => {
  await breakOff('PUT /api/v1/buckets/incoming/objects/broken HTTP/1.1', 5 * MIB);
  await service.json('GET', '/buckets/incoming/objects/broken', 404);
});

test('an image that is streamed in and breaks off never appears', async () => {
  await breakOff('POST /api/v1/images/stream?name=broken&format=raw HTTP/1.1', 3 * MIB);
  const { items } = await service.json<{ items: JobBody[] }>('GET', '/jobs?limit=1', 200);
  const job = await service.ended(items[0]!.id);
  assert.equal(job.state, 'failed', JSON.stringify(job));
  assert.equal(job.error?.code, 'UPLOAD_INCOMPLETE');
});

test('a source that changes while it is imported is refused', async () => {
  const versions = [randomBytes(64 * MIB), randomBytes(64 * MIB)];
  let requests = 0;
  const server = createServer((request, response) => {
    const version = requests++ < 8 ? 0 : 1;
    const bytes = versions[version]!;
    const [, from = '0', to = ''] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? [];
    const end = to === '' ? bytes.length : Math.min(bytes.length, Number(to) + 1);
    const etag = `"version-${version}"`;
    const expected = request.headers['if-match'];
    if (expected !== undefined && expected !== etag) return void response.writeHead(412).end();
    response.writeHead(206, {
      etag,
      'content-range': `bytes ${from}-${end - 1}/${bytes.length}`,
      'content-length': end - Number(from),
    });
    response.end(bytes.subarray(Number(from), end));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk.raw?signature=secret`;
  const job = await failedImport({ source: { url }, format: 'raw' });
  server.close();
  assert.equal(job.error?.code, 'STORE_CHANGED');
  assert.doesNotMatch(JSON.stringify(job), /secret/, 'what may be a secret stands in no job');
});

test('an address inside the network is refused unless the operator allows it', async () => {
  const { error } = await failedImport({ source: { url: 'http://169.254.169.254/latest/meta-data' } });
  assert.equal(error?.code, 'STORE_REFUSED');
});

test('a full disk fails the upload and the import, and both work when there is room', async () => {
  const full = await ServiceProcess.start(file('full'), ['prlimit', `--fsize=${24 * MIB}`]);
  await full.json('POST', '/buckets', 201, { name: 'incoming' });
  const tooLarge = await full.fetch('/buckets/incoming/objects/large', {
    method: 'PUT',
    body: randomBytes(32 * MIB),
  });
  assert.equal(tooLarge.status, 507);
  assert.equal(((await tooLarge.json()) as { error: { code: string } }).error.code, 'STORE_FULL');
  for (const key of ['a', 'b']) await full.put(`/buckets/incoming/objects/${key}`, randomBytes(16 * MIB));
  await full.runJob('/images', { name: 'first', format: 'raw', source: { bucket: 'incoming', key: 'a' } });
  const second = await full.startJob('/images', {
    name: 'second',
    format: 'raw',
    source: { bucket: 'incoming', key: 'b' },
  });
  const failed = await full.ended(second.id);
  assert.equal(failed.error?.code, 'STORE_FULL', JSON.stringify(failed));
  assert.deepEqual(
    (await full.images()).map((image) => image.name),
    ['first'],
  );
  await full.requireCleanVault();
  await full.stop();
  const roomy = await ServiceProcess.start(file('full'));
  await roomy.json('POST', `/jobs/${second.id}/retry`, 200);
  assert.equal((await roomy.ended(second.id)).state, 'succeeded');
  await roomy.requireCleanVault();
  await roomy.stop();
});
