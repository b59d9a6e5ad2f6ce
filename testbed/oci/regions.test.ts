import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { models } from 'oci-core';
import { models as storageModels } from 'oci-objectstorage';
import { digestOf, quickly, type ServiceWithImages, startWithImages } from './images.testkit.ts';
import { BUCKET, NAMESPACE, patterned } from './object-storage.testkit.ts';

const BLOCK = 256 * 1024;

/** A port that was free a moment ago: two services that know each other's address need theirs beforehand. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  assert.ok(typeof address === 'object' && address !== null);
  return address.port;
}

/** Two services that are regions of one realm. */
async function startRealm(t: TestContext): Promise<{ north: ServiceWithImages; south: ServiceWithImages }> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-realm-'));
  t.after(() => rm(folder, { recursive: true }));
  const realmKeyFile = join(folder, 'realm.key');
  await writeFile(realmKeyFile, randomBytes(32));
  const [north, south] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  return {
    north: await startWithImages(t, {
      region: 'north',
      listen: north,
      realmKeyFile,
      peers: [`south=http://${south}`],
    }),
    south: await startWithImages(t, {
      region: 'south',
      listen: south,
      realmKeyFile,
      peers: [`north=http://${north}`],
    }),
  };
}

/** Imports a raw disk and exports it as an archive into the bucket; gives the image's digest. */
async function archived(region: ServiceWithImages, name: string, disk: Uint8Array): Promise<string> {
  await region.put(`${name}.raw`, disk);
  const image = await region.imported(`${name}.raw`, {
    displayName: name,
    imageSourceDetails: region.source(`${name}.raw`, { sourceImageType: 'RAW' }),
  });
  const exported = await region.compute.waiters.forExportImage({
    imageId: image.id,
    exportImageDetails: {
      ...region.source(`${name}.oci`),
      destinationType: 'objectStorageTuple',
      exportFormat: 'OCI',
    } as models.ExportImageViaObjectStorageTupleDetails,
  });
  assert.equal(exported.workRequestResponse.workRequest.status, 'SUCCEEDED');
  const { items } = await region.native(`/images?name=${name}`);
  return items[0].diskDigest;
}

async function addressToRead(region: ServiceWithImages, objectName: string): Promise<string> {
  const { preauthenticatedRequest } = await region.storage.createPreauthenticatedRequest({
    ...region.at,
    createPreauthenticatedRequestDetails: {
      name: 'to read',
      accessType: storageModels.CreatePreauthenticatedRequestDetails.AccessType.ObjectRead,
      objectName,
      timeExpires: new Date(Date.now() + 3_600_000),
    },
  });
  return `${region.running.ociEndpoint}${preauthenticatedRequest.accessUri}`;
}

test('an image crosses regions as an object, then tenancies by an address, and is the same disk', async (t) => {
  const { north, south } = await startRealm(t);
  const disk = Buffer.concat([patterned(5 * BLOCK), Buffer.alloc(7 * BLOCK), patterned(BLOCK + 512, 9)]);
  const digest = await archived(north, 'vm', disk);
  assert.equal(digest, await digestOf(disk, 'raw'));

  const { opcWorkRequestId } = await north.storage.copyObject({
    ...north.at,
    copyObjectDetails: {
      sourceObjectName: 'vm.oci',
      destinationRegion: 'south',
      destinationNamespace: NAMESPACE,
      destinationBucket: BUCKET,
      destinationObjectName: 'from-north.oci',
    },
  });
  const copy = await north.storage.createWaiters(quickly).forWorkRequest({ workRequestId: opcWorkRequestId });
  assert.equal(copy?.workRequest.status, 'COMPLETED');
  const arrived = await south.imported('from-north.oci', { displayName: 'arrived' });
  assert.equal(arrived.lifecycleState, 'AVAILABLE');
  assert.equal((await south.native('/images?name=arrived')).items[0].diskDigest, digest);

  const address = await addressToRead(south, 'from-north.oci');
  const partner = await south.native('/tenancies', { json: { name: 'partner' } });
  const { job } = await south.native('/images', {
    token: partner.token,
    json: { name: 'given', source: { url: address } },
  });
  for (let state = ''; state !== 'succeeded'; ) {
    const now = await south.native(`/jobs/${job.id}`, { token: partner.token });
    assert.notEqual(now.state, 'failed', JSON.stringify(now.error));
    state = now.state;
  }
  const given = await south.native('/images?name=given', { token: partner.token });
  assert.equal(given.items[0].diskDigest, digest);
  assert.deepEqual((await south.native('/images?name=given')).items, []);
});

test('the second replication of an image that changed a little sends what changed', async (t) => {
  const { north, south } = await startRealm(t);
  const first = Buffer.concat([patterned(9 * BLOCK), Buffer.alloc(BLOCK), patterned(6 * BLOCK, 5)]);
  const second = Buffer.from(first);
  second.fill(1, 3 * BLOCK + 100, 3 * BLOCK + 101);
  second.fill(2, 12 * BLOCK, 12 * BLOCK + 9);
  const fetched: string[] = [];
  for (const [name, disk] of Object.entries({ first, second })) {
    const digest = await archived(north, name, disk);
    const sourceUri = await addressToRead(north, `${name}.oci`);
    const { workRequestResponse } = await south.compute.waiters.forCreateImage({
      createImageDetails: {
        compartmentId: south.admin.tenancyId,
        displayName: name,
        imageSourceDetails: {
          sourceType: 'objectStorageUri',
          sourceUri,
        } as models.ImageSourceViaObjectStorageUriDetails,
      },
    });
    const { id, status } = workRequestResponse.workRequest;
    assert.equal(status, 'SUCCEEDED', (await south.errorsOf(id)).join());
    assert.equal((await south.native(`/images?name=${name}`)).items[0].diskDigest, digest);
    fetched.push(...(await south.logOf(id)).flatMap((line) => /of \d+ blocks.*/.exec(line) ?? []));
  }
  assert.deepEqual(fetched, [
    'of 15 blocks 0 were here, 15 were fetched',
    'of 15 blocks 13 were here, 2 were fetched',
  ]);
});
