import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { debianDisk } from '../guests/debian-disk.ts';
import { GUARD } from '../guests/running-guest.testkit.ts';
import { Machinery } from './instances.testkit.ts';

test('a guest that runs lets go of a volume, which another instance may have then', GUARD, async (t) => {
  const m = await Machinery.start(t);
  const disk = readFileSync(await debianDisk('count'));
  const image = await m.service.importBytes('linux', disk, 'raw');
  const { id } = await m.launched(image.id, { shape: 'small', launchOptions: { firmware: 'BIOS' } });
  const other = await m.launched((await m.image('other', 'nothing')).id);
  await m.said(id, 'gantry guest: counts');
  const volume = await m.service.json<{ id: string }>('POST', '/volumes', 201, { sizeBytes: 4 * 2 ** 20 });
  const change = async (method: string, path: string, body?: object) => {
    const { job } = await m.service.json<{ job: { id: string } }>(method, path, 202, body);
    await m.succeeded(job.id);
  };
  const states = async (instanceId: string) =>
    (await m.instance(instanceId)).volumes.map(({ kind, state }) => `${kind} ${state}`);
  // Twice: the place in the machine is free again.
  for (let time = 0; time < 2; time++) {
    await change('POST', `/instances/${id}/volumes`, { volumeId: volume.id });
    assert.deepEqual(await states(id), ['boot attached', 'block attached']);
    await m.service.json('POST', `/instances/${other.id}/volumes`, 409, { volumeId: volume.id });
    await change('DELETE', `/instances/${id}/volumes/${volume.id}`);
    assert.deepEqual(await states(id), ['boot attached']);
  }
  assert.equal((await m.instance(id)).state, 'RUNNING');
  await change('POST', `/instances/${other.id}/volumes`, { volumeId: volume.id });
  assert.deepEqual(await states(other.id), ['boot attached', 'block attached']);
});
