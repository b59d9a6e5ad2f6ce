import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { models } from 'oci-objectstorage';
import { BUCKET, bytesOf, hashOf, patterned, refused, startWithBucket } from './object-storage.testkit.ts';

type Details = Partial<models.CreatePreauthenticatedRequestDetails>;
const { AccessType } = models.CreatePreauthenticatedRequestDetails;

const IN_AN_HOUR = new Date(Date.now() + 3_600_000);

async function startWithPars(t: Parameters<typeof startWithBucket>[0]) {
  const service = await startWithBucket(t);
  const create = async (details: Details, storage = service.storage) => {
    const createPreauthenticatedRequestDetails = {
      name: 'par',
      accessType: AccessType.ObjectRead,
      timeExpires: IN_AN_HOUR,
      ...details,
    };
    const request = { ...service.at, createPreauthenticatedRequestDetails };
    return (await storage.createPreauthenticatedRequest(request)).preauthenticatedRequest;
  };
  /** The whole address of one. */
  const url = async (details: Details, storage = service.storage) =>
    `${service.running.ociEndpoint}${(await create(details, storage)).accessUri}`;
  return { ...service, create, url };
}

test('a request for an object is made, listed, shown and deleted, its address told once', async (t) => {
  const { storage, at, create, running } = await startWithPars(t);
  await storage.putObject({ ...at, objectName: 'dir/vm 1.oci', putObjectBody: 'image' });
  const par = await create({ objectName: 'dir/vm 1.oci' });
  assert.match(par.accessUri, /^\/p\/[\w-]{43}\/n\/main\/b\/My_Bucket\.1\/o\/dir%2Fvm%201\.oci$/);
  assert.equal(par.fullPath, `${running.ociEndpoint}${par.accessUri}`);
  const answer = await fetch(par.fullPath ?? '');
  assert.equal(await answer.text(), 'image');
  const { items } = await storage.listPreauthenticatedRequests({ ...at, objectNamePrefix: 'dir/' });
  assert.deepEqual(
    items.map(({ id, name, objectName, accessType }) => ({ id, name, objectName, accessType })),
    [{ id: par.id, name: 'par', objectName: 'dir/vm 1.oci', accessType: 'ObjectRead' }],
  );
  const got = await storage.getPreauthenticatedRequest({ ...at, parId: par.id });
  assert.ok(!JSON.stringify([items, got]).includes(par.accessUri.split('/')[2] ?? ''));
  await storage.deletePreauthenticatedRequest({ ...at, parId: par.id });
  assert.equal((await fetch(par.fullPath ?? '')).status, 404);
  await refused(storage.getPreauthenticatedRequest({ ...at, parId: par.id }), 404, 'NotAuthorizedOrNotFound');
});

test('plain clients read, write and look through an address', async (t) => {
  const { storage, at, url } = await startWithPars(t);
  const folder = await mkdtemp(join(tmpdir(), 'gantry-par-'));
  t.after(() => rm(folder, { recursive: true }));
  const content = patterned(300_000);
  await writeFile(join(folder, 'sent'), content);
  const address = await url({ accessType: AccessType.ObjectReadWrite, objectName: 'k' });
  const curl = async (...args: string[]) => (await promisify(execFile)('curl', ['-sS', ...args])).stdout;
  await curl(
    '-f',
    '-H',
    'opc-meta-version: 2',
    '-H',
    'expect: 100-continue',
    '-T',
    join(folder, 'sent'),
    address,
  );
  await curl('-f', '-o', join(folder, 'got'), address);
  assert.ok((await readFile(join(folder, 'got'))).equals(content));
  const head = await curl('-I', address);
  assert.match(head, /^content-length: 300000\r?$/im);
  assert.match(head, /^opc-meta-version: 2\r?$/im);
  assert.match(
    head,
    new RegExp(`^content-md5: ${hashOf('md5', content).replace(/[+/]/g, '\\$&')}\r?$`, 'im'),
  );
  assert.equal(await curl('-r', '10-19', address), content.subarray(10, 20).toString());
  const shown = await fetch(`${address}?httpResponseContentDisposition=attachment%3B%20filename%3Dx`);
  assert.equal(shown.headers.get('content-disposition'), 'attachment; filename=x');
  assert.equal(shown.headers.get('content-security-policy'), 'sandbox');
  await shown.body?.cancel();
  assert.equal((await storage.headObject({ ...at, objectName: 'k' })).contentLength, 300_000);
  const again = await fetch(address, { method: 'PUT', body: 'x', headers: { 'if-none-match': '*' } });
  assert.equal(again.status, 412);
});

