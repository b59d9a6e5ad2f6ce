import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Machinery } from './instances.testkit.ts';
import type { ImageBody, JobBody } from './service.testkit.ts';

/** Lets the service work for a random while, then kills it and starts the next one. */
async function killSoon(m: Machinery, withinMs: number): Promise<void> {
  // Any moment will do: the pause chooses what is hit, nothing waits for it.
  await pause(randomInt(withinMs));
  await m.killAndStart();
}

test('killed while it launches and terminates, the service leaves no machine and no disk behind', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('killed', 'nothing');
  for (let round = 0; round < 4; round++) {
    const { instance, job } = await m.beginLaunch(image.id, { materialize: round % 2 === 1 });
    await killSoon(m, 500);
    await m.succeeded(job.id);
    assert.equal((await m.instance(instance.id)).state, 'RUNNING');
    assert.equal(m.qemus().length, 1);
    await m.said(instance.id, 'killed');
    const end = await m.beginTermination(instance.id);
    await killSoon(m, 300);
    await m.succeeded(end.job.id);
    assert.equal((await m.instance(instance.id)).state, 'TERMINATED');
    assert.deepEqual(m.qemus(), []);
    // A kill just behind the job's end leaves the file to the next start.
    if (m.volumeFiles().length > 0) await m.killAndStart();
    assert.deepEqual(m.volumeFiles(), []);
  }
  await m.service.requireCleanVault();
});

test('killed while it makes images of a guest that runs, the service goes on with the same point in time', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('taken', 'nothing', 64 * 1024 * 1024);
  const { id } = await m.launched(image.id);
  await m.said(id, 'taken');
  for (let round = 0; round < 3; round++) {
    const { job, imageIds } = await m.service.json<{ job: JobBody; imageIds: string[] }>(
      'POST',
      `/instances/${id}/images`,
      202,
      { name: `taken-${round}` },
    );
    await killSoon(m, 600);
    await m.succeeded(job.id);
    const made = await m.service.json<ImageBody & { consistency: string }>(
      'GET',
      `/images/${imageIds[0]}`,
      200,
    );
    assert.equal(made.consistency, 'crash');
    assert.equal(await m.startsOn(made.id), 1);
    assert.equal((await m.instance(id)).state, 'RUNNING');
  }
  const images = await m.service.images();
  const taken = images.filter(({ name }) => name.startsWith('taken-'));
  assert.equal(new Set(taken.map(({ diskDigest }) => diskDigest)).size, 1);
  await m.service.requireCleanVault();
});

test('a point in time that is gone with its machine is told of, and no other is taken in its place', async (t) => {
  const m = await Machinery.start(t);
  const image = await m.image('lost', 'nothing', 64 * 1024 * 1024);
  const { id } = await m.launched(image.id);
  await m.said(id, 'lost');
  const { job, imageIds } = await m.service.json<{ job: JobBody; imageIds: string[] }>(
    'POST',
    `/instances/${id}/images`,
    202,
    { name: 'lost' },
  );
  // The point in time is taken when its phase is over.
  for (let now = job; now.phase !== 'copy' && now.state !== 'succeeded'; now = await m.service.job(job.id));
  await m.service.kill();
  for (const pid of m.qemus()) process.kill(pid, 'SIGKILL');
  await m.startAgain();
  const ended = await m.service.ended(job.id);
  const made = await m.service.fetch(`/images/${imageIds[0]}`);
  // It may have been done just before the kill.
  if (ended.state === 'succeeded') assert.equal(made.status, 200);
  else assert.deepEqual([ended.state, made.status], ['failed', 404], JSON.stringify(ended));
  await made.arrayBuffer();
  assert.equal((await m.inState(id, 'STOPPED')).state, 'STOPPED');
  await m.acted(id, 'start');
});
