import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { execute } from '../archive.testkit.ts';
import type { TestCloud } from '../oci-cloud.testkit.ts';
import { importInstance, planInstanceImport, resumeInstanceImport } from './import.ts';
import type { ImportProgress } from './progress.ts';
import { scene } from './scene.testkit.ts';

function count(cloud: TestCloud, start: string): number {
  return cloud.requests.filter((line) => line.startsWith(start)).length;
}

test('an instance becomes a disk and a machine, and nothing is left behind', async (t) => {
  const { cloud, wish, folder, raw, diskDigest, notes, tools } = await scene(t);
  const seen: ImportProgress[] = [];
  const outcome = await importInstance(
    wish,
    tools((progress) => seen.push(progress)),
  );
  await execute('qemu-img', ['compare', '-f', 'raw', '-F', 'vmdk', raw, join(folder, 'web-01.vmdk')]);
  const { stdout } = await execute('qemu-img', ['info', '--output=json', join(folder, 'web-01.vmdk')]);
  assert.equal(JSON.parse(stdout)['format-specific'].data['create-type'], 'monolithicSparse');
  assert.equal(outcome.state.written?.digest, diskDigest);
  assert.equal(outcome.state.written?.proof, 'read-back');
  assert.deepEqual(outcome.state.leftovers, []);
  assert.deepEqual(cloud.images, []);
  assert.equal(cloud.objects.size, 0);
  const names = (await readdir(folder)).sort();
  assert.deepEqual(names, ['gantry-import.json', 'web-01-create.sh', 'web-01.vbox', 'web-01.vmdk']);
  const settings = await readFile(join(folder, 'web-01.vbox'), 'utf8');
  assert.ok(settings.includes(`{${outcome.state.written?.uuid}}`), settings);
  assert.match(settings, /EFI/);
  assert.match(settings, /RAMSize="4096"/);
  assert.match(settings, /CPU[^>]*count="2"/);
  assert.match(settings, /name="web 01"/);
  await execute('sh', ['-n', join(folder, 'web-01-create.sh')]);
  assert.deepEqual(notes, [`what is done is written down in ${outcome.journalPath}`]);
  assert.deepEqual(
    [...new Set(seen.map(({ phase }) => phase))],
    ['create image', 'export image', 'download', 'verify', 'write machine', 'clean up'],
  );
  assert.deepEqual(
    seen.map(({ overallPercent }) => overallPercent),
    seen.map(({ overallPercent }) => overallPercent).sort((a, b) => a - b),
  );
  assert.equal(seen.at(-1)?.overallPercent, 100);

  const before = cloud.requests.length;
  const again = await resumeInstanceImport(outcome.journalPath, tools());
  assert.equal(again.wasFinished, true);
  assert.equal((await importInstance(wish, tools())).wasFinished, true);
  assert.equal(cloud.requests.length, before);
});

test('a plan only reads, and makes nothing here either', async (t) => {
  const { cloud, wish, folder, tools } = await scene(t);
  const plan = await planInstanceImport(wish, tools());
  assert.equal(plan.instance.cpuCount, 2);
  assert.equal(plan.instance.memoryBytes, 4 * 2 ** 30);
  assert.equal(plan.instance.operatingSystem, 'Oracle Linux');
  assert.equal(plan.folder, folder);
  assert.ok(cloud.requests.length <= 6, cloud.requests.join('\n'));
  assert.ok(cloud.requests.every((line) => line.startsWith('GET ')));
  await assert.rejects(readdir(folder), { code: 'ENOENT' });
});

test('an import that is left in any phase goes on, and asks the cloud for everything once', async (t) => {
  const { cloud, wish, raw, folder, tools, run } = await scene(t);
  for (const phase of ['create image', 'export image', 'download', 'verify', 'write machine', 'clean up']) {
    const leaving = new AbortController();
    const onProgress = (progress: ImportProgress) => {
      if (progress.phase === phase) leaving.abort(new Error(`left in ${phase}`));
    };
    await assert.rejects(importInstance(wish, tools(onProgress, leaving.signal)), {
      message: `left in ${phase}`,
    });
  }
  await run();
  await execute('qemu-img', ['compare', '-f', 'raw', '-F', 'vmdk', raw, join(folder, 'web-01.vmdk')]);
  assert.equal(count(cloud, 'POST /20160918/images'), 2, 'one image, one export');
  assert.deepEqual(cloud.images, []);
  assert.equal(cloud.objects.size, 0);
});

