import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type JobBody, ServiceProcess, temporaryFolder } from './service.testkit.ts';

const MIB = 1024 * 1024;
const folder = temporaryFolder('kill');
const dataFolder = join(folder.path, 'data');
after(() => folder.remove());

/** Bytes that compress by half, different ones each time. */
function someDisk(): Uint8Array {
  const disk = new Uint8Array(96 * MIB);
  for (let at = 0; at < disk.length; at += 128 * 1024) disk.set(randomBytes(64 * 1024), at);
  return disk;
}

/** Lets the service work for a random while, then kills it; gives the next one. */
async function killSoon(service: ServiceProcess, withinMs: number): Promise<ServiceProcess> {
  // Any moment will do: the pause chooses what is hit, nothing waits for it.
  await pause(randomInt(withinMs));
  await service.kill();
  return ServiceProcess.start(dataFolder);
}

test('killed at twenty random moments of imports and exports, nothing acknowledged is lost', async () => {
  let service = await ServiceProcess.start(dataFolder);
  for (const name of ['incoming', 'outgoing']) await service.json('POST', '/buckets', 201, { name });
  const jobs: string[] = [];
  const acknowledged: { name: string; digest: string }[] = [];
  for (let round = 0; round < 20; round++) {
    const isExport = round % 2 === 1;
    if (!isExport) {
      const bytes = someDisk();
      await service.put(`/buckets/incoming/objects/disk-${round}`, bytes);
      const request = {
        name: `disk-${round}`,
        format: 'raw',
        source: { bucket: 'incoming', key: `disk-${round}` },
      };
      jobs.push((await service.startJob('/images', request)).id);
    } else {
      const [image] = await service.images();
      assert.ok(image, 'the import before was not lost');
      const forms = [
        { format: 'qcow2', compression: 'zlib' },
        { format: 'vmdk', options: { subformat: 'streamOptimized' } },
        { format: 'vdi', materialize: true },
      ];
      const request = { ...forms[round % 3], bucket: 'outgoing', key: `disk-${round}` };
      jobs.push((await service.startJob(`/images/${image.id}/exports`, request)).id);
    }
    service = await killSoon(service, 800);
    const job: JobBody = await service.ended(jobs.at(-1)!);
    assert.equal(job.state, 'succeeded', JSON.stringify(job));
    if (isExport) {
      const head = await service.fetch(`/buckets/outgoing/objects/disk-${round}`, { method: 'HEAD' });
      assert.equal(Number(head.headers.get('content-length')), job.result?.lengthBytes);
    } else {
      const [image] = await service.images();
      assert.equal(image?.name, `disk-${round}`);
      acknowledged.push({ name: image.name, digest: image.diskDigest });
    }
  }
  const images = await service.images();
  assert.deepEqual(
    images.map(({ name, diskDigest }) => `${name} ${diskDigest}`).sort(),
    acknowledged.map(({ name, digest }) => `${name} ${digest}`).sort(),
  );
  for (const id of jobs) assert.equal((await service.job(id)).state, 'succeeded');
  await service.requireCleanVault();
  await service.stop();
});
