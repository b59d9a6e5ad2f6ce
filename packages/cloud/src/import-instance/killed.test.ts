import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { watch } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execute } from '../archive.testkit.ts';
import { type Scene, scene } from './scene.testkit.ts';
import { type ImportState, JOURNAL_NAME } from './state.ts';

const MIB = 2 ** 20;
const child = fileURLToPath(new URL('import-child.testkit.ts', import.meta.url));

type Moment = readonly [name: string, isReached: (state: Partial<ImportState>) => boolean];

const moments: readonly Moment[] = [
  ['the journal', () => true],
  ['the image', ({ image }) => image?.id !== undefined],
  ['the finished image', ({ image }) => image?.isReady === true],
  ['the export', ({ object }) => object?.workRequestId !== undefined],
  ['the object', ({ object }) => object?.version !== undefined],
  ['the disk', ({ disk }) => disk !== undefined],
  ['the finished disk', ({ written }) => written !== undefined],
  ['the machine', ({ files }) => files !== undefined],
  ['the removed object', ({ object }) => object?.isRemoved !== undefined],
];

/** Starts the import as a process and kills it as soon as its journal says so much. */
async function killAt({ wish, folder }: Scene, isReached: Moment[1]): Promise<void> {
  await mkdir(folder, { recursive: true });
  const watcher = watch(folder);
  const flags = ['--conditions=source', child, JSON.stringify(wish)];
  const running = spawn(process.execPath, flags, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = once(running, 'exit');
  const look = async () => {
    const text = await readFile(join(folder, JOURNAL_NAME), 'utf8').catch(() => '{}');
    if (text !== '{}' && isReached(JSON.parse(text))) running.kill('SIGKILL');
  };
  watcher.on('change', () => void look());
  await look();
  await ended;
  watcher.close();
}

test('an import that is killed at any step goes on, and the cloud is asked for each thing once', async (t) => {
  const setting = await scene(t);
  const { cloud, folder, raw, diskDigest, run } = setting;
  for (const [, isReached] of moments) await killAt(setting, isReached);
  const { state } = await run();
  assert.equal(state.written?.digest, diskDigest);
  await execute('qemu-img', ['compare', '-f', 'raw', '-F', 'vmdk', raw, join(folder, 'web-01.vmdk')]);
  const { stdout } = await execute('qemu-img', ['info', '--output=json', join(folder, 'web-01.vmdk')]);
  assert.equal(JSON.parse(stdout).format, 'vmdk');
  const settings = await readFile(join(folder, 'web-01.vbox'), 'utf8');
  assert.ok(settings.includes(`{${state.written?.uuid}}`));
  const asked = cloud.requests.filter((line) => line.startsWith('POST '));
  const different = new Set(asked.map((line) => line.replace(/ocid1[^/]+/, 'ID')));
  assert.deepEqual([...different], ['POST /20160918/images', 'POST /20160918/images/ID/actions/export']);
  assert.equal(cloud.madeCount(), 2);
  assert.deepEqual(cloud.images, []);
  assert.equal(cloud.objects.size, 0);
  assert.deepEqual((await readdir(folder)).sort(), [
    JOURNAL_NAME,
    'web-01-create.sh',
    'web-01.vbox',
    'web-01.vmdk',
  ]);
});

test('a download that is killed goes on from its last checkpoint', async (t) => {
  const setting = await scene(t, {}, 104 * MIB);
  const { cloud, folder, raw, run, diskDigest } = setting;
  cloud.faults.holdBehindBytes = 80 * MIB;
  await killAt(setting, ({ disk }) => (disk?.doneBytes ?? 0) >= 64 * MIB);
  cloud.release();
  const names = await readdir(folder);
  assert.ok(!names.includes('web-01.vmdk') && names.includes('.web-01.vmdk.partial'), names.join());
  cloud.sentBytes = 0;
  const { state } = await run();
  assert.ok(cloud.sentBytes < 60 * MIB, `${cloud.sentBytes} bytes were sent again`);
  assert.equal(state.written?.digest, diskDigest);
  await execute('qemu-img', ['compare', '-f', 'raw', '-F', 'vmdk', raw, join(folder, 'web-01.vmdk')]);
});
