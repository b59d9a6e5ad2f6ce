import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { models } from 'oci-core';
import { models as storageModels } from 'oci-objectstorage';
import { digestOf, imageBytes, quickly, raw, startReceiver, startWithImages } from './images.testkit.ts';
import { BUCKET, NAMESPACE, patterned, refused } from './object-storage.testkit.ts';

const { AccessType } = storageModels.CreatePreauthenticatedRequestDetails;
const BLOCK = 256 * 1024;

function byUri(sourceUri: string): models.CreateImageDetails['imageSourceDetails'] & object {
  return { sourceType: 'objectStorageUri', sourceUri } as models.ImageSourceViaObjectStorageUriDetails;
}

test('images are imported from addresses of the service: an object, and pre-authenticated requests', async (t) => {
  const service = await startWithImages(t);
  const { compute, admin, put, imported, storage, at, native, running } = service;
  await put('a folder/vm.oci', await imageBytes('oci'));
  const path = `n/${NAMESPACE}/b/${BUCKET}/o/${encodeURIComponent('a folder/vm.oci')}`;
  const direct = await imported('direct', { imageSourceDetails: byUri(`${running.ociEndpoint}/${path}`) });
  assert.equal(direct.lifecycleState, 'AVAILABLE');

  const par = async (
    accessType: storageModels.CreatePreauthenticatedRequestDetails.AccessType,
    objectName?: string,
  ) =>
    (
      await storage.createPreauthenticatedRequest({
        ...at,
        createPreauthenticatedRequestDetails: {
          name: 'for a test',
          accessType,
          timeExpires: new Date(Date.now() + 3_600_000),
          ...(objectName !== undefined && { objectName }),
        },
      })
    ).preauthenticatedRequest;
  const read = await par(AccessType.ObjectRead, 'a folder/vm.oci');
  const address = `${running.ociEndpoint}${read.accessUri}`;
  const byPar = await imported('by PAR', { imageSourceDetails: byUri(address) });
  const shown = (byPar as { imageSourceDetails?: { sourceUri?: string } }).imageSourceDetails?.sourceUri;
  assert.match(shown ?? '', /\/p\/\.\.\.\/n\/main/);
  const secret = /\/p\/([^/]+)\//.exec(read.accessUri)?.[1] ?? '';
  assert.ok(!JSON.stringify([await native('/jobs'), await native('/images')]).includes(secret));

  const createImageDetails = { compartmentId: admin.tenancyId, imageSourceDetails: byUri(address) };
  await storage.deletePreauthenticatedRequest({ ...at, parId: read.id });
  await refused(compute.createImage({ createImageDetails }), 400, 'InvalidParameter');

  const write = await par(AccessType.AnyObjectWrite);
  const exportTo = (destinationUri: string, exportFormat: string) =>
    compute.waiters.forExportImage({
      imageId: direct.id,
      exportImageDetails: {
        destinationType: 'objectStorageUri',
        destinationUri,
        exportFormat,
      } as models.ExportImageViaObjectStorageUriDetails,
    });
  const target = `${running.ociEndpoint}${write.accessUri}exported.vhd`;
  const { workRequestResponse } = await exportTo(target, 'VHD');
  assert.equal(workRequestResponse.workRequest.status, 'SUCCEEDED');
  const head = await storage.headObject({ ...at, objectName: 'exported.vhd' });
  assert.equal(head.opcMeta?.['opc-meta-gantry-disk-digest'], await digestOf(raw, 'raw'));
  const own = `${running.ociEndpoint}/n/${NAMESPACE}/b/${BUCKET}/o/own.qcow2`;
  assert.equal((await exportTo(own, 'QCOW2')).workRequestResponse.workRequest.status, 'SUCCEEDED');
  const absent = `${running.ociEndpoint}/n/${NAMESPACE}/b/absent/o/own.qcow2`;
  await refused(exportTo(absent, 'QCOW2'), 400, 'InvalidParameter');
  assert.equal((await native(`/jobs?state=failed`)).items.length, 0);
});

test('an object that shows an image is imported without copying, and only as what it is', async (t) => {
  const service = await startWithImages(t);
  const { compute, admin, put, imported, source, native, logOf, errorsOf } = service;
  await put('vm.qcow2', await imageBytes('qcow2'));
  const image = await imported('vm.qcow2');
  await compute.waiters.forExportImage({
    imageId: image.id,
    exportImageDetails: {
      ...source('vm.oci'),
      destinationType: 'objectStorageTuple',
    } as models.ExportImageViaObjectStorageTupleDetails,
  });
  const create = async (more: object) => {
    const { workRequestResponse } = await compute.waiters.forCreateImage({
      createImageDetails: { compartmentId: admin.tenancyId, imageSourceDetails: source('vm.oci', more) },
    });
    return workRequestResponse.workRequest;
  };
  const again = await create({});
  assert.equal(again.status, 'SUCCEEDED');
  assert.match((await logOf(again.id)).join('\n'), /nothing is copied/);
  const [copy, first] = (await native('/images')).items;
  assert.equal(copy.diskDigest, first.diskDigest);
  assert.equal(copy.virtualSizeBytes, first.virtualSizeBytes);
  const asQcow2 = await create({ sourceImageType: 'QCOW2' });
  assert.equal(asQcow2.status, 'FAILED');
  assert.match((await errorsOf(asQcow2.id)).join(), /IMAGE_/);

  // The content stays while any of them is there.
  for (const { id } of (await compute.listImages({ compartmentId: admin.tenancyId })).items.slice(1))
    await compute.deleteImage({ imageId: id });
  await service.storage.deleteObject({ ...service.at, objectName: 'vm.oci' });
  const gc = await native('/vault/gc', { json: {} });
  for (let state = ''; state !== 'succeeded'; { state } = await native(`/jobs/${gc.job.id}`));
  const kept = await fetch(`${service.running.address}/api/v1/images/${copy.id}/as/raw`, {
    headers: { authorization: `Bearer ${admin.token}` },
  });
  assert.equal(await digestOf(Buffer.from(await kept.arrayBuffer()), 'raw'), copy.diskDigest);
});

