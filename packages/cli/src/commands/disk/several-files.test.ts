import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gantry, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg, sampleDisk, sampleFiles } from './images.testkit.ts';

const MIB = 1024 * 1024;

for (const [subformat, extent] of [
  ['monolithicFlat', 'vm-flat.vmdk'],
  ['vmfs', 'vm-flat.vmdk'],
  ['twoGbMaxExtentSparse', 'vm-s001.vmdk'],
  ['twoGbMaxExtentFlat', 'vm-f001.vmdk'],
] as const) {
  test(`convert writes a ${subformat} beside its target, and reads it back by the files of the folder`, async (t) => {
    const folder = await temporaryFolder(t);
    const { raw, qcow2 } = await sampleFiles(folder);
    const out = join(folder, 'out');
    await mkdir(out);
    const target = join(out, 'vm.vmdk');
    const options = ['-O', `subformat=${subformat}`];
    const planned = await gantry(['disk', 'convert', qcow2, target, ...options, '--dry-run', '-o', 'json']);
    assert.equal(planned.code, 0, planned.stderr);
    assert.deepEqual(await readdir(out), [], 'a dry run writes nothing');
    const written = await gantry(['disk', 'convert', qcow2, target, ...options, '-o', 'json']);
    assert.equal(written.code, 0, written.stderr);
    const [plan, report] = [JSON.parse(planned.stdout), JSON.parse(written.stdout)];
    assert.deepEqual(
      report.files.map(({ file }: { file: string }) => file),
      [target, join(out, extent)],
    );
    for (const [i, { file, lengthBytes }] of report.files.entries()) {
      assert.equal((await stat(file)).size, lengthBytes);
      assert.deepEqual(plan.files[i].file, file);
      assert.ok(plan.files[i].exact && plan.files[i].requiredBytes === lengthBytes);
    }
    assert.equal(report.lengthBytes, plan.requiredBytes);
    assert.deepEqual((await readdir(out)).sort(), [extent, 'vm.vmdk'].sort());
    assert.match(await qemuImg('compare', '-f', 'vmdk', '-F', 'raw', target, raw), /Images are identical/);
    const denied = await gantry(['disk', 'info', target]);
    assert.match(denied.stderr, /error\[IMAGE_REFERENCE\]/);
    const from = ['--references-from', out];
    const info = await gantry(['disk', 'info', target, ...from, '-o', 'json']);
    assert.equal(JSON.parse(info.stdout).details.createType, subformat);
    const named = ['--reference', `${extent}=${join(out, extent)}`];
    for (const references of [from, named]) {
      const back = join(folder, 'back.raw');
      const { code, stderr } = await gantry(['disk', 'convert', target, back, ...references]);
      assert.equal(code, 0, stderr);
      assert.ok((await readFile(back)).equals(sampleDisk()));
    }
    const check = await gantry(['disk', 'check', target, ...from]);
    assert.equal(check.code, 0, check.stdout);
  });
}

test('the target keeps its own name, whatever its ending, and the extents are named after it', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw } = await sampleFiles(folder);
  const target = join(folder, 'my disk.v1.desc');
  const { code, stdout, stderr } = await gantry([
    'disk',
    'convert',
    raw,
    target,
    '--to',
    'vmdk',
    '-O',
    'subformat=monolithicFlat',
  ]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /wrote .*my disk\.v1\.desc as vmdk: .*\nwrote .*my disk\.v1-flat\.vmdk as vmdk: 8/);
  assert.match(await readFile(target, 'utf8'), /"my disk\.v1-flat\.vmdk" 0/);
});

test('several files do not go to standard output, and no extent replaces a file that is read', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw } = await sampleFiles(folder);
  const flat = ['-O', 'subformat=monolithicFlat'];
  const out = await gantry(['disk', 'convert', raw, '-', '--to', 'vmdk', ...flat]);
  assert.match(out.stderr, /error\[IMAGE_OPTION\]/);
  const source = join(folder, 'vm-flat.vmdk');
  await rename(raw, source);
  for (const dryRun of [[], ['--dry-run']]) {
    const arguments_ = [
      'disk',
      'convert',
      source,
      join(folder, 'vm.vmdk'),
      '--from',
      'raw',
      ...flat,
      ...dryRun,
    ];
    const refused = await gantry(arguments_);
    assert.match(refused.stderr, /error\[STORE_REFUSED\]/);
  }
  assert.ok((await readFile(source)).equals(sampleDisk()));
  assert.deepEqual((await readdir(folder)).sort(), ['disk.qcow2', 'vm-flat.vmdk'], 'nothing is left behind');
  const unsafe = await gantry([
    'disk',
    'convert',
    source,
    join(folder, 'a"b.vmdk'),
    '--from',
    'raw',
    ...flat,
  ]);
  assert.match(unsafe.stderr, /error\[IMAGE_OPTION\]/);
});

test('--references-from supplies regular files of that folder by exactly their names, and nothing else', async (t) => {
  const folder = await temporaryFolder(t);
  const inside = join(folder, 'inside');
  await mkdir(join(inside, 'sub'), { recursive: true });
  const extent = new Uint8Array(MIB).fill(7);
  await writeFile(join(folder, 'secret'), extent);
  await writeFile(join(inside, 'x-flat.vmdk'), extent);
  await writeFile(join(inside, 'sub', 'deep'), extent);
  await symlink(join(folder, 'secret'), join(inside, 'link'));
  await symlink('x-flat.vmdk', join(inside, 'near'));
  const info = async (name: string, ...more: string[]) => {
    const image = join(folder, 'image.vmdk');
    const text = `# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 2048 FLAT "${name}" 0\n`;
    await writeFile(image, text);
    return gantry(['disk', 'info', image, '--references-from', inside, ...more]);
  };
  assert.equal((await info('x-flat.vmdk')).code, 0);
  const refused = [
    '../secret',
    join(folder, 'secret'),
    join(inside, 'x-flat.vmdk'),
    './x-flat.vmdk',
    'sub/deep',
    'sub',
    '..',
    '.',
    'link',
    'near',
    'X-FLAT.VMDK',
    'x-flat.vmdk ',
    'missing',
    'http://127.0.0.1:1/x',
  ];
  for (const name of refused) {
    const { code, stderr } = await info(name);
    assert.match(stderr, /error\[IMAGE_REFERENCE\]/, name);
    assert.notEqual(code, 0);
  }
  const mapped = await info('../secret', '--reference', `../secret=${join(folder, 'secret')}`);
  assert.equal(mapped.code, 0, 'what is named by hand goes before');
  const nowhere = await info('x', '--references-from', join(folder, 'no-such-folder'));
  assert.match(nowhere.stderr, /error\[STORE_NOT_FOUND\]/);
});

test('measure tells what all files of a set take together', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw } = await sampleFiles(folder);
  const { stdout } = await gantry([
    'disk',
    'measure',
    raw,
    '--to',
    'vmdk',
    '-O',
    'subformat=vmfs',
    '-o',
    'json',
  ]);
  const { requiredBytes, exact } = JSON.parse(stdout);
  assert.ok(exact && requiredBytes > 8 * MIB && requiredBytes < 8 * MIB + 2000);
});

test('a vmfs for VMware is held to its rules, with its extent', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw } = await sampleFiles(folder);
  const target = join(folder, 'vm.vmdk');
  const { code, stderr } = await gantry([
    'disk',
    'convert',
    raw,
    target,
    '--for',
    'vmware',
    '-O',
    'subformat=vmfs',
  ]);
  assert.equal(code, 0, stderr);
});
