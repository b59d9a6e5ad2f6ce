import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { watch } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import type { models } from 'oci-core';
import { root } from '../house/files.ts';
import { digestOf, imageBytes, raw, type ServiceWithImages, startWithImages } from './images.testkit.ts';
import { BUCKET } from './object-storage.testkit.ts';

const execute = promisify(execFile);
const command = join(root, 'packages/cli/bin/gantry.cjs');

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function gantry(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--conditions=source', command, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

interface Launched extends ServiceWithImages {
  readonly instance: models.Instance;
  /** The machine's. */
  readonly folder: string;
  /** Arguments of the import. */
  readonly args: readonly string[];
  /** Images and objects that are there, by name. */
  remains(): Promise<{
    readonly images: readonly (string | undefined)[];
    readonly objects: readonly string[];
  }>;
}

/** A service with an instance in it, and a profile of OCI that leads there. */
async function startWithInstance(t: TestContext): Promise<Launched> {
  const service = await startWithImages(t);
  const { compute, admin, put, imported, running, dataFolder } = service;
  await put(
    'base.oci',
    await imageBytes('oci', { firmware: 'UEFI_64', os: 'Oracle Linux', os_version: '9' }),
  );
  const image = await imported('base.oci');
  const { instance } = await compute.launchInstance({
    launchInstanceDetails: {
      availabilityDomain: 'local-ad-1',
      compartmentId: admin.tenancyId,
      displayName: 'web 01',
      shape: 'VM.Standard.E4.Flex',
      shapeConfig: { ocpus: 2, memoryInGBs: 8 },
      sourceDetails: { sourceType: 'image', imageId: image.id } as models.InstanceSourceViaImageDetails,
    },
  });
  const dir = join(dataFolder, 'dot-oci');
  const setup = await gantry('oci', 'setup', '--dir', dir, '-o', 'json', '--profile', running.profilePath);
  assert.equal(setup.code, 0, setup.stderr);
  const { configFile, profileName, endpoint } = JSON.parse(setup.stdout);
  const folder = join(dataFolder, 'machine');
  return {
    ...service,
    instance,
    folder,
    args: [
      'instance',
      'import',
      `oci://${profileName}/${instance.id}`,
      '--bucket',
      BUCKET,
      '--to',
      folder,
      '--endpoint',
      endpoint,
      '--config-file',
      configFile,
      '-o',
      'json',
    ],
    async remains() {
      const { items } = await compute.listImages({ compartmentId: admin.tenancyId });
      const { listObjects } = await service.storage.listObjects(service.at);
      return {
        images: items.map(({ displayName }) => displayName),
        objects: listObjects.objects.map(({ name }) => name),
      };
    },
  };
}

/** Runs the import and sends it a signal as soon as its journal has a text. Gives its exit status. */
async function signalAt(
  { args, folder }: Launched,
  text: RegExp,
  name: 'SIGKILL' | 'SIGINT',
): Promise<number | null> {
  await mkdir(folder, { recursive: true });
  const watcher = watch(folder);
  const flags = ['--conditions=source', '--max-semi-space-size=1', command, ...args];
  const running = spawn(process.execPath, flags, { stdio: 'ignore' });
  const ended = once(running, 'exit');
  const look = async () => {
    const journal = await readFile(join(folder, 'gantry-import.json'), 'utf8').catch(() => '');
    if (!text.test(journal)) return;
    watcher.close();
    running.kill(name);
  };
  watcher.on('change', () => void look());
  await look();
  const [code] = await ended;
  watcher.close();
  return code;
}

test('an instance comes out of the service as a machine, through kills, and nothing stays behind', async (t) => {
  const launched = await startWithInstance(t);
  const { args, folder, instance, dataFolder, remains } = launched;
  const before = await remains();

  const planned = await gantry(...args, '--dry-run');
  assert.equal(planned.code, 0, planned.stderr);
  assert.equal(JSON.parse(planned.stdout).instance.cpuCount, 4);
  assert.deepEqual(await remains(), before);

  assert.equal(await signalAt(launched, /"retryToken"/, 'SIGINT'), 130);
  for (const text of [/"retryToken"/, /"isReady": true/, /"etag"/, /"doneBytes"/, /"proof"/, /"files"/]) {
    assert.equal(await signalAt(launched, text, 'SIGKILL'), null);
  }
  const done = await gantry(...args);
  assert.equal(done.code, 0, done.stderr);
  const outcome = JSON.parse(done.stdout);
  assert.equal(outcome.diskDigest, await digestOf(raw, 'raw'));
  assert.equal(outcome.proof, 'service');
  assert.deepEqual(outcome.leftovers, []);
  const rawFile = join(dataFolder, 'disk.raw');
  await writeFile(rawFile, raw);
  await execute('qemu-img', ['compare', '-f', 'raw', '-F', 'vmdk', rawFile, outcome.disk]);
  assert.deepEqual(await remains(), before);
  assert.deepEqual((await readdir(folder)).sort(), [
    'gantry-import.json',
    'web-01-create.sh',
    'web-01.vbox',
    'web-01.vmdk',
  ]);
  const settings = await readFile(join(folder, 'web-01.vbox'), 'utf8');
  assert.ok(
    settings.includes(`{${outcome.uuid}}`) && /EFI/.test(settings) && /RAMSize="8192"/.test(settings),
  );
  assert.ok(settings.includes(instance.id));

  const again = await gantry('instance', 'import', '--resume', outcome.journal, '-o', 'json');
  assert.equal(again.code, 0, again.stderr);
  assert.equal(JSON.parse(again.stdout).wasFinished, true);
});

test('an image of the service is replicated and shared as OCI does it', async (t) => {
  const { args, instance, storage, at, admin, compute, remains } = await startWithInstance(t);
  const profile = /^oci:\/\/([^/]+)/.exec(args[2] ?? '')?.[1];
  const flags = args.slice(args.indexOf('--endpoint'));
  const image = `oci://${profile}/${instance.imageId}`;
  await storage.createBucket({
    namespaceName: at.namespaceName,
    createBucketDetails: { name: 'second', compartmentId: admin.tenancyId },
  });
  const target = ['--to', `oci://${profile}/local`, '--to-bucket', 'second', '--to-endpoint', flags[1] ?? ''];
  const before = await remains();
  const replicated = await gantry('image', 'replicate', image, '--bucket', BUCKET, ...target, ...flags);
  assert.equal(replicated.code, 0, replicated.stderr);
  const { replica, leftovers } = JSON.parse(replicated.stdout);
  assert.deepEqual(leftovers, []);
  assert.equal((await compute.getImage({ imageId: replica })).image.lifecycleState, 'AVAILABLE');
  assert.deepEqual((await remains()).objects, before.objects);

  const shared = await gantry('image', 'share', image, '--bucket', BUCKET, '--expires', '1h', ...flags);
  assert.equal(shared.code, 0, shared.stderr);
  const { url } = JSON.parse(shared.stdout);
  const digest = await gantry('disk', 'digest', url, '-o', 'json');
  assert.equal(JSON.parse(digest.stdout).diskDigest, await digestOf(raw, 'raw'));
});

test('what is wrong with an import is said in the words of the service', async (t) => {
  const { args, instance } = await startWithInstance(t);
  const other = args.map((word) => word.replace(instance.id, `${instance.id.slice(0, -4)}0000`));
  const absent = await gantry(...other);
  assert.equal(absent.code, 5);
  assert.match(
    absent.stderr,
    /^error\[STORE_NOT_FOUND\]: OCI refused getInstance: .*404 NotAuthorizedOrNotFound/,
  );
  assert.doesNotMatch(absent.stderr, /Not Retrying/);
  const bucket = await gantry(...args.map((word) => (word === BUCKET ? 'none' : word)));
  assert.equal(bucket.code, 5, bucket.stderr);
  const wrong = await gantry('instance', 'import', 'oci://P/ocid1.image.oc1..x', '--bucket', 'b');
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /is no OCID of an instance/);
});
