import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { models, requests } from 'oci-core';
import { digestOf, imageBytes, quickly, raw, startReceiver, startWithImages } from './images.testkit.ts';
import { bytesOf, NAMESPACE, refused } from './object-storage.testkit.ts';

const { ListImagesRequest } = requests;
const State = models.Image.LifecycleState;

test('an image is imported, listed, changed and deleted, as the waiters of the SDK expect it', async (t) => {
  const service = await startWithImages(t);
  const { compute, admin, put, source, imported } = service;
  await put('vm.qcow2', await imageBytes('qcow2'));
  const image = await imported('vm.qcow2', {
    imageSourceDetails: source('vm.qcow2', { sourceImageType: 'QCOW2', operatingSystem: 'Debian' }),
    launchMode: 'EMULATED',
    freeformTags: { team: 'moving' },
  });
  assert.equal(image.lifecycleState, 'AVAILABLE');
  assert.equal(image.operatingSystem, 'Debian');
  assert.equal(image.launchMode, 'EMULATED');
  assert.equal(image.launchOptions?.networkType, 'E1000');
  assert.equal(image.launchOptions?.firmware, 'BIOS');
  assert.equal(image.sizeInMBs, Math.ceil(raw.length / 2 ** 20));
  assert.deepEqual(image.freeformTags, { team: 'moving' });
  assert.equal(
    (image as { imageSourceDetails?: { sourceImageType: string } }).imageSourceDetails?.sourceImageType,
    'QCOW2',
  );

  const { etag } = await compute.getImage({ imageId: image.id });
  const rename = (ifMatch: string) =>
    compute.updateImage({
      imageId: image.id,
      ifMatch,
      updateImageDetails: { displayName: 'renamed', operatingSystemVersion: '13' },
    });
  await refused(rename('v99'), 412, 'NoEtagMatch');
  const updated = await rename(etag);
  assert.equal(updated.image.displayName, 'renamed');
  assert.equal(updated.image.operatingSystemVersion, '13');
  assert.notEqual(updated.etag, etag);

  const list = async (filter: object) =>
    (await compute.listImages({ compartmentId: admin.tenancyId, ...filter })).items.map(({ id }) => id);
  assert.deepEqual(await list({}), [image.id]);
  assert.deepEqual(await list({ displayName: 'renamed', operatingSystem: 'Debian' }), [image.id]);
  assert.deepEqual(await list({ displayName: 'vm.qcow2' }), []);
  assert.deepEqual(await list({ lifecycleState: State.Available, shape: 'VM.Standard.E4.Flex' }), [image.id]);
  assert.deepEqual(await list({ lifecycleState: State.Deleted }), []);

  await compute.deleteImage({ imageId: image.id });
  const gone = await compute.waiters.forImage({ imageId: image.id }, State.Deleted);
  assert.equal(gone?.image.lifecycleState, 'DELETED');
  assert.deepEqual(await list({}), []);
  assert.deepEqual(await list({ lifecycleState: State.Deleted }), [image.id]);
  await refused(compute.deleteImage({ imageId: image.id }), 404, 'NotAuthorizedOrNotFound');
});

/** A disk with an EFI system partition that holds a boot loader: the head of a PE file for x86_64. */
async function uefiDisk(t: TestContext): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-uefi-'));
  t.after(() => rm(folder, { recursive: true }));
  const [disk, loader] = [join(folder, 'disk.raw'), join(folder, 'loader.efi')];
  const head = Buffer.alloc(512);
  head.write('MZ');
  head.writeUInt32LE(0x80, 0x3c);
  head.write('PE\0\0', 0x80);
  head.writeUInt16LE(0x8664, 0x84);
  await writeFile(loader, head);
  await writeFile(disk, Buffer.alloc(8 * 2 ** 20));
  const table = ['--quiet', '--label', 'gpt', disk];
  execFileSync('sfdisk', table, { input: 'start=2048, size=8192, type=U\n' });
  execFileSync('mkfs.fat', ['--offset', '2048', disk, '4096']);
  execFileSync('mmd', ['-i', `${disk}@@1M`, '::EFI', '::EFI/BOOT']);
  execFileSync('mcopy', ['-i', `${disk}@@1M`, loader, '::EFI/BOOT/BOOTX64.EFI']);
  return readFile(disk);
}

