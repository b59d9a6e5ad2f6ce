import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gantry, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg, sampleDisk, sampleFiles } from '../disk/images.testkit.ts';
import { startService, stopService, type TestService } from '../service.testkit.ts';

const MIB = 1024 * 1024;

let home: string;
let service: TestService;
/** The sample disk, as qemu-img wrote it. */
let raw: string;
let qcow2: string;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'gantry-service-'));
  ({ raw, qcow2 } = await sampleFiles(home));
  service = await startService(home);
});

after(async () => {
  await stopService(service);
  await rm(home, { recursive: true });
});

function done(...args: string[]): Promise<string> {
  return service.done(...args);
}

async function importSample(name: string): Promise<{ id: string; diskDigest: string }> {
  return JSON.parse(await done('image', 'import', qcow2, '--name', name, '--wait', '-o', 'json'));
}

test('import --wait brings a file in, leaves nothing in the bucket of uploads, and shows the image', async () => {
  const image = JSON.parse(await done('image', 'import', qcow2, '--name', 'waited', '--wait', '-o', 'json'));
  const [digest] = (await gantry(['disk', 'digest', raw])).stdout.split('  ');
  assert.equal(image.diskDigest, digest);
  assert.equal(image.virtualSizeBytes, 8 * MIB);
  assert.equal(image.sourceFormat, 'qcow2');
  assert.deepEqual(JSON.parse(await done('object', 'list', 'gantry-uploads', '-o', 'json')), []);
  assert.deepEqual(JSON.parse(await done('image', 'show', 'waited', '-o', 'json')), image);
  assert.deepEqual(JSON.parse(await done('image', 'show', image.id, '-o', 'json')), image);
  assert.match(await done('image', 'list'), new RegExp(`^${image.id}  waited +8 MiB  qcow2 `, 'm'));
  await done('image', 'delete', 'waited');
  const gone = await service.gantry('image', 'show', image.id);
  assert.equal(gone.code, 5);
  assert.match(gone.stderr, /^error\[NOT_FOUND\]: .*\n {2}do: see gantry image list\n$/);
});

test('import without --wait prints the job, which can be watched; the upload is used again', async () => {
  const started = await service.gantry('image', 'import', raw, '--name', 'unwaited', '--format', 'raw');
  assert.equal(started.code, 0);
  const id = started.stdout.trim();
  assert.match(started.stderr, new RegExp(`gantry job watch ${id}\n`));
  const [remove] = /gantry object delete (\S+)/.exec(started.stderr)?.slice(1) ?? [];
  assert.ok(remove);
  const watched = JSON.parse(await done('job', 'watch', id, '-o', 'json'));
  assert.equal(watched.state, 'succeeded');
  const again = await service.gantry('image', 'import', raw, '--name', 'again', '--format', 'raw', '--wait');
  assert.equal(again.code, 0);
  assert.match(again.stderr, /disk\.raw was uploaded before\n/);
  assert.equal((await service.gantry('object', 'delete', remove)).code, 5);
  const shown = await done('job', 'show', id);
  assert.match(shown, /^id: job-.*\nkind: image-import\nstate: succeeded\n/);
  assert.match(shown, /\nlog:\n {2}\d{4}-/);
  const jobs = JSON.parse(await done('job', 'list', '--state', 'succeeded', '-o', 'json'));
  assert.ok(jobs.some((job: { id: string }) => job.id === id));
});

test('export writes every format as a file that qemu-img reads as the same disk, and says that it is verified', async (t) => {
  const folder = await temporaryFolder(t);
  const image = await importSample('exported');
  for (const [format, peer, ...options] of [
    ['raw', 'raw'],
    ['qcow2', 'qcow2'],
    ['qcow2', 'qcow2', '-O', 'cluster_size=4096'],
    ['qcow2', 'qcow2', '--compress', 'zstd'],
    ['qcow2', 'qcow2', '--compress', 'zlib'],
    ['vmdk', 'vmdk'],
    ['vmdk', 'vmdk', '-O', 'subformat=streamOptimized'],
    ['vdi', 'vdi'],
    ['vhd', 'vpc'],
  ] as const) {
    const target = join(folder, 'out');
    const label = [format, ...options].join(' ');
    const text = await done(
      'image',
      'export',
      image.id,
      '--format',
      format,
      '--to',
      target,
      ...options,
      '-o',
      'json',
    );
    const { lengthBytes, verified, diskDigest } = JSON.parse(text);
    assert.equal(verified, true);
    assert.equal(diskDigest, image.diskDigest);
    assert.equal((await stat(target)).size, lengthBytes);
    assert.match(await qemuImg('compare', '-f', peer, '-F', 'raw', target, raw), /identical/, label);
    assert.deepEqual(await readdir(folder), ['out']);
  }
});