test('a request whose answer is lost is made once', async (t) => {
  const { cloud, run } = await scene(t, { keep: true });
  cloud.faults.loseAnswerTo = 'createImage';
  const done = run();
  await done;
  assert.equal(count(cloud, 'POST /20160918/images'), 3);
  assert.equal(cloud.images.length, 1);
  assert.equal(cloud.objects.size, 1);
});

test('what OCI ends as failed is told in its words, and asked for anew', async (t) => {
  const { cloud, folder, run } = await scene(t);
  cloud.faults.failNextImage = true;
  await assert.rejects(run(), { code: 'STORE_IO', message: /no room today \(OutOfCapacity\)/ });
  cloud.faults.loseNextExport = true;
  await assert.rejects(run(), { code: 'STORE_IO', message: /the export has ended, and there is no object/ });
  const { state } = await run();
  assert.deepEqual(state.leftovers, []);
  assert.deepEqual(cloud.images, []);
  assert.ok((await readdir(folder)).includes('web-01.vmdk'));
});

test('what cannot be removed is listed with how to remove it', async (t) => {
  const { cloud, run } = await scene(t);
  cloud.faults.refuse = { start: 'DELETE ', status: 409, code: 'Conflict', times: 2 };
  const { state } = await run();
  const [object, image] = state.leftovers ?? [];
  assert.match(
    object?.remove ?? '',
    /^oci os object delete --namespace ns --bucket-name exports --object-name web-01-/,
  );
  assert.equal(image?.remove, `oci compute image delete --image-id ${cloud.images[0]?.id} --region local`);
  assert.match(image?.why ?? '', /409 Conflict/);
});

test('an object that somebody replaced is not taken for the export', async (t) => {
  const { cloud, run, wish, tools } = await scene(t);
  const leaving = new AbortController();
  const onProgress = ({ phase }: ImportProgress) => phase === 'download' && leaving.abort(new Error('left'));
  await assert.rejects(importInstance(wish, tools(onProgress, leaving.signal)), { message: 'left' });
  for (const name of cloud.objects.keys()) cloud.objects.set(name, 'another');
  await assert.rejects(run(), { code: 'STORE_CHANGED', message: /is not the object that was exported/ });
});

test('an archive that somebody removed is exported again', async (t) => {
  const { cloud, run, wish, tools, diskDigest } = await scene(t);
  const leaving = new AbortController();
  const onProgress = ({ phase }: ImportProgress) => phase === 'download' && leaving.abort(new Error('left'));
  await assert.rejects(importInstance(wish, tools(onProgress, leaving.signal)), { message: 'left' });
  cloud.objects.clear();
  await assert.rejects(run(), { code: 'STORE_NOT_FOUND', message: /gone from the bucket/ });
  assert.equal((await run()).state.written?.digest, diskDigest);
  assert.equal(count(cloud, 'POST /20160918/images/'), 2);
});

test('a disk that is not what the service keeps is not trusted, and downloaded again', async (t) => {
  const { cloud, folder, run, diskDigest } = await scene(t);
  cloud.faults.diskDigest = `disk1:${'0'.repeat(64)}`;
  await assert.rejects(run(), { code: 'STORE_CORRUPT' });
  assert.ok(!(await readdir(folder)).includes('web-01.vmdk'));
  cloud.faults.diskDigest = diskDigest;
  const { state } = await run();
  assert.equal(state.written?.proof, 'service');
});

test('a folder with something else in it is left alone', async (t) => {
  const { folder, run, cloud } = await scene(t);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'other'), '');
  await assert.rejects(run(), { code: 'STORE_EXISTS' });
  await writeFile(join(folder, 'gantry-import.json'), '{}');
  await assert.rejects(run(), { code: 'STORE_REFUSED', message: /is no journal/ });
  assert.equal(count(cloud, 'POST '), 0);
});