test('firmware follows what is on the disk, and the log says why', async (t) => {
  const service = await startWithImages(t);
  const { put, imported, source, logOf, work, admin } = service;
  await put('uefi.raw', await uefiDisk(t));
  const image = await imported('uefi.raw', {
    imageSourceDetails: source('uefi.raw', { sourceImageType: 'RAW' }),
  });
  assert.equal(image.launchOptions?.firmware, 'UEFI_64');
  const { items } = await work.listWorkRequests({ compartmentId: admin.tenancyId, resourceId: image.id });
  const log = await logOf(items[0]?.id ?? '');
  assert.match(log.join('\n'), /UEFI: .*BOOTX64\.EFI/i);
});

test('lists of images go page by page, by time and by name, in both directions', async (t) => {
  const { compute, admin, put, imported } = await startWithImages(t);
  await put('vm.raw', raw);
  const names = ['b', 'c', 'a'];
  const source = (displayName: string) => ({ displayName });
  for (const name of names) {
    await imported('vm.raw', {
      ...source(name),
      imageSourceDetails: {
        sourceType: 'objectStorageTuple',
        namespaceName: NAMESPACE,
        bucketName: 'My_Bucket.1',
        objectName: 'vm.raw',
        sourceImageType: 'RAW',
      },
    });
  }
  const all = async (order: object) => {
    const found: (string | undefined)[] = [];
    for await (const image of compute.listImagesRecordIterator({
      compartmentId: admin.tenancyId,
      limit: 1,
      ...order,
    })) {
      found.push(image.displayName);
    }
    return found.join('');
  };
  const { SortBy, SortOrder } = ListImagesRequest;
  assert.equal(await all({}), 'acb');
  assert.equal(await all({ sortOrder: SortOrder.Asc }), 'bca');
  assert.equal(await all({ sortBy: SortBy.Displayname }), 'abc');
  assert.equal(await all({ sortBy: SortBy.Displayname, sortOrder: SortOrder.Desc }), 'cba');
});

test('a failed import is DELETED, and its work request says why', async (t) => {
  const { compute, admin, put, source, errorsOf, work } = await startWithImages(t);
  await put('noise', Buffer.from('this is no disk image, whatever it is called'));
  const { response, workRequestResponse } = await compute.waiters.forCreateImage({
    createImageDetails: {
      compartmentId: admin.tenancyId,
      imageSourceDetails: source('noise', { sourceImageType: 'VMDK' }),
    },
  });
  assert.equal(response.image.lifecycleState, 'IMPORTING');
  const { workRequest } = workRequestResponse;
  assert.equal(workRequest.status, 'FAILED');
  // The SDK leaves the times of an answer as the text that they came as.
  for (const time of [workRequest.timeAccepted, workRequest.timeStarted, workRequest.timeFinished])
    assert.ok(Number.isFinite(Date.parse(String(time))), String(time));
  assert.equal((await errorsOf(workRequest.id)).length, 1);
  assert.match((await errorsOf(workRequest.id))[0] ?? '', /^IMAGE_/);
  assert.equal((await compute.getImage({ imageId: response.image.id })).image.lifecycleState, 'DELETED');
  const { items } = await work.listWorkRequests({
    compartmentId: admin.tenancyId,
    resourceId: response.image.id,
  });
  assert.deepEqual(
    items.map(({ id, status }) => [id, status]),
    [[workRequest.id, 'FAILED']],
  );
  const listed = await compute.listImages({ compartmentId: admin.tenancyId });
  assert.deepEqual(listed.items, []);
});