test('an address for a prefix leads to its objects, and lists them when it may', async (t) => {
  const { storage, at, url } = await startWithPars(t);
  for (const objectName of ['a/1', 'a/2', 'b/1']) {
    await storage.putObject({ ...at, objectName, putObjectBody: objectName });
  }
  const listing = { bucketListingAction: 'ListObjects', objectName: 'a/' };
  const folder = await url({ accessType: AccessType.AnyObjectRead, ...listing });
  assert.ok(folder.endsWith('/o/'));
  assert.equal(await (await fetch(`${folder}a%2F1`)).text(), 'a/1');
  assert.equal(await (await fetch(`${folder}a/2`)).text(), 'a/2');
  const names = async (query: string) => {
    const answer = (await (await fetch(`${folder}${query}`)).json()) as { objects: { name: string }[] };
    return answer.objects.map(({ name }) => name);
  };
  assert.deepEqual(await names(''), ['a/1', 'a/2']);
  assert.deepEqual(await names('?prefix=a/2'), ['a/2']);
  assert.deepEqual(await names('?prefix=b'), []);
  assert.deepEqual(await names('?start=b'), []);
  assert.equal((await fetch(`${folder}a/absent`)).status, 404);
  const silent = await url({ accessType: AccessType.AnyObjectRead });
  assert.equal((await fetch(silent)).status, 404);
  assert.equal((await fetch(`${silent}b/1`)).status, 200);
});

test('a large object is written in parts through an address', async (t) => {
  const { storage, at, url, running } = await startWithPars(t);
  const address = await url({ accessType: AccessType.AnyObjectWrite, objectName: 'up/' });
  const begun = await fetch(`${address}up%2Fbig%20one/id/x`, {
    method: 'PUT',
    headers: { 'opc-multipart': 'true', 'opc-meta-a': 'b', 'content-type': 'x/y' },
  });
  const { accessUri, uploadId, object } = (await begun.json()) as {
    accessUri: string;
    uploadId: string;
    object: string;
  };
  assert.equal(object, 'up/big one/id/x');
  assert.ok(accessUri.endsWith(`/u/up%2Fbig%20one%2Fid%2Fx/id/${uploadId}/`), accessUri);
  const upload = `${running.ociEndpoint}${accessUri}`;
  const parts = [patterned(100_000, 2), patterned(7, 3)];
  for (const [index, body] of parts.entries()) {
    const sent = await fetch(`${upload}${index + 1}`, { method: 'PUT', body });
    assert.equal(sent.status, 200, await sent.text());
  }
  assert.equal((await fetch(`${upload}0`, { method: 'PUT', body: 'x' })).status, 400);
  // Another address, good for the same object, does not lead to this upload.
  const other = await url({ accessType: AccessType.AnyObjectWrite });
  const stolen = upload.replace(/\/p\/[^/]+/, `/p/${other.split('/p/')[1]?.split('/')[0]}`);
  assert.equal((await fetch(`${stolen}3`, { method: 'PUT', body: 'x' })).status, 404);
  const committed = await fetch(upload, { method: 'POST' });
  assert.match(committed.headers.get('opc-multipart-md5') ?? '', /-2$/);
  const got = await storage.getObject({ ...at, objectName: object });
  assert.ok((await bytesOf(got)).equals(Buffer.concat(parts)));
  assert.equal(got.contentType, 'x/y');
  assert.deepEqual({ ...got.opcMeta }, { 'opc-meta-a': 'b' });

  const second = await fetch(`${address}up/two`, { method: 'PUT', headers: { 'opc-multipart': 'true' } });
  const aborted = `${running.ociEndpoint}${((await second.json()) as { accessUri: string }).accessUri}`;
  assert.equal((await fetch(aborted, { method: 'DELETE' })).status, 204);
  assert.equal((await fetch(`${aborted}1`, { method: 'PUT', body: 'x' })).status, 404);
  assert.deepEqual((await storage.listMultipartUploads(at)).items, []);
});

test('an address that is revoked ends at once, also in the middle of an upload', async (t) => {
  const { storage, at, create, running } = await startWithPars(t);
  const par = await create({ accessType: AccessType.ObjectWrite, objectName: 'k' });
  const headers = { 'opc-multipart': 'true' };
  const begun = await fetch(`${running.ociEndpoint}${par.accessUri}`, { method: 'PUT', headers });
  const upload = `${running.ociEndpoint}${((await begun.json()) as { accessUri: string }).accessUri}`;
  assert.equal((await fetch(`${upload}1`, { method: 'PUT', body: 'x' })).status, 200);
  await storage.deletePreauthenticatedRequest({ ...at, parId: par.id });
  assert.equal((await fetch(`${upload}2`, { method: 'PUT', body: 'x' })).status, 404);
  assert.equal((await fetch(upload, { method: 'POST' })).status, 404);
  assert.equal((await fetch(upload, { method: 'DELETE' })).status, 404);
});

/** Sends a path as it is. */
function ask(address: string, path: string, method = 'GET'): Promise<{ status: number; body: string }> {
  const { hostname, port } = new URL(address);
  return new Promise((resolve, reject) => {
    const request = http.request({ method, hostname, port, path }, (answer) => {
      let body = '';
      answer.on('data', (chunk) => {
        body += chunk;
      });
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
    });
    request.on('error', reject);
    request.end();
  });
}

