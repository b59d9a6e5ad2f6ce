import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockstorageClient, models } from 'oci-core';
import { imageBytes, startWithImages } from './images.testkit.ts';
import { refused } from './object-storage.testkit.ts';

const State = models.Instance.LifecycleState;

async function startWithInstance(t: Parameters<typeof startWithImages>[0]) {
  const service = await startWithImages(t);
  const { put, imported, compute, admin } = service;
  await put('vm.qcow2', await imageBytes('qcow2'));
  const image = await imported('vm.qcow2', {
    launchMode: 'CUSTOM',
    launchOptions: { firmware: 'UEFI_64', networkType: 'E1000', bootVolumeType: 'SCSI' },
  });
  const launch = (changes: object = {}) =>
    compute.launchInstance({
      launchInstanceDetails: {
        availabilityDomain: 'local-ad-1',
        compartmentId: admin.tenancyId,
        displayName: 'web',
        shape: 'VM.Standard.E4.Flex',
        shapeConfig: { ocpus: 2, memoryInGBs: 8 },
        metadata: { ssh_authorized_keys: 'ssh-ed25519 AAAA' },
        sourceDetails: { sourceType: 'image', imageId: image.id } as models.InstanceSourceViaImageDetails,
        ...changes,
      },
    });
  return { ...service, image, launch, blocks: service.client(BlockstorageClient) };
}

test('an instance is recorded with its boot volume, stopped, and says in its log that nothing runs it', async (t) => {
  const service = await startWithInstance(t);
  const { compute, launch, image, admin, blocks, logOf, work } = service;
  const { instance, opcWorkRequestId, etag } = await launch();
  assert.equal(instance.lifecycleState, State.Stopped);
  assert.equal(instance.imageId, image.id);
  assert.equal(instance.region, 'local');
  assert.deepEqual(instance.launchOptions, image.launchOptions);
  assert.equal(instance.shapeConfig?.memoryInGBs, 8);
  assert.match((await logOf(opcWorkRequestId)).join('\n'), /no hypervisor is connected/);
  const { workRequest } = await work.getWorkRequest({ workRequestId: opcWorkRequestId });
  assert.deepEqual([workRequest.status, workRequest.percentComplete], ['SUCCEEDED', 100]);
  assert.deepEqual(
    workRequest.resources.map(({ entityType, actionType, identifier }) => [
      entityType,
      actionType,
      identifier,
    ]),
    [['instance', 'CREATED', instance.id]],
  );

  const where = { compartmentId: admin.tenancyId, availabilityDomain: 'local-ad-1' };
  const attachments = await compute.listBootVolumeAttachments({ ...where, instanceId: instance.id });
  const [attachment] = attachments.items;
  assert.equal(attachment?.lifecycleState, 'ATTACHED');
  const one = await compute.getBootVolumeAttachment({ bootVolumeAttachmentId: attachment!.id });
  assert.equal(one.bootVolumeAttachment.bootVolumeId, attachment!.bootVolumeId);
  const { bootVolume } = await blocks.getBootVolume({ bootVolumeId: attachment!.bootVolumeId });
  assert.equal(bootVolume.lifecycleState, 'AVAILABLE');
  assert.equal(bootVolume.sizeInGBs, 50);
  assert.equal((await blocks.listBootVolumes(where)).items.length, 1);
  await refused(blocks.deleteBootVolume({ bootVolumeId: bootVolume.id }), 409, 'Conflict');
  assert.deepEqual((await compute.listVnicAttachments(where)).items, []);
  assert.deepEqual((await compute.listVolumeAttachments(where)).items, []);

  const updateInstanceDetails = { displayName: 'web-2', shapeConfig: { ocpus: 4 } };
  await refused(
    compute.updateInstance({ instanceId: instance.id, updateInstanceDetails, ifMatch: 'v7' }),
    412,
    'NoEtagMatch',
  );
  const updated = await compute.updateInstance({
    instanceId: instance.id,
    updateInstanceDetails,
    ifMatch: etag,
  });
  assert.equal(updated.instance.displayName, 'web-2');
  assert.deepEqual([updated.instance.shapeConfig?.ocpus, updated.instance.shapeConfig?.memoryInGBs], [4, 8]);

  const started = compute.instanceAction({ instanceId: instance.id, action: 'START' });
  assert.match(await refused(started, 409, 'Conflict'), /no hypervisor/);
  await refused(
    compute.captureConsoleHistory({ captureConsoleHistoryDetails: { instanceId: instance.id } }),
    409,
    'Conflict',
  );
});