test('a retry token is answered as the first time, and is of one request', async (t) => {
  const { compute, admin, put, source } = await startWithImages(t);
  await put('vm.raw', raw);
  const create = (displayName: string) =>
    compute.createImage({
      opcRetryToken: 'again',
      createImageDetails: {
        compartmentId: admin.tenancyId,
        displayName,
        imageSourceDetails: source('vm.raw', { sourceImageType: 'RAW' }),
      },
    });
  const first = await create('one');
  const second = await create('one');
  assert.equal(second.image.id, first.image.id);
  assert.equal(second.opcWorkRequestId, first.opcWorkRequestId);
  assert.equal(second.etag, first.etag);
  await refused(create('two'), 409, 'InvalidatedRetryToken');
});

test('sources that are missing and that may not be seen are refused alike; who may see hears more', async (t) => {
  const service = await startWithImages(t);
  const { compute, admin, put, source, computeOf, member, native } = service;
  await put('vm.raw', raw);
  const stranger = await member('stranger');
  const tenancyRoot = (await native('/whoami')).tenancy.id;
  const grant = (userId: string, verb: string, resource: string) =>
    native(`/users/${userId}/grants`, { json: { verb, resource, compartmentId: tenancyRoot } });
  await grant(stranger.id, 'manage', 'images');
  const details = (objectName: string, more = {}) => ({
    createImageDetails: {
      compartmentId: admin.tenancyId,
      imageSourceDetails: {
        ...source(objectName),
        ...more,
      } as models.ImageSourceViaObjectStorageTupleDetails,
    },
  });
  const theirs = computeOf(stranger);
  const text =
    'Invalid objectName: Specified object or bucket or namespace to import image from does not exist';
  const asStranger = await refused(theirs.createImage(details('vm.raw')), 400, 'InvalidParameter');
  assert.equal(asStranger, text);
  for (const more of [{ bucketName: 'absent' }, { namespaceName: 'other' }]) {
    assert.equal(await refused(theirs.createImage(details('vm.raw', more)), 400, 'InvalidParameter'), text);
  }
  const missing = await refused(compute.createImage(details('absent')), 400, 'InvalidParameter');
  assert.match(missing, /there is no object absent in bucket My_Bucket\.1/);
  await grant(stranger.id, 'inspect', 'objects');
  const seen = await refused(theirs.createImage(details('vm.raw')), 400, 'InvalidParameter');
  assert.match(seen, /grant to read objects/);
  await grant(stranger.id, 'read', 'objects');
  assert.ok((await theirs.createImage(details('vm.raw'))).opcWorkRequestId);
});

