import assert from 'node:assert/strict';
import { appendFile, link, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { gantry, startGantry, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg, rangeServer, sampleDisk, sampleFiles } from './images.testkit.ts';

const MIB = 1024 * 1024;

test('convert writes every format that a name can ask for as the disk that qemu-img reads', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  for (const [name, peer] of [
    ['out.raw', 'raw'],
    ['out.img', 'raw'],
    ['out.QCOW2', 'qcow2'],
    ['out.vmdk', 'vmdk'],
    ['out.vdi', 'vdi'],
    ['out.vhd', 'vpc'],
  ] as const) {
    const target = join(folder, name);
    const { code, stderr } = await gantry(['disk', 'convert', qcow2, target]);
    assert.equal(code, 0, `${name}: ${stderr}`);
    assert.match(
      await qemuImg('compare', '-f', peer, '-F', 'raw', target, raw),
      /Images are identical/,
      name,
    );
  }
});

test('convert reads what qemu-img writes, found by its mark or declared', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw } = await sampleFiles(folder);
  for (const [format, peer] of Object.entries({ qcow2: 'qcow2', vmdk: 'vmdk', vdi: 'vdi', vhd: 'vpc' })) {
    const source = join(folder, `made.${format}`);
    await qemuImg('convert', '-f', 'raw', '-O', peer, raw, source);
    for (const from of [[], ['--from', format]]) {
      const target = join(folder, 'out.raw');
      const { code, stderr } = await gantry(['disk', 'convert', source, target, ...from]);
      assert.equal(code, 0, `${format}: ${stderr}`);
      const bytes = await readFile(target);
      assert.ok(bytes.subarray(0, 8 * MIB).equals(sampleDisk()), format);
    }
  }
});

test('convert to - writes the bytes of the file in order, and nothing else', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  const asRaw = await gantry(['disk', 'convert', qcow2, '-', '--to', 'raw']);
  assert.equal(asRaw.code, 0, asRaw.stderr);
  assert.ok(asRaw.stdoutBytes.equals(await readFile(raw)));
  const seed = ['--seed', 'ab'.repeat(32)];
  const target = join(folder, 'out.vmdk');
  for (const options of [[], ['-O', 'subformat=streamOptimized']]) {
    const toFile = await gantry(['disk', 'convert', qcow2, target, ...seed, ...options]);
    assert.equal(toFile.code, 0, toFile.stderr);
    const toPipe = await gantry(['disk', 'convert', qcow2, '-', '--to', 'vmdk', ...seed, ...options]);
    assert.equal(toPipe.code, 0, toPipe.stderr);
    assert.ok(toPipe.stdoutBytes.equals(await readFile(target)), options.join(' '));
  }
});

test('convert to - refuses a form whose start is known only at its end', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  const result = await gantry(['disk', 'convert', qcow2, '-', '--to', 'qcow2', '--compress', 'zlib']);
  assert.equal(result.code, 1);
  assert.match(result.stderr, /^error\[IMAGE_NOT_SEQUENTIAL\]: /);
  assert.equal(result.stdoutBytes.length, 0);
});

test('what is compressed already goes to - in a compressed form, and nothing of it when it is damaged', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw } = await sampleFiles(folder);
  const source = join(folder, 'zlib.qcow2');
  await qemuImg('convert', '-c', '-O', 'qcow2', raw, source);
  const args = ['disk', 'convert', source, '-', '--to', 'qcow2', '--compress', 'zlib'];
  const planned = await gantry([...args, '--dry-run', '-o', 'json']);
  const { code, stdoutBytes, stderr } = await gantry(args);
  assert.equal(code, 0, stderr);
  assert.equal(JSON.parse(planned.stdout).requiredBytes, stdoutBytes.length);
  assert.equal(JSON.parse(planned.stdout).exact, true);
  const target = join(folder, 'out.qcow2');
  await writeFile(target, stdoutBytes);
  assert.match(await qemuImg('compare', target, raw), /Images are identical/);
  await qemuImg('check', target);
  // Deflate that begins with a block of a type that there is not.
  const bytes = await readFile(source);
  const l1 = Number(bytes.readBigUInt64BE(40));
  const l2 = Number(bytes.readBigUInt64BE(l1) & 0x00fffffffffffe00n);
  const entries = Array.from({ length: 8192 }, (_, i) => bytes.readBigUInt64BE(l2 + i * 8));
  const compressed = entries.find((entry) => (entry & (1n << 62n)) !== 0n) ?? 0n;
  const dataBytes = Number(compressed & ((1n << 54n) - 1n));
  bytes.fill(0xff, dataBytes, dataBytes + 16);
  await writeFile(source, bytes);
  const damaged = await gantry(args);
  assert.equal(damaged.code, 1);
  assert.match(damaged.stderr, /^error\[IMAGE_MALFORMED\]: /);
  assert.equal(damaged.stdoutBytes.length, 0);
});