test('export to - writes the same bytes as to a file, made here or there', async (t) => {
  const folder = await temporaryFolder(t);
  await importSample('piped');
  for (const options of [[], ['--compress', 'zstd']]) {
    const target = join(folder, 'out.qcow2');
    await done('image', 'export', 'piped', '--format', 'qcow2', '--to', target, ...options);
    const piped = await service.gantry(
      'image',
      'export',
      'piped',
      '--format',
      'qcow2',
      '--to',
      '-',
      ...options,
    );
    assert.equal(piped.code, 0, piped.stderr);
    assert.ok(piped.stdoutBytes.equals(await readFile(target)));
  }
  const front = await service.gantry(
    'image',
    'export',
    'piped',
    '--format',
    'qcow2',
    '--to',
    '-',
    '--compress',
    'zlib',
  );
  assert.equal(front.code, 1);
  assert.match(front.stderr, /^error\[IMAGE_NOT_SEQUENTIAL\]/);
});

test('a file that is made here is, byte for byte, the one that the service makes', async (t) => {
  const folder = await temporaryFolder(t);
  const sparse = join(folder, 'sparse.raw');
  await writeFile(sparse, sampleDisk());
  // Mostly zeros, and no whole number of clusters.
  await truncate(sparse, 100 * MIB + 512);
  await qemuImg('convert', '-f', 'raw', '-O', 'qcow2', sparse, join(folder, 'sparse.qcow2'));
  await done('image', 'import', join(folder, 'sparse.qcow2'), '--name', 'sparse', '--wait');
  await done('bucket', 'create', 'made-there');
  for (const [format, ...options] of [
    ['raw'],
    ['vdi', '-O', 'subformat=fixed'],
    ['vhd', '-O', 'subformat=fixed'],
    ['vmdk', '-O', 'subformat=streamOptimized'],
    ['qcow2', '--compress', 'zlib'],
  ] as const) {
    const [here, there] = [join(folder, `here.${format}`), join(folder, `there.${format}`)];
    const form = ['--format', format, ...options];
    await done('image', 'export', 'sparse', ...form, '--to', here);
    await done('image', 'export', 'sparse', ...form, '--to', `made-there/${format}`, '--wait');
    await done('object', 'get', `made-there/${format}`, there);
    assert.ok((await readFile(here)).equals(await readFile(there)), format);
  }
});

test('export into a bucket makes an object that takes no room, or bytes when asked for', async (t) => {
  const folder = await temporaryFolder(t);
  await importSample('shipped');
  await done('bucket', 'create', 'ships');
  const missing = await service.gantry(
    'image',
    'export',
    'shipped',
    '--format',
    'vmdk',
    '--to',
    'no-such/x.vmdk',
  );
  assert.equal(missing.code, 5);
  assert.match(missing.stderr, /\.\/no-such\/x\.vmdk for a file here/);
  await done('image', 'export', 'shipped', '--format', 'vmdk', '--to', 'ships/a/view.vmdk', '--wait');
  const bytes = ['--to', 'ships/a/bytes.vmdk', '--materialize'];
  const job = (await done('image', 'export', 'shipped', '--format', 'vmdk', ...bytes)).trim();
  await done('job', 'watch', job);
  const listed = JSON.parse(await done('object', 'list', 'ships/a/', '-o', 'json'));
  assert.deepEqual(
    listed.map(({ key, view }: { key: string; view: unknown }) => [key, view !== null]),
    [
      ['a/bytes.vmdk', false],
      ['a/view.vmdk', true],
    ],
  );
  const target = join(folder, 'got.vmdk');
  await done('object', 'get', 'ships/a/view.vmdk', target);
  assert.match(await qemuImg('compare', target, raw), /identical/);
  const piped = await service.gantry('object', 'get', 'ships/a/bytes.vmdk', '-');
  assert.ok(piped.stdoutBytes.equals(await readFile(target)));

  const full = await service.gantry('bucket', 'delete', 'ships');
  assert.equal(full.code, 6);
  assert.match(full.stderr, /^error\[BUCKET_NOT_EMPTY\]/);
  await done('object', 'delete', 'ships/a/view.vmdk');
  await done('object', 'delete', 'ships/a/bytes.vmdk');
  await done('bucket', 'delete', 'ships');
});

test('--stream sends files of the formats that are decoded as they arrive', async () => {
  const [digest] = (await gantry(['disk', 'digest', raw])).stdout.split('  ');
  for (const [format, file] of Object.entries({ raw, qcow2 })) {
    const args = ['image', 'import', file, '--name', `streamed ${format}`, '--stream', '-o', 'json'];
    const image = JSON.parse(await done(...args));
    assert.equal(image.diskDigest, digest);
    assert.equal(image.sourceFormat, format);
  }
  const remote = await service.gantry('image', 'import', 'http://h/x', '--name', 'x', '--stream');
  assert.equal(remote.code, 2);
});

test('a name that two images have is not guessed', async () => {
  const [one, two] = [await importSample('twin'), await importSample('twin')];
  const { code, stderr } = await service.gantry('image', 'delete', 'twin');
  assert.equal(code, 6);
  assert.match(stderr, /^error\[CONFLICT\]: 2 images are named "twin"\n/);
  assert.ok(stderr.includes(one.id) && stderr.includes(two.id));
});