test('launch modes follow the rules, each refused by its name', async (t) => {
  const { compute, admin, put, source, imported, errorsOf } = await startWithImages(t);
  await put('vm.vmdk', await imageBytes('vmdk'));
  await put('vm.oci', await imageBytes('oci', { launch_mode: 'NATIVE', firmware: 'UEFI_64' }));
  const createImageDetails = (objectName: string, more: object) =>
    ({
      compartmentId: admin.tenancyId,
      imageSourceDetails: source(objectName),
      ...more,
    }) as models.CreateImageDetails;
  const now = (objectName: string, more: object) =>
    refused(
      compute.createImage({ createImageDetails: createImageDetails(objectName, more) }),
      400,
      'InvalidParameter',
    );
  assert.match(await now('vm.vmdk', { launchOptions: { firmware: 'UEFI_64' } }), /launchMode CUSTOM only/);
  const windows = source('vm.vmdk', { operatingSystem: 'Windows' });
  assert.match(
    await now('vm.vmdk', { launchMode: 'EMULATED', imageSourceDetails: windows }),
    /PARAVIRTUALIZED/,
  );
  await now('vm.vmdk', { launchMode: 'CUSTOM', launchOptions: { firmware: 'COREBOOT' } });

  const later = async (objectName: string, more: object) => {
    const { workRequestResponse } = await compute.waiters.forCreateImage({
      createImageDetails: createImageDetails(objectName, more),
    });
    assert.equal(workRequestResponse.workRequest.status, 'FAILED');
    return (await errorsOf(workRequestResponse.workRequest.id)).join();
  };
  assert.match(await later('vm.vmdk', { launchMode: 'NATIVE' }), /INVALID: .*NATIVE/);
  assert.match(await later('vm.vmdk', { launchMode: 'CUSTOM' }), /needs launchOptions/);
  assert.match(await later('vm.oci', { launchMode: 'EMULATED' }), /cannot be chosen/);
  const asQcow2 = { imageSourceDetails: source('vm.oci', { sourceImageType: 'QCOW2' }) };
  assert.match(await later('vm.oci', asQcow2), /IMAGE_/);

  const image = await imported('vm.vmdk', {
    launchMode: 'CUSTOM',
    launchOptions: { firmware: 'UEFI_64', networkType: 'E1000' },
  });
  assert.equal(image.launchMode, 'CUSTOM');
  assert.equal(image.launchOptions?.firmware, 'UEFI_64');
  assert.equal(image.launchOptions?.networkType, 'E1000');
  const archived = await imported('vm.oci');
  assert.equal(archived.launchMode, 'NATIVE');
  assert.equal(archived.launchOptions?.firmware, 'UEFI_64');
});

test('an .oci archive keeps its document through import and export', async (t) => {
  const { compute, put, imported, source, storage, at } = await startWithImages(t);
  const document = {
    version: 2,
    externalLaunchOptions: {
      firmware: 'UEFI_64',
      networkType: 'PARAVIRTUALIZED',
      bootVolumeType: 'PARAVIRTUALIZED',
      remoteDataVolumeType: 'PARAVIRTUALIZED',
      localDataVolumeType: 'PARAVIRTUALIZED',
      launchOptionsSource: 'PARAVIRTUALIZED',
      pvAttachmentVersion: 2,
      pvEncryptionInTransitEnabled: true,
      consistentVolumeNamingEnabled: true,
    },
    imageCapabilityData: JSON.stringify({
      capabilities: {
        'Compute.Firmware': { descriptorType: 'enumstring', values: ['UEFI_64'], defaultValue: 'UEFI_64' },
      },
    }),
    imageCapsFormatVersion: '34dd2cea-aff2-4f45-b8f6-1cb5290bfab2',
    operatingSystem: 'Oracle Linux',
    operatingSystemVersion: '9',
    additionalMetadata: {
      sourcePublicImageId: null,
      shapeCompatibilities: [
        { internalShapeName: 'VM.Standard.E4.Flex', ocpuConstraints: null, memoryConstraints: null },
        {
          internalShapeName: 'VM.Standard.A1.Flex',
          ocpuConstraints: { min: 1, max: 40 },
          memoryConstraints: { minInGBs: 1, maxInGBs: 64 },
        },
      ],
    },
  };
  await put('in.oci', await imageBytes('oci', { metadata: JSON.stringify(document) }));
  const image = await imported('in.oci');
  assert.deepEqual([image.operatingSystem, image.operatingSystemVersion], ['Oracle Linux', '9']);
  assert.equal(image.launchOptions?.isPvEncryptionInTransitEnabled, true);
  const { items } = await compute.listImageShapeCompatibilityEntries({ imageId: image.id });
  assert.deepEqual(
    items.map(({ shape }) => shape),
    ['VM.Standard.A1.Flex', 'VM.Standard.E4.Flex'],
  );
  const { workRequestResponse } = await compute.waiters.forExportImage({
    imageId: image.id,
    exportImageDetails: {
      ...source('out.oci'),
      destinationType: 'objectStorageTuple',
    } as models.ExportImageViaObjectStorageTupleDetails,
  });
  assert.equal(workRequestResponse.workRequest.status, 'SUCCEEDED');
  assert.equal(workRequestResponse.workRequest.percentComplete, 100);
  const bytes = await bytesOf(await storage.getObject({ ...at, objectName: 'out.oci' }));
  assert.equal(await digestOf(bytes), await digestOf(raw, 'raw'));
  const length = Number.parseInt(bytes.toString('latin1', 124, 135), 8);
  assert.deepEqual(JSON.parse(bytes.toString('utf8', 512, 512 + length)), document);
});

