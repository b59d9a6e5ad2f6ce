import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gantry } from '../../command.testkit.ts';
import { qemuImg } from '../disk/images.testkit.ts';
import { startService, stopService, type TestService } from '../service.testkit.ts';
import { bootDisk } from './machine.testkit.ts';

let home: string;
let service: TestService;
let raw: string;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'gantry-pack-'));
  raw = join(home, 'tug.raw');
  await writeFile(raw, bootDisk('packed', 'off'));
  service = await startService(home);
});

after(async () => {
  await stopService(service);
  await rm(home, { recursive: true });
});

async function imported(name: string, ...options: string[]): Promise<void> {
  await service.done('image', 'import', raw, '--name', name, '--wait', ...options);
}

async function linted(file: string): Promise<void> {
  const { code, stdout } = await gantry(['machine', 'lint', file]);
  assert.equal(code, 0, stdout);
}

test('an image is packed with a descriptor that is whole, and starts from it', async () => {
  await imported('tug boat', '--os', 'Debian', '--os-version', '13');
  const folder = join(home, 'tug');
  const stdout = await service.done(
    'machine',
    'pack',
    'tug boat',
    folder,
    '--ram',
    '64',
    '--vcpus',
    '2',
    '--vnc',
  );
  const file = join(folder, 'tug-boat.xml');
  assert.ok(stdout.endsWith(`start it with: gantry machine run ${file}\n`));
  assert.deepEqual((await readdir(folder)).sort(), ['tug-boat.qcow2', 'tug-boat.xml']);
  const disk = join(folder, 'tug-boat.qcow2');
  await qemuImg('compare', '-f', 'raw', '-F', 'qcow2', raw, disk);
  const text = await readFile(file, 'utf8');
  const digits = createHash('sha256')
    .update(await readFile(disk))
    .digest('hex');
  assert.match(text, new RegExp(`<checksum type="sha256">${digits}</checksum>`));
  assert.match(text, /<label>tug boat<\/label>/);
  assert.match(text, /<drive disk="tug-boat.qcow2" target="vda"\/>/);
  await linted(file);
  const ran = await gantry(['machine', 'run', file, '--nographics', '--accelerator', 'tcg']);
  assert.deepEqual([ran.code, ran.stdout], [0, 'packed'], ran.stderr);
});

test('what is there already is not touched, and names of nothing are refused', async () => {
  await imported('barge');
  const folder = join(home, 'barge');
  await service.done('machine', 'pack', 'barge', folder);
  const before = await readFile(join(folder, 'barge.qcow2'));
  const again = await service.gantry('machine', 'pack', 'barge', folder);
  assert.equal(again.code, 6);
  assert.match(again.stderr, /^error\[STORE_EXISTS\]: .*barge\.qcow2 is there already\n/);
  assert.deepEqual(await readFile(join(folder, 'barge.qcow2')), before);
  assert.equal((await service.gantry('machine', 'pack', 'barge', join(home, 'no/where'))).code, 5);
  assert.equal((await service.gantry('machine', 'pack', 'barge', folder, '--name', '../..')).code, 2);
  assert.equal((await service.gantry('machine', 'pack', 'none', folder)).code, 5);
});

test('every format that is packed has a descriptor that names it', async () => {
  await imported('many');
  for (const format of ['raw', 'qcow', 'vmdk', 'vdi', 'vhd', 'vhdx']) {
    const folder = join(home, format);
    await service.done('machine', 'pack', 'many', folder, '--format', format);
    await linted(join(folder, 'many.xml'));
    const printed = await gantry(['machine', 'run', join(folder, 'many.xml'), '--print', '-o', 'json']);
    const driver = format === 'vhd' ? 'vpc' : format;
    assert.ok(JSON.parse(printed.stdout).args.some((word: string) => word.includes(`"driver":"${driver}"`)));
  }
});

test('an image that UEFI starts is packed with domain XML, which can say so', async () => {
  await imported('modern');
  const [image] = JSON.parse(await service.done('image', 'list', '-o', 'json')).filter(
    ({ name }: { name: string }) => name === 'modern',
  );
  assert.equal(image.launchOptions.firmware, 'BIOS');
  const folder = join(home, 'arm');
  await service.done('machine', 'pack', 'modern', folder, '--arch', 'aarch64');
  const text = await readFile(join(folder, 'modern.xml'), 'utf8');
  assert.match(text, /<os firmware="efi">/);
  assert.ok(text.includes(`<source file="${join(folder, 'modern.qcow2')}"/>`));
  // Its paths are absolute, and lead into its own folder.
  const appliance = join(folder, 'modern.ovf');
  const converted = await gantry([
    'machine',
    'convert',
    join(folder, 'modern.xml'),
    appliance,
    '--to',
    'ovf',
  ]);
  assert.equal(converted.code, 0, converted.stderr);
  assert.match(await readFile(appliance, 'utf8'), /ovf:href="modern\.qcow2"/);
  const told = await service.gantry(
    'machine',
    'pack',
    'modern',
    join(home, 'told'),
    '--arch',
    'aarch64',
    '--to',
    'virt-image',
  );
  assert.match(told.stderr, /not in virt-image: firmware: /);
});