test('an import from another region asks only for blocks that lack here', async (t) => {
  const north = await startWithImages(t, { region: 'north' });
  const south = await startWithImages(t, { region: 'south', peers: [`north=${north.running.address}`] });
  const base = Buffer.concat([patterned(4 * BLOCK), Buffer.alloc(3 * BLOCK), patterned(2 * BLOCK, 3)]);
  const changed = Buffer.concat([base, randomBytes(2 * BLOCK)]);
  changed.fill(7, BLOCK, 2 * BLOCK);
  await south.put('base.raw', base);
  await south.imported('base.raw', {
    imageSourceDetails: south.source('base.raw', { sourceImageType: 'RAW' }),
  });
  await north.put('changed.raw', changed);
  const image = await north.imported('changed.raw', {
    imageSourceDetails: north.source('changed.raw', { sourceImageType: 'RAW' }),
  });
  await north.compute.waiters.forExportImage({
    imageId: image.id,
    exportImageDetails: {
      ...north.source('changed.oci'),
      destinationType: 'objectStorageTuple',
    } as models.ExportImageViaObjectStorageTupleDetails,
  });
  const { preauthenticatedRequest } = await north.storage.createPreauthenticatedRequest({
    ...north.at,
    createPreauthenticatedRequestDetails: {
      name: 'for the south',
      accessType: AccessType.ObjectRead,
      objectName: 'changed.oci',
      timeExpires: new Date(Date.now() + 3_600_000),
    },
  });
  const { workRequestResponse } = await south.compute.waiters.forCreateImage({
    createImageDetails: {
      compartmentId: south.admin.tenancyId,
      imageSourceDetails: byUri(`${north.running.ociEndpoint}${preauthenticatedRequest.accessUri}`),
    },
  });
  const { status, id } = workRequestResponse.workRequest;
  assert.equal(status, 'SUCCEEDED', (await south.errorsOf(id)).join());
  assert.match((await south.logOf(id)).join('\n'), /of 8 blocks 5 were here, 3 were fetched/);
  const [copied] = (await south.native('/images')).items;
  assert.equal(copied.diskDigest, await digestOf(changed, 'raw'));
  assert.equal(copied.virtualSizeBytes, changed.length);
  assert.equal(copied.sourceFormat, 'oci');
});

test('a large file is sent to another server in parts, from where it stopped', async (t) => {
  const disk = Buffer.alloc(65 * 1024 * 1024);
  for (let at = 0; at < disk.length; at += 4096) disk.writeUInt32LE(at, at);
  let refusals = 0;
  const reached = Promise.withResolvers<void>();
  const receiver = await startReceiver(t, {
    inParts: true,
    async hold(told) {
      if (!told.endsWith('/2') || refusals++ > 0) return;
      reached.resolve();
      await new Promise(() => {});
    },
  });
  const service = await startWithImages(t, { allowNetworks: ['127.0.0.0/8'] });
  const { compute, put, imported, source, work } = service;
  await put('vm.raw', disk);
  const image = await imported('vm.raw', {
    imageSourceDetails: source('vm.raw', { sourceImageType: 'RAW' }),
  });
  const { opcWorkRequestId } = await compute.exportImage({
    imageId: image.id,
    exportImageDetails: {
      destinationType: 'objectStorageUri',
      destinationUri: `${receiver.address}/p/token/n/ns/b/bucket/o/vm.qcow2`,
      exportFormat: 'QCOW2',
    } as models.ExportImageViaObjectStorageUriDetails,
  });
  await reached.promise;
  await service.restart();
  const { workRequest } = await work
    .createWaiters(quickly)
    .forWorkRequest({ workRequestId: opcWorkRequestId });
  assert.equal(workRequest.status, 'SUCCEEDED', (await service.errorsOf(opcWorkRequestId)).join());
  const file = receiver.files.get('/p/token/n/ns/b/bucket/o/vm.qcow2');
  assert.ok(file !== undefined);
  assert.equal(await digestOf(file), await digestOf(disk, 'raw'));
  const parts = receiver.requests.filter((told) => /\/id\/1\/\d*$/.test(told));
  assert.deepEqual(
    parts.map((told) => told.replace(/^(\w+) .*\/(\d*)$/, '$1 $2')),
    ['PUT 1', 'PUT 2', 'PUT 2', 'POST '],
  );
});