test('an image that is exported may be launched and not be deleted; other exports of it go on', async (t) => {
  const held = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  const hold = async () => {
    reached.resolve();
    await held.promise;
  };
  const receiver = await startReceiver(t, { hold, mayRead: true });
  const service = await startWithImages(t, { allowNetworks: ['127.0.0.0/8'] });
  const { compute, put, imported, source, admin, storage, at } = service;
  await put('vm.qcow2', await imageBytes('qcow2'));
  const image = await imported('vm.qcow2');
  const { opcWorkRequestId, image: exporting } = await compute.exportImage({
    imageId: image.id,
    exportImageDetails: {
      destinationType: 'objectStorageUri',
      destinationUri: `${receiver.address}/p/secret-token/n/ns/b/bucket/o/vm.vdi`,
      exportFormat: 'VDI',
    } as models.ExportImageViaObjectStorageUriDetails,
  });
  assert.equal(exporting.lifecycleState, 'EXPORTING');
  await reached.promise;
  await refused(compute.deleteImage({ imageId: image.id }), 409, 'Conflict');
  const launched = await compute.launchInstance({
    launchInstanceDetails: {
      availabilityDomain: 'local-ad-1',
      compartmentId: admin.tenancyId,
      shape: 'VM.Standard.E4.Flex',
      sourceDetails: { sourceType: 'image', imageId: image.id } as models.InstanceSourceViaImageDetails,
    },
  });
  assert.equal(launched.instance.lifecycleState, 'STOPPED');
  const other = await compute.waiters.forExportImage({
    imageId: image.id,
    exportImageDetails: {
      ...source('vm.vmdk'),
      destinationType: 'objectStorageTuple',
      exportFormat: 'VMDK',
    } as models.ExportImageViaObjectStorageTupleDetails,
  });
  assert.equal(other.workRequestResponse.workRequest.status, 'SUCCEEDED');
  const vmdk = await bytesOf(await storage.getObject({ ...at, objectName: 'vm.vmdk' }));
  assert.equal(await digestOf(vmdk, 'vmdk'), await digestOf(raw, 'raw'));

  held.resolve();
  await compute.waiters.forImage({ imageId: image.id }, State.Available);
  const [file] = [...receiver.files.values()];
  assert.ok(file !== undefined);
  assert.equal(await digestOf(file, 'vdi'), await digestOf(raw, 'raw'));
  const log = (await service.logOf(opcWorkRequestId)).join('\n');
  assert.doesNotMatch(log, /secret-token/);
  const job = JSON.stringify(await service.native('/jobs'));
  assert.doesNotMatch(job, /secret-token/);
  assert.match(job, /all of it was read back/);
  await compute.deleteImage({ imageId: image.id });
});

test('an export that another server refuses leaves the image available and a failed work request', async (t) => {
  const receiver = await startReceiver(t, { status: () => 403 });
  const service = await startWithImages(t, { allowNetworks: ['127.0.0.0/8'] });
  const { compute, put, imported, errorsOf } = service;
  await put('vm.qcow2', await imageBytes('qcow2'));
  const image = await imported('vm.qcow2');
  const { workRequestResponse } = await compute.waiters.forExportImage({
    imageId: image.id,
    exportImageDetails: {
      destinationType: 'objectStorageUri',
      destinationUri: `${receiver.address}/p/secret-token/n/ns/b/bucket/o/vm.oci`,
    } as models.ExportImageViaObjectStorageUriDetails,
  });
  const { workRequest } = workRequestResponse;
  assert.equal(workRequest.status, 'FAILED');
  const errors = (await errorsOf(workRequest.id)).join();
  assert.match(errors, /STORE_DENIED: .*403/);
  assert.doesNotMatch(errors, /secret-token/);
  assert.equal((await compute.getImage({ imageId: image.id })).image.lifecycleState, 'AVAILABLE');
  await refused(
    compute.exportImage({
      imageId: image.id,
      exportImageDetails: {
        destinationType: 'objectStorageUri',
        destinationUri: 'http://169.254.169.254/latest',
      } as models.ExportImageViaObjectStorageUriDetails,
    }),
    400,
    'InvalidParameter',
  );
});

