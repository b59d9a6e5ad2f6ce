import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { serve } from '@gantry/service';
import { FixedTimeDelayStrategy, MaxAttemptsTerminationStrategy } from 'oci-common';
import type { models } from 'oci-objectstorage';
import {
  BUCKET,
  bytesOf,
  NAMESPACE,
  patterned,
  refused,
  type ServiceWithBucket,
  startWithBucket,
} from './object-storage.testkit.ts';

const MIB = 1024 * 1024;
const quickly = {
  delayStrategy: new FixedTimeDelayStrategy(0.05),
  terminationStrategy: new MaxAttemptsTerminationStrategy(1000),
};

type CopyDetails = Partial<models.CopyObjectDetails>;

/** Starts a copy from `o` to `p` of the same bucket, unless told otherwise. */
async function startCopy(service: ServiceWithBucket, details: CopyDetails = {}): Promise<string> {
  const copyObjectDetails = {
    sourceObjectName: 'o',
    destinationRegion: 'local',
    destinationNamespace: NAMESPACE,
    destinationBucket: BUCKET,
    destinationObjectName: 'p',
    ...details,
  };
  const { opcWorkRequestId } = await service.storage.copyObject({ ...service.at, copyObjectDetails });
  return opcWorkRequestId;
}

async function ended(service: ServiceWithBucket, workRequestId: string) {
  const { workRequest } =
    (await service.storage.createWaiters(quickly).forWorkRequest({ workRequestId })) ?? {};
  assert.ok(workRequest);
  const { items } = await service.storage.listWorkRequestErrors({ workRequestId });
  return { ...workRequest, errors: items };
}

async function copied(service: ServiceWithBucket, details: CopyDetails = {}) {
  const end = await ended(service, await startCopy(service, details));
  assert.equal(end.status, 'COMPLETED', JSON.stringify(end.errors));
  return end;
}

test('a copy has the bytes and what is said of them, and stays when its source goes', async (t) => {
  const service = await startWithBucket(t);
  const { storage, at, admin } = service;
  const content = patterned(200_000);
  const put = { ...at, objectName: 'o', putObjectBody: content, contentType: 'x/y', opcMeta: { a: 'b' } };
  await storage.putObject(put);
  const end = await copied(service);
  assert.equal(end.operationType, 'COPY_OBJECT');
  assert.equal(end.percentComplete, 100);
  assert.deepEqual(
    end.resources?.map(({ actionType, entityUri }) => [actionType, entityUri]),
    [
      ['READ', `/n/main/b/${BUCKET}/o/o`],
      ['WRITTEN', `/n/main/b/${BUCKET}/o/p`],
    ],
  );
  await storage.deleteObject({ ...at, objectName: 'o' });
  const got = await storage.getObject({ ...at, objectName: 'p' });
  assert.ok((await bytesOf(got)).equals(content));
  assert.equal(got.contentType, 'x/y');
  assert.deepEqual({ ...got.opcMeta }, { 'opc-meta-a': 'b' });
  const compartmentId = admin.tenancyId;
  const { items } = await storage.listWorkRequests({ compartmentId });
  assert.deepEqual(
    items.map(({ id, status }) => [id, status]),
    [[end.id, 'COMPLETED']],
  );
  const logs = await storage.listWorkRequestLogs({ workRequestId: end.id ?? '' });
  assert.ok(logs.items.some(({ message }) => message?.startsWith('phase copy')));
  await refused(storage.cancelWorkRequest({ workRequestId: end.id ?? '' }), 409, 'Conflict');
  // Onto itself, with other metadata.
  await copied(service, {
    sourceObjectName: 'p',
    destinationObjectMetadata: { 'opc-meta-a': 'c' },
    destinationObjectIfMatchETag: got.eTag,
  });
  const again = await storage.getObject({ ...at, objectName: 'p' });
  assert.ok((await bytesOf(again)).equals(content));
  assert.deepEqual({ ...again.opcMeta }, { 'opc-meta-a': 'c' });
});

test('a copy that may not be made is refused, or fails and says why', async (t) => {
  const service = await startWithBucket(t);
  const { storage, at } = service;
  const { eTag } = await storage.putObject({ ...at, objectName: 'o', putObjectBody: 'x' });
  await storage.putObject({ ...at, objectName: 'p', putObjectBody: 'y' });
  await refused(startCopy(service, { sourceObjectName: 'absent' }), 404, 'ObjectNotFound');
  await refused(startCopy(service, { sourceObjectIfMatchETag: 'stale' }), 412, 'IfMatchFailed');
  await refused(startCopy(service, { destinationObjectIfNoneMatchETag: '*' }), 412, 'IfNoneMatchFailed');
  await refused(startCopy(service, { destinationBucket: 'absent' }), 404, 'BucketNotFound');
  await refused(startCopy(service, { destinationNamespace: 'foreign' }), 404, 'BucketNotFound');
  await refused(startCopy(service, { destinationRegion: 'nowhere' }), 400, 'InvalidParameter');
  assert.equal((await bytesOf(await storage.getObject({ ...at, objectName: 'p' }))).toString(), 'y');
  await copied(service, { sourceObjectIfMatchETag: eTag });
});

