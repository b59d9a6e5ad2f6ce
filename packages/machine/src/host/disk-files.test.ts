import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { completeMachine } from '../complete.ts';
import type { Machine, MachineDisk } from '../model.ts';
import { createDiskFiles, planDiskFiles, verifyChecksums } from './disk-files.ts';

const MIB: number = 2 ** 20;

async function temporaryFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-disks-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function machineWith(...disks: readonly Partial<MachineDisk>[]): Machine {
  return completeMachine({
    name: 'vm',
    disks: disks.map((disk) => ({ role: 'system', device: 'disk', ...disk })),
  });
}

function qemuImg(...args: readonly string[]): string {
  return execFileSync('qemu-img', args, { encoding: 'utf8' });
}

test('missing user and scratch disks are made sparse, of their size and format, and no file is touched before', async (t) => {
  const folder = await temporaryFolder(t);
  const formats = {
    raw: 'raw',
    qcow: 'qcow',
    qcow2: 'qcow2',
    vmdk: 'vmdk',
    vdi: 'vdi',
    vhdx: 'vhdx',
    vhd: 'vpc',
  };
  const disks = Object.keys(formats).map((format, index) => ({
    role: index % 2 === 0 ? ('scratch' as const) : ('user' as const),
    path: `made, ${format}`,
    format,
    virtualSizeBytes: 300 * MIB,
  }));
  const plan = await planDiskFiles(machineWith(...disks), { folder });
  assert.deepEqual(
    plan.files.map(({ action }) => action),
    disks.map(() => 'create'),
  );
  assert.deepEqual(await readdir(folder), []);
  const made = await createDiskFiles(plan);
  assert.deepEqual(
    made,
    disks.map(({ path }) => join(folder, path)),
  );
  assert.deepEqual((await readdir(folder)).sort(), disks.map(({ path }) => path).sort());
  for (const [format, driver] of Object.entries(formats)) {
    const path = join(folder, `made, ${format}`);
    const info = JSON.parse(qemuImg('info', '-f', driver, '--output=json', `file:${path}`));
    const sizeBytes = info['virtual-size'];
    // A VHD has whole cylinders.
    assert.ok(sizeBytes >= 300 * MIB && sizeBytes < 301 * MIB, `${format}: ${sizeBytes}`);
    assert.ok((await stat(path)).blocks * 512 < 8 * MIB, format);
  }
  const again = await planDiskFiles(machineWith(...disks), { folder });
  assert.deepEqual(
    again.files.map(({ action }) => action),
    disks.map(() => 'use'),
  );
});

test('what came to stand where a disk was to be made is left alone', async (t) => {
  const folder = await temporaryFolder(t);
  const plan = await planDiskFiles(machineWith({ role: 'user', path: 'work', virtualSizeBytes: MIB }), {
    folder,
  });
  await writeFile(join(folder, 'work'), 'mine');
  await assert.rejects(createDiskFiles(plan), { code: 'STORE_EXISTS' });
  assert.equal(await readFile(join(folder, 'work'), 'utf8'), 'mine');
  assert.deepEqual(await readdir(folder), ['work']);
});

test('what has to be there and is not is refused, and so is what cannot be made', async (t) => {
  const folder = await temporaryFolder(t);
  const plan = (disk: Partial<MachineDisk>) => planDiskFiles(machineWith(disk), { folder });
  const path = join(folder, 'none');
  await assert.rejects(plan({ path: 'none' }), {
    code: 'STORE_NOT_FOUND',
    message: `the system disk ${path} is not there`,
  });
  await assert.rejects(plan({ path: 'none', role: 'user', device: 'cdrom', format: 'iso' }), {
    code: 'STORE_NOT_FOUND',
  });
  await assert.rejects(plan({ path: 'none', role: 'scratch' }), {
    code: 'IMAGE_OPTION',
    message: /without a size/,
  });
  await assert.rejects(plan({ path: 'none', role: 'user', virtualSizeBytes: MIB, format: 'zvhd' }), {
    code: 'IMAGE_OPTION',
    message: /zvhd/,
  });
  await mkdir(join(folder, 'folder'));
  await assert.rejects(plan({ path: 'folder' }), { code: 'STORE_REFUSED', message: /is no file/ });
  const kernel = { path: 'vmlinuz' };
  await assert.rejects(planDiskFiles({ ...machineWith(), kernel }, { folder }), {
    code: 'STORE_NOT_FOUND',
    message: /vmlinuz/,
  });
});

