import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { newId } from '../ids.ts';
import {
  findInstance,
  forgetInstances,
  type InstanceListing,
  insertInstance,
  listInstances,
  lockedHostShare,
  lockInstance,
  notePower,
  updateInstance,
} from './instances.ts';
import { insertJob, insertJobResources, updateJob } from './jobs.ts';
import { instanceRow, jobRow, makeTenancy, volumeRow } from './rows.testkit.ts';
import {
  detachVolumes,
  findVolume,
  forgetVolumes,
  insertVolume,
  insertVolumeAttachment,
  listVolumeAttachments,
  listVolumes,
  lockVolume,
  updateVolume,
} from './volumes.ts';

forEachEngine('instances are found, changed and listed by time and by name', async (open) => {
  const { kysely } = await open();
  const { id: tenancyId } = await makeTenancy(kysely);
  const rows = ['b', 'c', 'a'].map((name) => instanceRow(tenancyId, { name }));
  for (const row of rows) await insertInstance(kysely, row);
  const [b, c, a] = rows;
  const idle = { state: 'STOPPED', busy_job_id: null };
  assert.deepEqual(await findInstance(kysely, tenancyId, b!.id), { ...b, ...idle });
  assert.equal(await findInstance(kysely, 'ten-other', b!.id), undefined);
  const locked = await kysely.transaction().execute((each) => lockInstance(each, tenancyId, b!.id));
  assert.deepEqual(locked, { ...b, ...idle });
  assert.equal((await updateInstance(kysely, c!.id, { deleted_at_ms: 9 })).version, 2);
  const names = async (listing: Partial<InstanceListing>) => {
    const found: string[] = [];
    let startAfter: string | undefined;
    do {
      const page = await listInstances(kysely, { tenancyId, limit: 1, startAfter, ...listing });
      found.push(...page.items.map(({ name }) => name));
      startAfter = page.next;
    } while (startAfter !== undefined);
    return found.join('');
  };
  assert.equal(await names({}), 'acb');
  assert.equal(await names({ order: 'asc' }), 'bca');
  assert.equal(await names({ sortBy: 'name' }), 'abc');
  assert.equal(await names({ sortBy: 'name', order: 'desc' }), 'cba');
  assert.equal(await names({ state: 'TERMINATED' }), 'c');
  assert.equal(await names({ name: 'a', availabilityDomain: 'ad-1', compartmentIds: [tenancyId] }), 'a');
  assert.equal(await names({ availabilityDomain: 'ad-2' }), '');
  assert.ok(a);
});

forEachEngine('volumes and attachments are found, listed, detached and forgotten', async (open) => {
  const { kysely } = await open();
  const { id: tenancyId } = await makeTenancy(kysely);
  const instance = instanceRow(tenancyId);
  const volume = volumeRow(tenancyId);
  const other = volumeRow(tenancyId, { availability_domain: 'ad-2' });
  await insertInstance(kysely, instance);
  for (const row of [volume, other]) await insertVolume(kysely, row);
  const attachment = {
    id: newId('vat'),
    tenancy_id: tenancyId,
    compartment_id: tenancyId,
    kind: 'boot' as const,
    instance_id: instance.id,
    volume_id: volume.id,
    created_at_ms: 1,
    detached_at_ms: null,
  };
  await insertVolumeAttachment(kysely, attachment);
  assert.deepEqual(await findVolume(kysely, tenancyId, volume.id), volume);
  const locked = await kysely.transaction().execute((each) => lockVolume(each, tenancyId, volume.id));
  assert.deepEqual(locked, volume);
  const volumes = async (listing: object) =>
    (await listVolumes(kysely, { tenancyId, kind: 'boot', limit: 9, ...listing })).items.map(({ id }) => id);
  assert.deepEqual(await volumes({}), [other.id, volume.id]);
  assert.deepEqual(await volumes({ availabilityDomain: 'ad-2', compartmentIds: [tenancyId] }), [other.id]);
  assert.deepEqual(await volumes({ startAfter: other.id }), [volume.id]);
  const attached = async (listing: object) =>
    (await listVolumeAttachments(kysely, { tenancyId, kind: 'boot', limit: 9, ...listing })).items.length;
  assert.equal(await attached({ instanceId: instance.id, volumeId: volume.id, isAttached: true }), 1);
  assert.equal(await attached({ id: attachment.id, compartmentIds: ['cmp-other'] }), 0);
  await detachVolumes(kysely, instance.id, 7);
  assert.equal(await attached({ isAttached: true }), 0);
  assert.equal(await attached({ isAttached: false, startAfter: 'vat-f' }), 1);

  await updateVolume(kysely, volume.id, { deleted_at_ms: 7 });
  await updateInstance(kysely, instance.id, { deleted_at_ms: 7 });
  await forgetVolumes(kysely, 8);
  assert.ok(await findVolume(kysely, tenancyId, volume.id), 'an instance that is known had it');
  await forgetInstances(kysely, 7);
  assert.ok(await findInstance(kysely, tenancyId, instance.id));
  await forgetInstances(kysely, 8);
  await forgetVolumes(kysely, 8);
  assert.equal(await findInstance(kysely, tenancyId, instance.id), undefined);
  assert.equal(await findVolume(kysely, tenancyId, volume.id), undefined);
  assert.ok(await findVolume(kysely, tenancyId, other.id));
});

forEachEngine(
  'the state of an instance follows from the job that works on it, and from its power',
  async (open) => {
    const { kysely } = await open();
    const { id: tenancyId } = await makeTenancy(kysely);
    const row = instanceRow(tenancyId, { cpu_count: 3, memory_bytes: 5 });
    await insertInstance(kysely, row);
    const seen = async () => (await findInstance(kysely, tenancyId, row.id))?.state;
    const share = () => kysely.transaction().execute((each) => lockedHostShare(each));
    const none = { cpuCount: 0, memoryBytes: 0 };
    const all = { cpuCount: 3, memoryBytes: 5 };
    assert.deepEqual([await seen(), await share()], ['STOPPED', none]);
    const states = [
      ['instance-launch', 'PROVISIONING', all],
      ['instance-start', 'STARTING', all],
      ['instance-stop', 'STOPPING', all],
      ['instance-terminate', 'TERMINATING', none],
      ['image-capture', 'CREATING_IMAGE', none],
      ['volume-attach', 'STOPPED', none],
      ['volume-fill', 'STOPPED', none],
    ] as const;
    for (const [kind, state, taken] of states) {
      const job = jobRow(tenancyId, { kind });
      await insertJob(kysely, job);
      await insertJobResources(kysely, job.id, [
        { resourceId: row.id, entityType: 'instance', action: 'related' },
      ]);
      assert.deepEqual([await seen(), await share()], [state, taken], kind);
      const listed = await listInstances(kysely, { tenancyId, state, limit: 9 });
      assert.equal(listed.items.length, 1, kind);
      await updateJob(kysely, job.id, { state: 'failed' });
    }
    await notePower(kysely, row.id, { power_state: 'RUNNING', power_reason: null });
    await notePower(kysely, row.id, { power_state: 'RUNNING', power_reason: null });
    const running = await findInstance(kysely, tenancyId, row.id);
    assert.deepEqual([running?.state, running?.version, await share()], ['RUNNING', 2, all]);
    await notePower(kysely, row.id, { power_state: 'STOPPED', power_reason: 'crashed: gone' });
    assert.equal((await findInstance(kysely, tenancyId, row.id))?.version, 3);
    await updateInstance(kysely, row.id, { deleted_at_ms: 1 });
    assert.equal(await seen(), 'TERMINATED');
  },
);
