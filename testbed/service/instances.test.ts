import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { bootDisk, type Then } from './boot-sector.testkit.ts';
import { ServiceProcess, temporaryFolder } from './service.testkit.ts';

const MIB = 1024 * 1024;
const folder = temporaryFolder('run');
const dataFolder = join(folder.path, 'data');
const shapesFile = join(folder.path, 'shapes.json');
writeFileSync(
  shapesFile,
  '[{"name": "tiny", "architecture": "x86_64", "ocpus": 0.5, "memoryInGBs": 0.0625}]',
);
const service = await start();
await service.json('POST', '/buckets', 201, { name: 'incoming' });
after(async () => {
  const { items } = await service.json<any>('GET', '/instances', 200);
  for (const { id, state } of items) if (state !== 'TERMINATED' && !process.env.KEEP) await terminate(id);
  await service.stop();
  if (!process.env.KEEP) folder.remove();
});

function start(...flags: string[]) {
  return ServiceProcess.start(dataFolder, [], ['--shapes', shapesFile, ...flags]);
}
async function terminate(id: string) {
  const { job } = await service.json<any>('DELETE', `/instances/${id}`, 202);
  const ended = await service.ended(job.id);
  assert.equal(ended.state, 'succeeded', JSON.stringify(ended));
}
async function image(text: string, then: Then) {
  return service.importBytes(`${text}-${then}`, bootDisk(text, then, 8 * MIB), 'raw');
}

test('try', async () => {
  const { id: imageId } = await image('hello', 'off-by-button');
  const { instance, job } = await service.json<any>('POST', '/instances', 202, { name: 'one', imageId });
  console.log(instance, job.id);
  console.log(await service.ended(job.id));
  console.log(await service.json('GET', `/instances/${instance.id}`, 200));
  for (;;) {
    const { items } = await service.json<any>('GET', '/jobs', 200);
    const fill = items.find((each: any) => each.kind === 'volume-fill');
    if (fill === undefined) continue;
    const end = await service.ended(fill.id);
    console.log(
      end.state,
      end.log.map((each) => each.message),
      end.error,
    );
    break;
  }
  const stop = await service.json<any>('POST', `/instances/${instance.id}/actions`, 202, {
    action: 'softstop',
    graceSeconds: 20,
  });
  console.log(await service.ended(stop.job.id));
  console.log(await service.json('GET', `/instances/${instance.id}`, 200));
});
