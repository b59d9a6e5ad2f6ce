import assert from 'node:assert/strict';
import { test } from 'node:test';
import { models } from 'oci-objectstorage';
import { digestOf, imageBytes, quickly, raw, startWithImages } from './images.testkit.ts';
import { BUCKET, bytesOf, NAMESPACE } from './object-storage.testkit.ts';

const RAW = 'application/vnd.gantry.raw';
const BLOCKS = 'application/vnd.gantry.blocks';

test('an object that shows an image answers in three forms, whatever permission leads to it', async (t) => {
  const service = await startWithImages(t);
  const { storage, at, put, imported, compute, running, admin } = service;
  await put('vm.qcow2', await imageBytes('qcow2'));
  const image = await imported('vm.qcow2');
  await compute.waiters.forExportImage({
    imageId: image.id,
    exportImageDetails: {
      destinationType: 'objectStorageTuple',
      namespaceName: NAMESPACE,
      bucketName: BUCKET,
      objectName: 'vm.vmdk',
      exportFormat: 'VMDK',
    } as never,
  });
  const details = {
    name: 'share',
    accessType: models.CreatePreauthenticatedRequestDetails.AccessType.ObjectRead,
    objectName: 'vm.vmdk',
    timeExpires: new Date(Date.now() + 60_000),
  };
  const made = await storage.createPreauthenticatedRequest({
    ...at,
    createPreauthenticatedRequestDetails: details,
  });
  const guest = Buffer.alloc(Math.ceil(raw.length / 512) * 512);
  raw.copy(guest);
  const digest = await digestOf(raw);
  const file = await bytesOf(await storage.getObject({ ...at, objectName: 'vm.vmdk' }));
  assert.equal(await digestOf(file), digest);
  const copyObjectDetails = {
    sourceObjectName: 'vm.vmdk',
    destinationRegion: 'local',
    destinationNamespace: NAMESPACE,
    destinationBucket: BUCKET,
    destinationObjectName: 'copy.vmdk',
  };
  const { opcWorkRequestId } = await storage.copyObject({ ...at, copyObjectDetails });
  await storage.createWaiters(quickly).forWorkRequest({ workRequestId: opcWorkRequestId });
  const native = `${running.address}/api/v1/buckets/${BUCKET}/objects`;
  const authorization = `Bearer ${admin.token}`;
  for (const [address, headers] of [
    [made.preauthenticatedRequest.fullPath ?? '', {}],
    [`${native}/vm.vmdk`, { authorization }],
    [`${native}/copy.vmdk`, { authorization }],
  ] as const) {
    const ask = (more: Record<string, string>, method = 'GET') =>
      fetch(address, { method, headers: { ...headers, ...more } });
    const whole = await ask({});
    assert.equal(whole.headers.get('gantry-disk-digest'), digest);
    assert.ok(Buffer.from(await whole.arrayBuffer()).equals(file));
    const head = await ask({ accept: RAW }, 'HEAD');
    assert.equal(head.headers.get('content-length'), `${guest.length}`);
    const disk = await ask({ accept: `${RAW}, */*;q=0.1` });
    assert.equal(disk.headers.get('content-type'), RAW);
    assert.equal(disk.headers.get('vary'), 'accept');
    assert.notEqual(disk.headers.get('etag'), whole.headers.get('etag'));
    assert.ok(Buffer.from(await disk.arrayBuffer()).equals(guest));
    const part = await ask({ accept: RAW, range: 'bytes=699990-700009' });
    assert.equal(part.status, 206);
    assert.ok(Buffer.from(await part.arrayBuffer()).equals(guest.subarray(699_990, 700_010)));
    const blocks = await ask({ accept: BLOCKS });
    assert.equal(blocks.headers.get('content-type'), BLOCKS);
    const list = Buffer.from(await blocks.arrayBuffer());
    assert.equal(blocks.headers.get('content-length'), `${list.length}`);
  }
  // Stored bytes are what they are, whatever is accepted.
  const stored = await fetch(`${native}/vm.qcow2`, { headers: { authorization, accept: RAW } });
  assert.equal(stored.headers.get('gantry-disk-digest'), null);
  assert.equal(stored.headers.get('content-type'), 'application/octet-stream');
  await stored.body?.cancel();
  // The copy keeps the image when the object it was made of is gone.
  await storage.deleteObject({ ...at, objectName: 'vm.vmdk' });
  await compute.deleteImage({ imageId: image.id });
  await service.native('/vault/gc', { method: 'POST' });
  const copy = await storage.getObject({ ...at, objectName: 'copy.vmdk' });
  assert.ok((await bytesOf(copy)).equals(file));
});