test('a terminated instance stays readable; its boot volume is kept when that is asked for', async (t) => {
  const { compute, launch, admin, blocks } = await startWithInstance(t);
  const { instance } = await launch();
  const where = { compartmentId: admin.tenancyId, availabilityDomain: 'local-ad-1' };
  await compute.terminateInstance({ instanceId: instance.id, preserveBootVolume: true });
  const { instance: gone } = await compute.getInstance({ instanceId: instance.id });
  assert.equal(gone.lifecycleState, State.Terminated);
  await refused(compute.terminateInstance({ instanceId: instance.id }), 409, 'Conflict');
  const [volume] = (await blocks.listBootVolumes(where)).items;
  const again = await launch({
    sourceDetails: {
      sourceType: 'bootVolume',
      bootVolumeId: volume!.id,
    } as models.InstanceSourceViaBootVolumeDetails,
  });
  assert.deepEqual(again.instance.launchOptions, instance.launchOptions);
  const twice = launch({
    sourceDetails: {
      sourceType: 'bootVolume',
      bootVolumeId: volume!.id,
    } as models.InstanceSourceViaBootVolumeDetails,
  });
  await refused(twice, 409, 'Conflict');
  await compute.terminateInstance({ instanceId: again.instance.id, preserveBootVolume: false });
  const { bootVolume } = await blocks.getBootVolume({ bootVolumeId: volume!.id });
  assert.equal(bootVolume.lifecycleState, 'TERMINATED');
  const listed = await compute.listInstances({
    compartmentId: admin.tenancyId,
    lifecycleState: State.Terminated,
  });
  assert.equal(listed.items.length, 2);
});

test('an image of an instance has its launch options exactly, and comes without copying', async (t) => {
  const { compute, launch, admin, image, native } = await startWithInstance(t);
  const { instance } = await launch();
  const { response, workRequestResponse } = await compute.waiters.forCreateImage({
    createImageDetails: { compartmentId: admin.tenancyId, displayName: 'captured', instanceId: instance.id },
  });
  assert.equal(response.image.lifecycleState, 'PROVISIONING');
  assert.equal(workRequestResponse.workRequest.status, 'SUCCEEDED');
  const captured = (await compute.getImage({ imageId: response.image.id })).image;
  assert.equal(captured.lifecycleState, 'AVAILABLE');
  assert.equal(captured.baseImageId, image.id);
  assert.equal(captured.launchMode, 'CUSTOM');
  assert.deepEqual(captured.launchOptions, image.launchOptions);
  const [first, second] = (await native('/images')).items;
  assert.equal(first.diskDigest, second.diskDigest);
  await refused(
    compute.createImage({ createImageDetails: { compartmentId: admin.tenancyId } }),
    400,
    'InvalidParameter',
  );
});

test('shapes decide: those that an image names, those that there are, and what a flexible one gives', async (t) => {
  const { compute, launch, image, admin } = await startWithInstance(t);
  const shapes = await compute.listShapes({ compartmentId: admin.tenancyId, limit: 5 });
  assert.equal(shapes.items.length, 5);
  assert.ok(shapes.opcNextPage);
  const entry = { imageId: image.id, shapeName: 'VM.Standard.A1.Flex' };
  await compute.addImageShapeCompatibilityEntry({
    ...entry,
    addImageShapeCompatibilityEntryDetails: { ocpuConstraints: { min: 1, max: 4 } },
  });
  const { imageShapeCompatibilityEntry } = await compute.getImageShapeCompatibilityEntry(entry);
  assert.equal(imageShapeCompatibilityEntry.ocpuConstraints?.max, 4);
  assert.match(
    await refused(launch(), 400, 'InvalidParameter'),
    /Shape VM\.Standard\.E4\.Flex is not valid for image/,
  );
  const fitting = await compute.listShapes({ compartmentId: admin.tenancyId, imageId: image.id });
  assert.deepEqual(
    fitting.items.map(({ shape }) => shape),
    ['VM.Standard.A1.Flex'],
  );
  await compute.removeImageShapeCompatibilityEntry(entry);
  await refused(compute.removeImageShapeCompatibilityEntry(entry), 404, 'NotAuthorizedOrNotFound');
  await refused(launch({ shapeConfig: { ocpus: 1000 } }), 400, 'InvalidParameter');
  await refused(launch({ shape: 'VM.Unknown' }), 400, 'InvalidParameter');
  assert.ok((await launch()).instance.id);
});