test('convert --compress writes qcow2 clusters that qemu-img inflates', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  for (const method of ['zlib', 'zstd']) {
    const target = join(folder, `${method}.qcow2`);
    const { code, stderr } = await gantry(['disk', 'convert', qcow2, target, '--compress', method]);
    assert.equal(code, 0, stderr);
    assert.match(await qemuImg('compare', target, raw), /Images are identical/);
  }
});

test('the same seed gives the same file, another seed another', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  const [one, same, other] = ['one.vdi', 'same.vdi', 'other.vdi'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await gantry(['disk', 'convert', qcow2, one, '--seed', '01'.repeat(32)]);
  await gantry(['disk', 'convert', qcow2, same, '--seed', '01'.repeat(32)]);
  await gantry(['disk', 'convert', qcow2, other, '--seed', '02'.repeat(32)]);
  assert.ok((await readFile(one)).equals(await readFile(same)));
  assert.ok(!(await readFile(one)).equals(await readFile(other)));
});

test('--dry-run prints the exact size that convert then writes, and writes nothing', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  for (const format of ['raw', 'qcow2', 'vmdk', 'vdi', 'vhd']) {
    const target = join(folder, `out.${format}`);
    const dry = await gantry(['disk', 'convert', qcow2, target, '--dry-run', '-o', 'json']);
    assert.equal(dry.code, 0, dry.stderr);
    const plan = JSON.parse(dry.stdout);
    assert.deepEqual((await readdir(folder)).sort(), ['disk.qcow2', 'disk.raw', ...written(format)]);
    const measured = await gantry(['disk', 'measure', qcow2, '--to', format, '-o', 'json']);
    assert.equal(JSON.parse(measured.stdout).requiredBytes, plan.requiredBytes);
    await gantry(['disk', 'convert', qcow2, target]);
    assert.equal((await readFile(target)).length, plan.requiredBytes, format);
    assert.equal(plan.exact, true);
  }
  function written(upTo: string): string[] {
    const all = ['raw', 'qcow2', 'vmdk', 'vdi', 'vhd'];
    return all
      .slice(0, all.indexOf(upTo))
      .map((format) => `out.${format}`)
      .sort();
  }
});

test('an overlay is converted only with the file that its backing name means', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  const overlay = join(folder, 'overlay.qcow2');
  await qemuImg('create', '-f', 'qcow2', '-F', 'qcow2', '-b', qcow2, overlay);
  const target = join(folder, 'flat.qcow2');
  const refused = await gantry(['disk', 'convert', overlay, target]);
  assert.equal(refused.code, 9);
  assert.match(refused.stderr, /^error\[IMAGE_REFERENCE\]: .*\n(?: {2}.*\n)* {2}do: .*--reference/);
  const supplied = await gantry([
    'disk',
    'convert',
    overlay,
    target,
    '--reference',
    `${qcow2}=qcow2:${qcow2}`,
  ]);
  assert.equal(supplied.code, 0, supplied.stderr);
  assert.match(await qemuImg('compare', target, raw), /Images are identical/);
});

test('a target that is read, by whatever name, is refused and stays as it was', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  const before = await readFile(qcow2);
  await link(qcow2, join(folder, 'hard.qcow2'));
  await symlink('disk.qcow2', join(folder, 'soft.qcow2'));
  const overlay = join(folder, 'overlay.qcow2');
  await qemuImg('create', '-f', 'qcow2', '-F', 'qcow2', '-b', qcow2, overlay);
  for (const name of ['disk.qcow2', 'hard.qcow2', 'soft.qcow2', `../${basename(folder)}/disk.qcow2`]) {
    for (const dry of [[], ['--dry-run']]) {
      const { code, stderr } = await gantry(['disk', 'convert', 'disk.qcow2', name, ...dry], { cwd: folder });
      assert.equal(code, 9, name);
      assert.match(stderr, /^error\[STORE_REFUSED\]: .* would be destroyed/);
    }
  }
  const ontoBase = await gantry(['disk', 'convert', overlay, qcow2, '--reference', `${qcow2}=${qcow2}`]);
  assert.equal(ontoBase.code, 9);
  assert.ok((await readFile(qcow2)).equals(before));
});