test('an address is good for nothing but what it names, whatever its path is made to look like', async (t) => {
  const { storage, at, create, running, native, admin } = await startWithPars(t);
  for (const objectName of ['secret', 'a/k', 'a/../secret']) {
    await storage.putObject({ ...at, objectName, putObjectBody: 'secret' });
  }
  const otherBucket = { name: 'other', compartmentId: admin.tenancyId };
  await storage.createBucket({ namespaceName: 'main', createBucketDetails: otherBucket });
  await storage.putObject({ ...at, bucketName: 'other', objectName: 'a/k', putObjectBody: 'secret' });
  await native('/tenancies', { json: { name: 'foreign', administratorName: 'x' } });
  const { accessUri } = await create({ accessType: AccessType.ObjectRead, objectName: 'a/k' });
  const good = `/oci${accessUri}`;
  assert.equal((await ask(running.address, good)).status, 200);
  assert.equal((await ask(running.address, `${good}?x=%zz`)).status, 200);
  const base = good.slice(0, good.indexOf('/n/'));
  const answers = new Set<string>();
  for (const path of [
    `${base}/n/main/b/${BUCKET}/o/secret`,
    `${base}/n/main/b/${BUCKET}/o/absent`,
    `${base}/n/main/b/${BUCKET}/o/a%2Fk%2F..%2F..%2Fsecret`,
    `${base}/n/main/b/${BUCKET}/o/a/k/../../secret`,
    `${base}/n/main/b/${BUCKET}/o/..%2Fo%2Fa%2Fk`,
    `${base}/n/main/b/${BUCKET}/o/a%252Fk`,
    `${base}/n/main/b/${BUCKET}/o/a%2Fk%00`,
    `${base}/n/main/b/${BUCKET}/o/a%2Fk%2F`,
    `${base}/n/main/b/${BUCKET}/o/A%2FK`,
    `${base}/n/main/b/${BUCKET}/o/`,
    `${base}/n/main/b/other/o/a%2Fk`,
    `${base}/n/main/b/${BUCKET}%2F..%2Fother/o/a%2Fk`,
    `${base}/n/foreign/b/${BUCKET}/o/a%2Fk`,
    `${base}x/n/main/b/${BUCKET}/o/a%2Fk`,
    `${base.slice(0, -1)}/n/main/b/${BUCKET}/o/a%2Fk`,
    `${base}%00/n/main/b/${BUCKET}/o/a%2Fk`,
    `${base}%20/n/main/b/${BUCKET}/o/a%2Fk`,
    `${base.slice(0, -1)}%${base.charCodeAt(base.length - 1).toString(16)}0/n/main/b/${BUCKET}/o/a%2Fk`,
    `/oci/p/%2e%2e/n/main/b/${BUCKET}/o/a%2Fk`,
  ]) {
    const { status, body } = await ask(running.address, path);
    assert.equal(status, 404, `${path}: ${body}`);
    answers.add(body);
  }
  assert.equal(answers.size, 1, [...answers].join('\n'));
  const unsigned = [
    `${base}/n/main/b/${BUCKET}`,
    `${base}/n/main/b/${BUCKET}/o`,
    `${base}/../n/main/b/${BUCKET}/o/a%2Fk`,
    `${base}/n/main/b/${BUCKET}/p`,
  ];
  for (const path of unsigned) {
    const { status } = await ask(running.address, path);
    assert.ok(status >= 400 && status < 500, `${path}: ${status}`);
  }
  for (const method of ['PUT', 'DELETE', 'POST', 'PATCH', 'OPTIONS']) {
    assert.equal((await ask(running.address, good, method)).status, 404, method);
  }
});

test('an address of a user who lost the rights, or is gone, is good for nothing', async (t) => {
  const service = await startWithPars(t);
  const { storage, at, url, native } = service;
  await storage.putObject({ ...at, objectName: 'k', putObjectBody: 'x' });
  const member = await service.member('sharer');
  const theirs = service.storageOf(member);
  await refused(url({ objectName: 'k' }, theirs), 404, 'BucketNotFound');
  const { tenancy } = await native('/whoami');
  const grants = [];
  for (const resource of ['buckets', 'objects']) {
    const json = { verb: 'manage', resource, compartmentId: tenancy.id };
    grants.push(await native(`/users/${member.id}/grants`, { json }));
  }
  const address = await url({ objectName: 'k' }, theirs);
  assert.equal((await fetch(address)).status, 200);
  await native(`/users/${member.id}/grants/${grants[1].id}`, { method: 'DELETE' });
  assert.equal((await fetch(address)).status, 404);
  await native(`/users/${member.id}/grants`, {
    json: { verb: 'read', resource: 'objects', compartmentId: tenancy.id },
  });
  assert.equal((await fetch(address)).status, 200);
  await native(`/users/${member.id}`, { method: 'DELETE' });
  assert.equal((await fetch(address)).status, 404);
});