test('capability schemas are those of the global one, merged with it when asked', async (t) => {
  const { compute, image, admin } = await startWithInstance(t);
  const [global] = (await compute.listComputeGlobalImageCapabilitySchemas({})).items;
  const computeGlobalImageCapabilitySchemaId = global!.id;
  const version = (
    await compute.getComputeGlobalImageCapabilitySchemaVersion({
      computeGlobalImageCapabilitySchemaId,
      computeGlobalImageCapabilitySchemaVersionName: global!.currentVersionName!,
    })
  ).computeGlobalImageCapabilitySchemaVersion;
  assert.ok(version.schemaData['Compute.Firmware']);
  const firmware = (values: string[]) => ({
    'Compute.Firmware': {
      descriptorType: 'enumstring',
      source: 'IMAGE',
      values,
      defaultValue: values[0],
    } as models.EnumStringImageCapabilitySchemaDescriptor,
  });
  const create = (schemaData: Record<string, models.ImageCapabilitySchemaDescriptor>) =>
    compute.createComputeImageCapabilitySchema({
      createComputeImageCapabilitySchemaDetails: {
        compartmentId: admin.tenancyId,
        imageId: image.id,
        computeGlobalImageCapabilitySchemaVersionName: version.name,
        displayName: 'mine',
        schemaData,
      },
    });
  await refused(create(firmware(['COREBOOT'])), 400, 'InvalidParameter');
  const { computeImageCapabilitySchema: schema, etag } = await create(firmware(['UEFI_64']));
  await refused(create(firmware(['UEFI_64'])), 409, 'Conflict');
  const computeImageCapabilitySchemaId = schema.id;
  const own = await compute.getComputeImageCapabilitySchema({ computeImageCapabilitySchemaId });
  assert.deepEqual(Object.keys(own.computeImageCapabilitySchema.schemaData), ['Compute.Firmware']);
  const merged = await compute.getComputeImageCapabilitySchema({
    computeImageCapabilitySchemaId,
    isMergeEnabled: true,
  });
  const data = merged.computeImageCapabilitySchema.schemaData;
  assert.ok(Object.keys(data).length > 10);
  assert.deepEqual((data['Compute.Firmware'] as { values?: string[] }).values, ['UEFI_64']);
  const listed = await compute.listComputeImageCapabilitySchemas({ imageId: image.id });
  assert.equal(listed.items.length, 1);
  const update = (ifMatch: string) =>
    compute.updateComputeImageCapabilitySchema({
      computeImageCapabilitySchemaId,
      ifMatch,
      updateComputeImageCapabilitySchemaDetails: { schemaData: firmware(['BIOS', 'UEFI_64']) },
    });
  await refused(update('v9'), 412, 'NoEtagMatch');
  await update(etag);
  await compute.deleteComputeImageCapabilitySchema({ computeImageCapabilitySchemaId });
  await refused(
    compute.getComputeImageCapabilitySchema({ computeImageCapabilitySchemaId }),
    404,
    'NotAuthorizedOrNotFound',
  );
});

test('an image moves to another compartment, and is seen by who may look there', async (t) => {
  const { compute, image, admin, identity, member, native, computeOf, work } = await startWithInstance(t);
  const { compartment } = await identity().createCompartment({
    createCompartmentDetails: { compartmentId: admin.tenancyId, name: 'images', description: 'of all' },
  });
  const { etag } = await compute.getImage({ imageId: image.id });
  const details = { changeImageCompartmentDetails: { compartmentId: compartment.id } };
  await refused(
    compute.changeImageCompartment({ imageId: image.id, ifMatch: 'v99', ...details }),
    412,
    'NoEtagMatch',
  );
  const moved = await compute.changeImageCompartment({ imageId: image.id, ifMatch: etag, ...details });
  assert.notEqual(moved.etag, etag);
  assert.deepEqual((await compute.listImages({ compartmentId: admin.tenancyId })).items, []);
  assert.equal((await compute.listImages({ compartmentId: compartment.id })).items.length, 1);

  const reader = await member('reader');
  const theirs = computeOf(reader);
  await refused(theirs.getImage({ imageId: image.id }), 404, 'NotAuthorizedOrNotFound');
  const tenancyRoot = (await native('/whoami')).tenancy.id;
  await native(`/users/${reader.id}/grants`, {
    json: { verb: 'inspect', resource: 'images', compartmentId: tenancyRoot },
  });
  assert.equal((await theirs.getImage({ imageId: image.id })).image.id, image.id);
  assert.equal((await theirs.listImages({ compartmentId: compartment.id })).items.length, 1);
  await refused(theirs.deleteImage({ imageId: image.id }), 404, 'NotAuthorizedOrNotFound');
  const seen = await work.listWorkRequests({ compartmentId: admin.tenancyId, limit: 1 });
  assert.equal(seen.items.length, 1);
});
