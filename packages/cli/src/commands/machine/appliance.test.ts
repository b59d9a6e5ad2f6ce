import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gantry, launcher, run, temporaryFolder } from '../../command.testkit.ts';
import { bootDisk, descriptorOf } from './machine.testkit.ts';

const MIB = 2 ** 20;

/** A folder with a disk that starts, in a format of its own, and a virt-image descriptor of it. */
async function machineIn(context: TestContext): Promise<{ folder: string; file: string }> {
  const folder = await temporaryFolder(context);
  await writeFile(join(folder, 'root.raw'), bootDisk('ready', 'off'));
  const file = join(folder, 'vm.xml');
  await writeFile(file, descriptorOf('raw'));
  return { folder, file };
}

async function ok(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await gantry(args);
  assert.equal(code, 0, stderr);
  return { stdout, stderr };
}

test('a virt-image becomes an OVF descriptor with the sizes of its files, and that one runs', async (t) => {
  const { folder, file } = await machineIn(t);
  const ovf = join(folder, 'vm.ovf');
  const { stderr } = await ok('machine', 'convert', file, ovf, '--to', 'ovf');
  assert.match(stderr, /VMDK/);
  const text = await readFile(ovf, 'utf8');
  assert.match(text, new RegExp(`ovf:href="root\\.raw" ovf:size="${MIB}"`));
  assert.match(text, new RegExp(`ovf:fileRef="file1" ovf:capacity="${MIB}"`));
  const { stdout } = await ok('machine', 'run', ovf, '--ram', '32', '--accelerator', 'tcg');
  assert.equal(stdout, 'ready');
  const back = JSON.parse((await ok('machine', 'plan', ovf, '-o', 'json')).stdout);
  assert.deepEqual(
    back.disks.map(({ role, format, action }: Record<string, unknown>) => [role, format, action]),
    [
      ['system', 'raw', 'use'],
      ['scratch', 'qcow2', 'use'],
    ],
  );
  // In another folder the names are those from there, unless they lead out of it.
  await mkdir(join(folder, 'inner'));
  const out = await gantry(['machine', 'convert', file, join(folder, 'inner', 'vm.ovf'), '--to', 'ovf']);
  assert.equal(out.code, 2);
  assert.match(out.stderr, /leads out of the folder/);
});

test('an OVF descriptor and a disk become an OVA, whose descriptor is read again', async (t) => {
  const { folder } = await machineIn(t);
  const one = join(folder, 'one.xml');
  await writeFile(one, descriptorOf('raw').replaceAll(/.*work\.qcow2.*\n/g, ''));
  const ovf = join(folder, 'vm.ovf');
  await ok('machine', 'convert', one, ovf, '--to', 'ovf');
  const ova = join(folder, 'vm.ova');
  const descriptor = await readFile(ovf, 'utf8');
  await ok(
    'disk',
    'convert',
    join(folder, 'root.raw'),
    ova,
    '--from',
    'raw',
    '-O',
    `descriptor=${descriptor}`,
  );
  await ok('disk', 'check', ova);
  assert.equal((await run('tar', ['-tf', ova])).stdout, 'tug.ovf\ntug-disk1.vmdk\ntug.mf\n');

  const back = join(folder, 'back.xml');
  await ok('machine', 'convert', ova, back, '--to', 'virt-image');
  assert.match(await readFile(back, 'utf8'), /file="tug-disk1\.vmdk" use="system" size="1" format="vmdk"/);
  assert.match((await ok('machine', 'lint', ova)).stdout, /vm\.ova: tug\.ovf: nothing is wrong/);
  for (const verb of ['plan', 'run']) {
    const { code, stderr } = await gantry(['machine', verb, ova]);
    assert.equal(code, 1);
    assert.match(stderr, /error\[IMAGE_UNSUPPORTED\].*inside it[\s\S]*gantry disk convert/);
  }

  // Unpacked, its disk is for transport only.
  await run('tar', ['-C', folder, '-xf', ova]);
  const planned = await ok('machine', 'plan', join(folder, 'tug.ovf'));
  assert.match(planned.stderr, /tug-disk1\.vmdk is a VMDK for transport/);
});

test('settings of VirtualBox are written with the UUID of the image, and read', async (t) => {
  const { folder, file } = await machineIn(t);
  await ok('disk', 'convert', join(folder, 'root.raw'), join(folder, 'root.vdi'), '--from', 'raw');
  await writeFile(
    file,
    descriptorOf('raw')
      .replaceAll(/.*work\.qcow2.*\n/g, '')
      .replaceAll('root.raw', 'root.vdi')
      .replace('format="raw"', 'format="vdi"'),
  );
  const vbox = join(folder, 'vm.vbox');
  await ok('machine', 'convert', file, vbox, '--to', 'vbox');
  const { uuidCreate } = JSON.parse(
    (await ok('disk', 'info', join(folder, 'root.vdi'), '-o', 'json')).stdout,
  ).details;
  assert.ok((await readFile(vbox, 'utf8')).includes(`<HardDisk uuid="{${uuidCreate}}" location="root.vdi"`));
  const { stdout } = await ok('machine', 'run', vbox, '--ram', '32', '--accelerator', 'tcg', '--nographics');
  assert.equal(stdout, 'ready');
  assert.ok((await stat(vbox)).isFile());
  assert.ok(!(await readdir(folder)).includes('work.qcow2'));
});

