import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { BlockstorageClient, ComputeClient, type models } from 'oci-core';
import { bootDisk, type Then } from '../service/boot-sector.testkit.ts';
import { imageBytes, quickly, startWithImages } from './images.testkit.ts';
import { refused } from './object-storage.testkit.ts';

async function startRunning(t: TestContext, then: Then) {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-shapes-'));
  // Before the service is stopped, which comes next.
  let terminateAll = async () => {};
  t.after(async () => {
    await terminateAll();
    await rm(folder, { recursive: true });
  });
  const shapesFile = join(folder, 'shapes.json');
  await writeFile(
    shapesFile,
    '[{"name": "VM.Tiny", "architecture": "x86_64", "ocpus": 0.5, "memoryInGBs": 0.0625}]',
  );
  const service = await startWithImages(t, {
    hypervisor: 'qemu',
    shapesFile,
    instanceGraceMs: 60_000,
    instanceLimits: { cpuCount: 2 },
  });
  const { put, imported, compute, admin } = service;
  await put('vm.qcow2', await imageBytes('qcow2', {}, bootDisk('hello', then, 8 * 1024 * 1024)));
  const image = await imported('vm.qcow2');
  const where = { compartmentId: admin.tenancyId, availabilityDomain: 'local-ad-1' };
  const launch = () =>
    compute.launchInstance({
      launchInstanceDetails: {
        ...where,
        displayName: 'web',
        shape: 'VM.Tiny',
        sourceDetails: { sourceType: 'image', imageId: image.id } as models.InstanceSourceViaImageDetails,
      },
    });
  const waiters = service.client(ComputeClient).createWaiters(service.work, quickly);
  const reached = async (instanceId: string, ...states: string[]) => {
    const answer = await waiters.forInstance({ instanceId }, ...(states as models.Instance.LifecycleState[]));
    return answer?.instance;
  };
  /** What the serial port said, when it has said this. */
  const said = async (instanceId: string, text: string) => {
    for (;;) {
      const { consoleHistory } = await compute.captureConsoleHistory({
        captureConsoleHistoryDetails: { instanceId },
      });
      const instanceConsoleHistoryId = consoleHistory.id;
      const { value, opcBytesRemaining } = await compute.getConsoleHistoryContent({
        instanceConsoleHistoryId,
      });
      assert.equal(opcBytesRemaining, 0);
      // Nothing at all is no value.
      if ((value as string | undefined)?.includes(text) === true) return consoleHistory;
      await compute.deleteConsoleHistory({ instanceConsoleHistoryId });
    }
  };
  terminateAll = async () => {
    const { items } = await compute.listInstances({ compartmentId: admin.tenancyId });
    for (const { id, lifecycleState } of items) {
      if (lifecycleState === 'TERMINATED') continue;
      await compute.terminateInstance({ instanceId: id });
      await reached(id, 'TERMINATED');
    }
  };
  return { ...service, image, where, launch, reached, said };
}