test('an export of a user who may not read the image any more sends nothing', async (t) => {
  const receiver = await startReceiver(t, { status: () => 403 });
  const service = await startWithImages(t, { allowNetworks: ['127.0.0.0/8'] });
  const { put, imported, native, member, computeOf, work, errorsOf } = service;
  await put('vm.qcow2', await imageBytes('qcow2'));
  const image = await imported('vm.qcow2');
  const reader = await member('reader');
  const { id: compartmentId } = (await native('/whoami')).tenancy;
  const json = { verb: 'read', resource: 'images', compartmentId };
  const grant = await native(`/users/${reader.id}/grants`, { json });
  const { opcWorkRequestId } = await computeOf(reader).exportImage({
    imageId: image.id,
    exportImageDetails: {
      destinationType: 'objectStorageUri',
      destinationUri: `${receiver.address}/p/t/n/ns/b/bucket/o/vm.oci`,
    } as models.ExportImageViaObjectStorageUriDetails,
  });
  const ended = async () => {
    const { workRequest } = await work.getWorkRequest({ workRequestId: opcWorkRequestId });
    return workRequest.timeFinished !== undefined;
  };
  while (!(await ended()));
  assert.match((await errorsOf(opcWorkRequestId)).join(), /STORE_DENIED/);
  const asked = receiver.requests.length;
  await native(`/users/${reader.id}/grants/${grant.id}`, { method: 'DELETE' });
  const { items } = await native('/jobs?kind=image-export');
  await native(`/jobs/${items[0].id}/retry`, { json: {} });
  while (!(await ended()));
  assert.match((await errorsOf(opcWorkRequestId)).join(), /NOT_FOUND: there is no image/);
  assert.equal(receiver.requests.length, asked);
});

test('an export that a restart interrupts goes on and ends', async (t) => {
  const reached = Promise.withResolvers<void>();
  let isHeld = true;
  const hold = async (told: string) => {
    if (!isHeld || !told.startsWith('PUT')) return;
    reached.resolve();
    await new Promise(() => {});
  };
  const receiver = await startReceiver(t, { hold, mayRead: true });
  const service = await startWithImages(t, { allowNetworks: ['127.0.0.0/8'] });
  const { compute, work, put, imported } = service;
  await put('vm.qcow2', await imageBytes('qcow2'));
  const image = await imported('vm.qcow2');
  const { opcWorkRequestId } = await compute.exportImage({
    imageId: image.id,
    exportImageDetails: {
      destinationType: 'objectStorageUri',
      destinationUri: `${receiver.address}/o/vm.qcow2`,
      exportFormat: 'QCOW2',
    } as models.ExportImageViaObjectStorageUriDetails,
  });
  await reached.promise;
  isHeld = false;
  await service.restart();
  assert.equal((await compute.getImage({ imageId: image.id })).image.lifecycleState, 'EXPORTING');
  const waiter = work.createWaiters(quickly);
  const { workRequest } = await waiter.forWorkRequest({ workRequestId: opcWorkRequestId });
  assert.equal(workRequest.status, 'SUCCEEDED');
  const file = receiver.files.get('/o/vm.qcow2');
  assert.ok(file !== undefined);
  assert.equal(await digestOf(file), await digestOf(raw, 'raw'));
});