interface Regions {
  readonly north: ServiceWithBucket;
  readonly south: ServiceWithBucket;
  readonly proxy: Proxy;
  readonly realmKeyFile: string;
}

interface Proxy {
  readonly address: string;
  passedBytes: number;
  /** More than these are not passed on. */
  limitBytes: number;
  readonly stalled: Promise<void>;
  /** Ends all connections: those that stall do not see that their client has gone. */
  cut(): void;
}

/** Two regions of a realm; north sends to south through a proxy. */
async function startRegions(t: TestContext): Promise<Regions> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-realm-'));
  t.after(() => rm(folder, { recursive: true }));
  const realmKeyFile = join(folder, 'realm.key');
  await writeFile(realmKeyFile, randomBytes(32));
  const south = await startWithBucket(t, { region: 'south', realmKeyFile });
  const proxy = await startProxy(t, new URL(south.running.address));
  const peers = [`south=${proxy.address}`];
  const north = await startWithBucket(t, { region: 'north', realmKeyFile, peers });
  return { north, south, proxy, realmKeyFile };
}

async function startProxy(t: TestContext, upstream: URL): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const stalled = Promise.withResolvers<void>();
  const server = createServer((client) => {
    const target = connect(Number(upstream.port), upstream.hostname);
    for (const socket of [client, target]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        client.destroy();
        target.destroy();
      });
    }
    target.pipe(client);
    client.on('data', (chunk) => {
      proxy.passedBytes += chunk.length;
      if (proxy.passedBytes > proxy.limitBytes) {
        client.pause();
        stalled.resolve();
      } else if (!target.write(chunk)) {
        client.pause();
        target.once('drain', () => client.resume());
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const proxy: Proxy = {
    address: `http://127.0.0.1:${port}`,
    passedBytes: 0,
    limitBytes: Number.POSITIVE_INFINITY,
    stalled: stalled.promise,
    cut() {
      for (const socket of sockets) socket.destroy();
    },
  };
  t.after(() => {
    proxy.cut();
    server.close();
  });
  return proxy;
}

const toSouth = { destinationRegion: 'south' };

test('an object is copied to another region, where its user may', async (t) => {
  const { north, south } = await startRegions(t);
  const content = patterned(3 * MIB + 5);
  await north.storage.putObject({
    ...north.at,
    objectName: 'o',
    putObjectBody: content,
    contentType: 'x/y',
    opcMeta: { a: 'b' },
  });
  await copied(north, toSouth);
  const got = await south.storage.getObject({ ...south.at, objectName: 'p' });
  assert.ok((await bytesOf(got)).equals(content));
  assert.equal(got.contentType, 'x/y');
  assert.deepEqual({ ...got.opcMeta }, { 'opc-meta-a': 'b' });
  assert.equal(got.contentMd5, (await north.storage.headObject({ ...north.at, objectName: 'o' })).contentMd5);
  assert.deepEqual((await south.storage.listMultipartUploads(south.at)).items, []);

  const failing = async (details: CopyDetails, from = north) => {
    const end = await ended(from, await startCopy(from, { ...toSouth, ...details }));
    assert.equal(end.status, 'FAILED');
    return end.errors[0]?.code;
  };
  assert.equal(await failing({ destinationObjectIfNoneMatchETag: '*' }), 'PRECONDITION_FAILED');
  assert.equal(await failing({ destinationBucket: 'absent' }), 'NOT_FOUND');
  await copied(north, { ...toSouth, destinationObjectIfMatchETag: got.eTag });

  const member = await north.member('mover');
  const { tenancy } = await north.native('/whoami');
  const json = { verb: 'manage', resource: 'objects', compartmentId: tenancy.id };
  await north.native(`/users/${member.id}/grants`, { json });
  const asMember = { ...north, storage: north.storageOf(member) };
  assert.equal(await failing({}, asMember), 'NOT_FOUND');
  const namesake = await south.member('mover');
  assert.equal(await failing({}, asMember), 'NOT_FOUND');
  const there = (await south.native('/whoami')).tenancy.id;
  await south.native(`/users/${namesake.id}/grants`, { json: { ...json, compartmentId: there } });
  await copied(asMember, toSouth);
  // Of an administrator's name: that makes nobody one there.
  const chief = { name: 'chief', role: 'administrator' };
  await south.native('/users', { json: chief });
  const impostor = await north.member('chief');
  await north.native(`/users/${impostor.id}/grants`, { json });
  assert.equal(await failing({}, { ...north, storage: north.storageOf(impostor) }), 'NOT_FOUND');
  // An empty object has one part, without bytes.
  await north.storage.putObject({ ...north.at, objectName: 'empty', putObjectBody: '' });
  await copied(north, { ...toSouth, sourceObjectName: 'empty', destinationObjectName: 'empty' });
  assert.equal((await south.storage.headObject({ ...south.at, objectName: 'empty' })).contentLength, 0);
});

test('a copy between regions that was broken off goes on with what is missing', async (t) => {
  const { north, south, proxy, realmKeyFile } = await startRegions(t);
  const content = randomBytes(130 * MIB);
  // The SDK cannot send a buffer of this size.
  const stored = await fetch(`${north.running.address}/api/v1/buckets/${BUCKET}/objects/o`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${north.admin.token}` },
    body: content,
  });
  assert.equal(stored.status, 201, await stored.text());
  // Two parts of 64 MiB are sent at once: with more than both passed, they are there.
  proxy.limitBytes = 129 * MIB;
  const id = await startCopy(north, toSouth);
  await proxy.stalled;
  await north.running.stop();
  proxy.cut();
  proxy.limitBytes = Number.POSITIVE_INFINITY;
  proxy.passedBytes = 0;
  const running = await serve({
    dataFolder: north.dataFolder,
    listen: '127.0.0.1:0',
    logLevel: 'fatal',
    region: 'north',
    peers: [`south=${proxy.address}`],
    realmKeyFile,
  });
  t.after(() => running.stop());
  north.storage.endpoint = running.ociEndpoint;
  const end = await ended(north, id);
  assert.equal(end.status, 'COMPLETED', JSON.stringify(end.errors));
  assert.ok(proxy.passedBytes < 70 * MIB, `${proxy.passedBytes} bytes were sent again`);
  const got = await bytesOf(await south.storage.getObject({ ...south.at, objectName: 'p' }));
  assert.equal(
    createHash('sha256').update(got).digest('hex'),
    createHash('sha256').update(content).digest('hex'),
  );
  assert.deepEqual((await south.storage.listMultipartUploads(south.at)).items, []);
});

test('a copy that is canceled while it waits leaves nothing in the other region', async (t) => {
  const { north, south, proxy } = await startRegions(t);
  await north.storage.putObject({ ...north.at, objectName: 'o', putObjectBody: patterned(3 * MIB) });
  proxy.limitBytes = MIB;
  const id = await startCopy(north, toSouth);
  await proxy.stalled;
  // The connection breaks: the copy waits to be tried again, and its upload is there.
  proxy.cut();
  proxy.limitBytes = Number.POSITIVE_INFINITY;
  const waits = async () => {
    const { items } = await north.native('/jobs?kind=object-copy');
    return items[0].state === 'queued' && items[0].attempt > 0;
  };
  while (!(await waits()));
  assert.equal((await south.storage.listMultipartUploads(south.at)).items.length, 1);
  await north.storage.cancelWorkRequest({ workRequestId: id });
  const end = await ended(north, id);
  assert.equal(end.status, 'CANCELED');
  assert.ok(end.timeFinished);
  assert.deepEqual((await south.storage.listMultipartUploads(south.at)).items, []);
});

test('a service that has not the key of the realm is not believed', async (t) => {
  const { south } = await startRegions(t);
  const path = `/realm/v1/namespaces/main/administrators/admin/buckets/${BUCKET}/copies`;
  const body = '{}';
  const ask = async (changes: {
    key?: Buffer;
    region?: string;
    date?: Date;
    body?: string;
    headers?: object;
  }) => {
    const { key = Buffer.alloc(32), region = 'south', date = new Date() } = changes;
    const sha256 = createHash('sha256').update(body).digest('hex');
    const text = ['gantry-realm-1', region, 'POST', path, date.toUTCString(), sha256].join('\n');
    const headers = {
      'content-type': 'application/json',
      'gantry-date': date.toUTCString(),
      'gantry-body-sha256': sha256,
      authorization: `Gantry-Realm ${createHmac('sha256', key).update(text).digest('base64')}`,
    };
    const init = { method: 'POST', headers, body: changes.body ?? body };
    return (await fetch(`${south.running.address}${path}`, init)).status;
  };
  assert.equal(await ask({}), 401);
  const key = randomBytes(32);
  const folder = await mkdtemp(join(tmpdir(), 'gantry-realm-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'key'), key);
  const other = await startWithBucket(t, { region: 'south', realmKeyFile: join(folder, 'key') });
  Object.assign(south.running, { address: other.running.address });
  // Signed as it must be, it is only wrong.
  assert.equal(await ask({ key }), 400);
  assert.equal(await ask({ key, region: 'north' }), 401);
  assert.equal(await ask({ key, date: new Date(Date.now() - 6 * 60_000) }), 401);
  assert.equal(await ask({ key, date: new Date(Date.now() + 6 * 60_000) }), 401);
  assert.equal(await ask({ key, body: '{ }' }), 401);
  assert.equal((await fetch(`${other.running.address}${path}`, { method: 'POST' })).status, 401);
  // Without a key a service answers nobody.
  const alone = await startWithBucket(t, { region: 'south' });
  Object.assign(south.running, { address: alone.running.address });
  assert.equal(await ask({ key }), 401);
});