test('the official SDK launches, stops, starts, captures and terminates what runs', async (t) => {
  const service = await startRunning(t, 'off-by-button');
  const { compute, launch, reached, said, work, admin, member, computeOf, where } = service;
  const { instance, opcWorkRequestId } = await launch();
  assert.equal(instance.lifecycleState, 'PROVISIONING');
  const running = await reached(instance.id, 'RUNNING');
  assert.equal(running?.shapeConfig?.vcpus, 1);
  const { workRequest } = await work.getWorkRequest({ workRequestId: opcWorkRequestId });
  assert.equal(workRequest.status, 'SUCCEEDED');
  const history = await said(instance.id, 'hello');
  const { items: histories } = await compute.listConsoleHistories({
    compartmentId: admin.tenancyId,
    instanceId: instance.id,
  });
  assert.deepEqual(
    histories.map(({ id, lifecycleState }) => [id, lifecycleState]),
    [[history.id, 'SUCCEEDED']],
  );
  const stranger = computeOf(await member('stranger'));
  await refused(
    stranger.getConsoleHistoryContent({ instanceConsoleHistoryId: history.id }),
    404,
    'NotAuthorizedOrNotFound',
  );
  await refused(
    stranger.instanceAction({ instanceId: instance.id, action: 'STOP' }),
    404,
    'NotAuthorizedOrNotFound',
  );

  await compute.instanceAction({ instanceId: instance.id, action: 'SOFTSTOP' });
  await reached(instance.id, 'STOPPED');
  await refused(compute.instanceAction({ instanceId: instance.id, action: 'STOP' }), 409, 'Conflict');
  await compute.instanceAction({ instanceId: instance.id, action: 'START' });
  await reached(instance.id, 'RUNNING');
  await refused(
    compute.instanceAction({ instanceId: instance.id, action: 'SENDDIAGNOSTICINTERRUPT' }),
    409,
    'Conflict',
  );
  await said(instance.id, 'hello');

  const { response, workRequestResponse } = await compute.waiters.forCreateImage({
    createImageDetails: { compartmentId: admin.tenancyId, displayName: 'captured', instanceId: instance.id },
  });
  assert.equal(workRequestResponse.workRequest.status, 'SUCCEEDED');
  assert.equal((await compute.getImage({ imageId: response.image.id })).image.lifecycleState, 'AVAILABLE');
  await reached(instance.id, 'RUNNING');
  await compute.terminateInstance({ instanceId: instance.id });
  await reached(instance.id, 'TERMINATED');
  const blocks = service.client(BlockstorageClient);
  const volumes = (await blocks.listBootVolumes(where)).items;
  assert.deepEqual(
    volumes.map(({ lifecycleState }) => lifecycleState),
    ['TERMINATED'],
  );
});

test('volumes are made, attached while an instance runs, listed, and detached', async (t) => {
  const service = await startRunning(t, 'nothing');
  const { compute, launch, reached, where, admin, client } = service;
  const blocks = client(BlockstorageClient);
  const { instance } = await launch();
  await reached(instance.id, 'RUNNING');
  const { volume } = await blocks.createVolume({
    createVolumeDetails: { ...where, displayName: 'data', sizeInGBs: 50 },
  });
  assert.deepEqual([volume.lifecycleState, volume.sizeInGBs], ['AVAILABLE', 50]);
  const { volumeAttachment } = await compute.attachVolume({
    attachVolumeDetails: {
      type: 'paravirtualized',
      instanceId: instance.id,
      volumeId: volume.id,
    } as models.AttachParavirtualizedVolumeDetails,
  });
  const attachment = (state: string) =>
    compute
      .createWaiters(service.work, quickly)
      .forVolumeAttachment(
        { volumeAttachmentId: volumeAttachment.id },
        state as models.VolumeAttachment.LifecycleState,
      );
  await attachment('ATTACHED');
  const listed = await compute.listVolumeAttachments({ ...where, instanceId: instance.id });
  assert.deepEqual(
    listed.items.map(({ id, volumeId }) => [id, volumeId]),
    [[volumeAttachment.id, volume.id]],
  );
  await refused(blocks.deleteVolume({ volumeId: volume.id }), 409, 'Conflict');
  await compute.instanceAction({ instanceId: instance.id, action: 'STOP' });
  await reached(instance.id, 'STOPPED');
  await compute.detachVolume({ volumeAttachmentId: volumeAttachment.id });
  await attachment('DETACHED');
  await blocks.deleteVolume({ volumeId: volume.id });
  assert.equal(
    (await blocks.listVolumes({ compartmentId: admin.tenancyId })).items[0]?.lifecycleState,
    'TERMINATED',
  );

  // Two CPUs are all there are: what runs counts.
  for (let count = 0; count < 2; count++) await reached((await launch()).instance.id, 'RUNNING');
  await refused(launch(), 400, 'LimitExceeded');
  await refused(compute.instanceAction({ instanceId: instance.id, action: 'START' }), 400, 'LimitExceeded');
});