test('a device, a folder, a link to nothing and a folder that is not there are no targets', async (t) => {
  const folder = await temporaryFolder(t);
  const { qcow2 } = await sampleFiles(folder);
  await symlink('nowhere', join(folder, 'dangling.raw'));
  for (const [target, code, mark] of [
    ['/dev/null', 9, 'STORE_REFUSED'],
    [folder, 2, 'USAGE'],
    [join(folder, 'dangling.raw'), 9, 'STORE_REFUSED'],
    [join(folder, 'missing', 'out.raw'), 5, 'STORE_NOT_FOUND'],
    [join(folder, 'out.unknown'), 2, 'USAGE'],
  ] as const) {
    const args = target.endsWith('.unknown') ? [] : ['--to', 'raw'];
    const result = await gantry(['disk', 'convert', qcow2, target, ...args]);
    assert.equal(result.code, code, target);
    assert.ok(result.stderr.startsWith(`error[${mark}]: `), result.stderr);
  }
});

test('an existing target is replaced when the new file is complete, through a link too', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  const target = join(folder, 'out.raw');
  await writeFile(target, 'old');
  await symlink('out.raw', join(folder, 'link.raw'));
  const failed = await gantry(['disk', 'convert', qcow2, target, '-O', 'cluster_size=1']);
  assert.equal(failed.code, 2);
  assert.match(failed.stderr, /^error\[IMAGE_OPTION\]/);
  assert.equal(await readFile(target, 'utf8'), 'old');
  const done = await gantry(['disk', 'convert', qcow2, join(folder, 'link.raw')]);
  assert.equal(done.code, 0, done.stderr);
  assert.ok((await readFile(target)).equals(await readFile(raw)));
  assert.deepEqual((await readdir(folder)).sort(), ['disk.qcow2', 'disk.raw', 'link.raw', 'out.raw']);
});

test('SIGINT in the middle leaves no file, not even a partial one, and exits with 130', async (t) => {
  for (const signalName of ['SIGINT', 'SIGTERM'] as const) {
    const folder = await temporaryFolder(t);
    const server = await rangeServer(t, sampleDisk(), 5 * MIB);
    const running = startGantry(['disk', 'convert', server.address, join(folder, 'out.qcow2')]);
    await server.held;
    running.child.kill(signalName);
    const { code, stderr } = await running.ended;
    assert.equal(code, 130, stderr);
    assert.match(stderr, /^error\[INTERRUPTED\]: /);
    assert.deepEqual(await readdir(folder), []);
  }
});

test('kill -9 in the middle leaves nothing under the final name, and the old file as it was', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'out.qcow2'), 'old');
  const server = await rangeServer(t, sampleDisk(), 5 * MIB);
  const running = startGantry(['disk', 'convert', server.address, join(folder, 'out.qcow2')]);
  await server.held;
  running.child.kill('SIGKILL');
  assert.equal((await running.ended).signalName, 'SIGKILL');
  assert.equal(await readFile(join(folder, 'out.qcow2'), 'utf8'), 'old');
});

test('a source that is written to while it is read never becomes a target', async (t) => {
  const folder = await temporaryFolder(t);
  const overlay = join(folder, 'overlay.qcow2');
  const base = join(folder, 'base.raw');
  await writeFile(base, sampleDisk());
  await qemuImg('create', '-f', 'qcow2', '-F', 'raw', '-b', base, overlay);
  const server = await rangeServer(t, sampleDisk(), 5 * MIB);
  const target = join(folder, 'out.raw');
  const reference = ['--reference', `${base}=raw:${server.address}`];
  const running = startGantry(['disk', 'convert', overlay, target, ...reference]);
  await server.held;
  await appendFile(overlay, 'more');
  server.release();
  const { code, stderr } = await running.ended;
  assert.equal(code, 1);
  assert.match(stderr, /^error\[STORE_CHANGED\]: .*overlay\.qcow2/);
  assert.deepEqual((await readdir(folder)).sort(), ['base.raw', 'overlay.qcow2']);
});
