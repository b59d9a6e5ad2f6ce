import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { Machinery } from './instances.testkit.ts';

/** A time that does not come. */
const NEVER_MS = Number.MAX_SAFE_INTEGER;

test('what QEMU says against a machine ends its start at once, and is asked again when somebody asks', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('broken', 'nothing');
  const { id } = await m.launched(image.id, { materialize: true });
  await m.acted(id, 'stop');
  const [name = ''] = m.volumeFiles();
  const path = join(m.service.dataFolder, 'volumes', name);
  const whole = readFileSync(path);
  writeFileSync(path, 'no qcow2');
  const { job } = await m.beginAction(id, 'start');
  const failed = await m.service.ended(job.id);
  assert.deepEqual([failed.state, failed.error?.code, failed.attempt], ['failed', 'STORE_IO', 1]);
  assert.equal((await m.instance(id)).state, 'STOPPED');
  writeFileSync(path, whole);
  await m.acted(id, 'start');
  const stopping = await m.beginAction(id, 'softstop', { graceSeconds: 600 });
  // One job at a time has an instance, also one that was there before.
  await m.service.json('POST', `/jobs/${job.id}/retry`, 409);
  await m.service.json('POST', `/jobs/${stopping.job.id}/cancel`, 200);
  assert.equal((await m.service.ended(stopping.job.id)).state, 'canceled');
  await m.acted(id, 'stop');
  await m.service.json('POST', `/jobs/${job.id}/retry`, 200);
  await m.succeeded(job.id);
  assert.equal((await m.instance(id)).state, 'RUNNING');
});

test('an attachment that is canceled while it waits is undone, and is not done again', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('waits', 'nothing');
  const { id } = await m.launched(image.id, { materialize: true });
  await m.acted(id, 'stop');
  const volume = await m.service.json<{ id: string }>('POST', '/volumes', 201, { sizeBytes: 2 ** 20 });
  const { job, attachment } = await m.service.json<{ job: { id: string }; attachment: { id: string } }>(
    'POST',
    `/instances/${id}/volumes`,
    202,
    { volumeId: volume.id },
  );
  await m.succeeded(job.id);
  await m.service.stop();
  // As a kill leaves it between what the hypervisor was told and the job's end, while others are done first.
  const catalogue = new DatabaseSync(join(m.service.dataFolder, 'catalogue.sqlite'));
  catalogue
    .prepare(
      "UPDATE jobs SET state = 'queued', finished_at_ms = NULL, result_json = NULL, not_before_ms = ? WHERE id = ?",
    )
    .run(NEVER_MS, job.id);
  catalogue.close();
  await m.startAgain();
  const block = async () => (await m.instance(id)).volumes.filter(({ kind }) => kind === 'block');
  assert.deepEqual(
    (await block()).map(({ state }) => state),
    ['attaching'],
  );
  await m.service.json('POST', `/jobs/${job.id}/cancel`, 200);
  assert.equal((await m.service.ended(job.id)).state, 'canceled', attachment.id);
  assert.deepEqual(await block(), []);
  const definition = readFileSync(join(m.service.dataFolder, 'machines', id, 'definition.json'), 'utf8');
  assert.ok(!definition.includes(volume.id));
  await m.service.json('POST', `/jobs/${job.id}/retry`, 409);
  await m.service.json('DELETE', `/volumes/${volume.id}`, 204);
  await m.acted(id, 'start');
});

test('a boot volume has the size of a volume at most', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('large', 'nothing');
  await m.service.json('POST', '/instances', 400, {
    imageId: image.id,
    volumeSizeBytes: Number.MAX_SAFE_INTEGER,
  });
});

test('who may not delete volumes deletes none with an instance that has one of others', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('kept', 'nothing');
  const first = await m.launched(image.id, { materialize: true });
  const volumeId = first.volumes[0]?.volumeId ?? '';
  const { job } = await m.beginTermination(first.id, '?keepBootVolume=true');
  await m.succeeded(job.id);
  const member = await m.service.json<{ token: string; user: { id: string } }>('POST', '/users', 201, {
    name: 'member',
  });
  const { compartmentId } = await m.service.json<{ compartmentId: string }>(
    'GET',
    `/volumes/${volumeId}`,
    200,
  );
  for (const [verb, resource] of [
    ['manage', 'instances'],
    ['use', 'volumes'],
    ['read', 'images'],
  ])
    await m.service.json('POST', `/users/${member.user.id}/grants`, 201, { verb, resource, compartmentId });
  const ask = (method: string, path: string, body?: object) =>
    m.service.fetch(path, {
      method,
      headers: {
        authorization: `Bearer ${member.token}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  const launch = async (source: object): Promise<string> => {
    const answer = await ask('POST', '/instances', { ...source, compartmentId });
    const started = (await answer.json()) as { instance: { id: string }; job: { id: string } };
    assert.equal(answer.status, 202, JSON.stringify(started));
    await m.succeeded(started.job.id);
    return started.instance.id;
  };
  const statusOf = async (method: string, path: string) => {
    const answer = await ask(method, path);
    await answer.arrayBuffer();
    return answer.status;
  };
  const id = await launch({ volumeId });
  assert.equal(await statusOf('DELETE', `/instances/${id}`), 403);
  assert.equal(await statusOf('DELETE', `/instances/${id}?keepBootVolume=true`), 202);
  // A boot volume that came with the instance goes with it.
  const own = await launch({ imageId: image.id });
  assert.equal(await statusOf('DELETE', `/instances/${own}`), 202);
  await m.inState(own, 'TERMINATED');
  await m.inState(id, 'TERMINATED');
  const { state } = await m.service.json<{ state: string }>('GET', `/volumes/${volumeId}`, 200);
  assert.equal(state, 'available');
});