test('options that a kind of descriptor does not have are refused', async (t) => {
  const { folder, file } = await machineIn(t);
  const ovf = join(folder, 'vm.ovf');
  await ok('machine', 'convert', file, ovf, '--to', 'ovf');
  for (const args of [
    ['machine', 'plan', file, '--system', 'x'],
    ['machine', 'plan', ovf, '--boot', '0'],
    ['machine', 'convert', ovf, '-', '--to', 'libvirt', '--boot', '0'],
  ]) {
    const { code, stderr } = await gantry(args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, /error\[USAGE\]/);
  }
  const { code, stderr } = await gantry(['machine', 'plan', ovf, '--system', 'x']);
  assert.equal(code, 2);
  assert.match(stderr, /there is no system "x"/);
});

test('what is no descriptor is told from one, and no more is read than one has', async (t) => {
  const { folder, file } = await machineIn(t);
  const qcow2 = join(folder, 'root.qcow2');
  await ok('disk', 'convert', join(folder, 'root.raw'), qcow2, '--from', 'raw');
  const large = join(folder, 'large.xml');
  await writeFile(large, `<image>${' '.repeat(MIB)}</image>`);
  const cases: readonly (readonly [name: string, message: RegExp])[] = [
    [qcow2, /error\[IMAGE_UNSUPPORTED\]: .*root\.qcow2 is an image \(qcow2\), and no descriptor/],
    [join(folder, 'root.raw'), /error\[IMAGE_MALFORMED\]/],
    [large, /error\[IMAGE_LIMIT\]: .*more than 1 MiB/],
    ['/dev/zero', /error\[IMAGE_LIMIT\]: .*more than 1 MiB/],
  ];
  for (const [name, message] of cases) {
    const { code, stderr } = await gantry(['machine', 'lint', name]);
    assert.equal(code, 1, name);
    assert.match(stderr, message);
  }
  const many = join(folder, 'many.ovf');
  const foreign = '<x:y xmlns:x="urn:x"/>'.repeat(1003);
  await writeFile(
    many,
    `<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1">${foreign}<VirtualSystem id="a"/></Envelope>`,
  );
  const linted = (await ok('machine', 'lint', many)).stdout.trimEnd().split('\n');
  assert.equal(linted.length, 1001);
  assert.equal(linted.at(-1), `${many}:1:1: warning: 4 more warnings`);
  // What comes through a pipe is read too.
  const piped = await run('sh', [
    '-c',
    'cat "$1" | "$0" --conditions=source "$2" machine lint /dev/stdin',
    process.execPath,
    file,
    launcher,
  ]);
  assert.match(piped.stdout, /^\/dev\/stdin:\d+:\d+: warning: |^\/dev\/stdin: nothing is wrong/);
});

test('a disk over another is in no appliance, and the way out is told', async (t) => {
  const { folder, file } = await machineIn(t);
  await ok('disk', 'convert', join(folder, 'root.raw'), join(folder, 'base.qcow2'), '--from', 'raw');
  await run('qemu-img', [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-b',
    'base.qcow2',
    '-F',
    'qcow2',
    join(folder, 'root.raw'),
  ]);
  await writeFile(
    file,
    descriptorOf('raw')
      .replaceAll(/.*work\.qcow2.*\n/g, '')
      .replace('format="raw"', 'format="qcow2"'),
  );
  const ovf = join(folder, 'vm.ovf');
  for (const flags of [[], ['--any-path']]) {
    const { stderr } = await gantry(['machine', 'convert', file, ovf, '--to', 'ovf', ...flags]);
    assert.match(stderr, /error\[IMAGE_REFERENCE\]: .*root\.raw: .*"base\.qcow2"[\s\S]*gantry disk convert/);
    assert.doesNotMatch(stderr, /--reference NAME/);
  }
  assert.ok(!(await readdir(folder)).includes('vm.ovf'));
});

test('a descriptor replaces neither the one that is read nor what it names', async (t) => {
  const { folder, file } = await machineIn(t);
  const disk = await readFile(join(folder, 'root.raw'));
  const text = await readFile(file, 'utf8');
  for (const to of ['ovf', 'virt-image'])
    for (const target of [file, join(folder, 'root.raw')]) {
      const { code, stderr } = await gantry(['machine', 'convert', file, target, '--to', to]);
      assert.equal(code, 9, stderr);
      assert.match(stderr, /error\[STORE_REFUSED\]: .* is what is read: it would be destroyed/);
    }
  assert.ok(disk.equals(await readFile(join(folder, 'root.raw'))));
  assert.equal(await readFile(file, 'utf8'), text);
});