test('no path leads out of the folder of the descriptor, unless that is wanted', async (t) => {
  const outside = await temporaryFolder(t);
  const folder = join(outside, 'in');
  await mkdir(folder);
  await writeFile(join(outside, 'secret'), 'x');
  await writeFile(join(folder, 'real'), 'y');
  await symlink(join(outside, 'secret'), join(folder, 'link'));
  await symlink('real', join(folder, 'good'));
  await symlink(outside, join(folder, 'up'));
  await symlink(join(outside, 'later'), join(folder, 'dangling'));
  const plan = (path: string, anyPath = false, role: MachineDisk['role'] = 'system') =>
    planDiskFiles(machineWith({ path, role, virtualSizeBytes: MIB }), { folder, anyPath });
  for (const path of [join(outside, 'secret'), '../secret', 'x/../../secret', 'link', 'up/secret'])
    await assert.rejects(plan(path), { code: 'STORE_REFUSED' }, path);
  for (const path of ['up/new', 'dangling', '../new', '', 'x/..', 'a\0b'])
    await assert.rejects(plan(path, false, 'scratch'), { code: 'STORE_REFUSED' }, path);
  assert.equal((await plan('good')).machine.disks[0]?.path, join(folder, 'good'));
  for (const path of [join(outside, 'secret'), '../secret', 'link'])
    assert.equal((await plan(path, true)).files[0]?.action, 'use');
  assert.deepEqual((await readdir(outside)).sort(), ['in', 'secret']);
});

test('an absolute path is taken where it leads into the folder of the descriptor', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'disks'));
  await writeFile(join(folder, 'disks/root'), 'x');
  const path = join(folder, 'disks/root');
  const { files } = await planDiskFiles(machineWith({ path }), { folder });
  assert.deepEqual(
    files.map((file) => file.path),
    [path],
  );
  for (const wrong of [folder, `${folder}/`, `${folder}2/root`, `${path}/../../../root`, '/'])
    await assert.rejects(planDiskFiles(machineWith({ path: wrong }), { folder }), {
      code: 'STORE_REFUSED',
    });
});

test('a disk that names another file is refused, and one that is not of its format', async (t) => {
  const folder = await temporaryFolder(t);
  qemuImg('create', '-q', '-f', 'raw', join(folder, 'base'), '1M');
  qemuImg('create', '-q', '-f', 'qcow2', '-b', join(folder, 'base'), '-F', 'raw', join(folder, 'top'));
  const plan = (format: string, anyPath?: boolean) =>
    planDiskFiles(machineWith({ path: 'top', format }), { folder, anyPath });
  await assert.rejects(plan('qcow2'), { code: 'IMAGE_REFERENCE', message: /top: / });
  assert.equal((await plan('qcow2', true)).files.length, 1);
  await assert.rejects(plan('vdi'), { code: 'IMAGE_MALFORMED' });
  assert.match((await plan('raw')).warnings.join(), /top looks like qcow2, and is described as raw/);
});

test('checksums of what is there are compared, the stronger one', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'disk'), 'content');
  const sha256 = createHash('sha256').update('content').digest('hex');
  const sha1 = createHash('sha1').update('content').digest('hex');
  const verify = async (checksums: Record<string, string>) =>
    verifyChecksums(await planDiskFiles(machineWith({ path: 'disk', checksums }), { folder }));
  await verify({ sha256 });
  await verify({ sha256: sha256.toUpperCase(), sha1: 'wrong' });
  await verify({ sha1 });
  await verify({ md5: 'not looked at' });
  await assert.rejects(verify({ sha256: sha1 }), {
    code: 'IMAGE_MALFORMED',
    message: new RegExp(`${sha256}, and not`),
  });
  await assert.rejects(verify({ sha1: sha256 }), { code: 'IMAGE_MALFORMED' });
  const missing = machineWith({ path: 'new', role: 'user', virtualSizeBytes: MIB, checksums: { sha256 } });
  await verifyChecksums(await planDiskFiles(missing, { folder }));
});
