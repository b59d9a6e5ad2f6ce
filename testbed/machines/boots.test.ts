import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import {
  convertFiles,
  type Disk,
  diskDigest,
  fileSink,
  fileSource,
  openDisk,
  type ReferenceGate,
} from '@gantry/disk';
import type { DiskBus, MachineDisk } from '@gantry/machine';
import type { models } from 'oci-core';
import { debianDisk } from '../guests/debian-disk.ts';
import { GUARD, guestMachine, twoAtATime, wholeRun } from '../guests/running-guest.testkit.ts';
import { root } from '../house/files.ts';
import { startWithImages } from '../oci/images.testkit.ts';
import { BUCKET } from '../oci/object-storage.testkit.ts';
import { type Form, forms } from '../oracles/forms.ts';

const execute = promisify(execFile);
const launcher = join(root, 'packages/cli/bin/gantry.cjs');

function gantry(...args: readonly string[]): Promise<{ readonly stdout: string }> {
  return execute(process.execPath, ['--conditions=source', launcher, ...args]);
}

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-boots-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Opens names as files beside the image: what it was written with. */
function besideGate(path: string): ReferenceGate {
  return { resolve: async ({ name }) => ({ source: await fileSource(join(dirname(path), name)) }) };
}

async function withDisk<Result>(
  path: string,
  format: string,
  use: (disk: Disk) => Promise<Result>,
): Promise<Result> {
  await using source = await closing(fileSource(path));
  await using disk = await closing(openDisk(source, { references: besideGate(path), format }));
  return await use(disk);
}

async function closing<Closable extends { close(): Promise<void> }>(
  opening: Promise<Closable>,
): Promise<Closable & AsyncDisposable> {
  const opened = await opening;
  return Object.assign(opened, { [Symbol.asyncDispose]: () => opened.close() });
}

function digestOf(path: string, format: string): Promise<string> {
  return withDisk(path, format, (disk) => diskDigest(disk));
}

/** Writes the disk in this form into a folder; gives the path of the file to open it by. */
async function write(folder: string, { format, options = {}, compression }: Form): Promise<string> {
  await mkdir(folder);
  const openSink = (name: string) => fileSink(join(folder, name));
  const files = await withDisk(await debianDisk(), 'raw', (disk) =>
    convertFiles(disk, openSink, { format, options, compression, baseName: 'disk' }),
  );
  return join(folder, files[0]?.name ?? '');
}

/** Linux starts from the disk, reads its own files whole, and switches the machine off. */
async function requireStart(t: TestContext, disk: MachineDisk, what: string): Promise<void> {
  const { text, end } = await wholeRun(t, guestMachine([disk]));
  assert.match(text, /^gantry guest: up \d/m, what);
  assert.match(text, /^gantry guest: files are whole on \w+1\r$/m, `${what}: ${text}`);
  assert.deepEqual(end, { reason: 'guest-shutdown' }, what);
}

/** Serves the file's disk by NBD with the command, for as long as the work takes. */
async function served(path: string, folder: string, work: (address: string) => Promise<void>): Promise<void> {
  const args = ['disk', 'serve', path, '--socket', join(folder, 'nbd')];
  const child = spawn(process.execPath, ['--conditions=source', launcher, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  try {
    const [address] = await Promise.race([
      once(createInterface({ input: child.stdout }), 'line'),
      exited.then(([code]) => assert.fail(`it ended with ${code}`)),
    ]);
    await work(address);
  } finally {
    child.kill('SIGINT');
  }
  assert.equal((await exited)[0], 0);
}

const buses: readonly DiskBus[] = ['virtio', 'ide', 'sata', 'scsi', 'nvme'];

test(
  'a machine starts from every form that the engine writes and QEMU reads, and leaves it as it was',
  GUARD,
  async (t) => {
    const folder = await temporaryFolder(t);
    const digest = await digestOf(await debianDisk(), 'raw');
    const readByQemu = forms.filter(({ qemuFormat }) => qemuFormat !== undefined);
    assert.ok(readByQemu.length >= 20, `${readByQemu.length} forms`);
    await twoAtATime([...readByQemu.entries()], async ([index, form]) => {
      const { name, format } = form;
      const own = join(folder, String(index));
      const path = await write(own, form);
      const bus = buses[index % buses.length] ?? 'ide';
      await requireStart(t, { role: 'system', device: 'disk', path, format, bus }, `${name} on ${bus}`);
      assert.equal(await digestOf(path, format), digest, name);
      await rm(own, { recursive: true });
    });
  },
);

test('from every form that QEMU does not read a machine starts by NBD', GUARD, async (t) => {
  const folder = await temporaryFolder(t);
  const others = forms.filter(({ qemuFormat }) => qemuFormat === undefined);
  assert.ok(others.length >= 5, `${others.length} forms`);
  await twoAtATime([...others.entries()], async ([index, form]) => {
    const own = join(folder, String(index));
    const image = await write(own, form);
    const path = join(own, 'overlay.qcow2');
    await served(image, own, async (address) => {
      await execute('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', address, '-F', 'raw', path]);
      const disk: MachineDisk = { role: 'system', device: 'disk', path, format: 'qcow2', bus: 'virtio' };
      await requireStart(t, disk, form.name);
    });
    await rm(own, { recursive: true });
  });
});

test(
  'a machine that goes into a service as qcow2 and comes out as an instance starts as VMDK',
  GUARD,
  async (t) => {
    const service = await startWithImages(t);
    const { compute, admin, running, dataFolder } = service;
    const qcow2 = await write(join(dataFolder, 'qcow2'), { name: 'qcow2', format: 'qcow2' });
    await service.put('guest.qcow2', await readFile(qcow2));
    const image = await service.imported('guest.qcow2');
    const { instance } = await compute.launchInstance({
      launchInstanceDetails: {
        availabilityDomain: 'local-ad-1',
        compartmentId: admin.tenancyId,
        displayName: 'guest',
        shape: 'VM.Standard.E4.Flex',
        shapeConfig: { ocpus: 1, memoryInGBs: 1 },
        sourceDetails: { sourceType: 'image', imageId: image.id } as models.InstanceSourceViaImageDetails,
      },
    });
    const dir = join(dataFolder, 'dot-oci');
    const setup = await gantry('oci', 'setup', '--dir', dir, '-o', 'json', '--profile', running.profilePath);
    const { configFile, profileName, endpoint } = JSON.parse(setup.stdout);
    const { stdout } = await gantry(
      ...['instance', 'import', `oci://${profileName}/${instance.id}`, '--bucket', BUCKET],
      ...['--to', join(dataFolder, 'machine'), '--endpoint', endpoint, '--config-file', configFile],
      ...['-o', 'json'],
    );
    const { disk: path, diskDigest: digest } = JSON.parse(stdout);
    assert.match(path, /\.vmdk$/);
    assert.equal(digest, await digestOf(await debianDisk(), 'raw'));
    const disk: MachineDisk = { role: 'system', device: 'disk', path, format: 'vmdk', bus: 'sata' };
    await requireStart(t, disk, 'the imported machine');
    assert.equal(await digestOf(path, 'vmdk'), digest);
  },
);
