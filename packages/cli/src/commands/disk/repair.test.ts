import assert from 'node:assert/strict';
import { copyFile, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gantry, run, temporaryFolder } from '../../command.testkit.ts';
import { qemuImg, sampleFiles } from './images.testkit.ts';

/** Overwrites bytes of a file. */
async function put(path: string, offsetBytes: number, bytes: readonly number[]): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(Uint8Array.from(bytes), 0, bytes.length, offsetBytes);
  await file.close();
}

/** The sample as a qcow2 whose first refcounts say 7 and 0. */
async function damagedQcow2(folder: string): Promise<{ raw: string; damaged: string }> {
  const { raw, qcow2 } = await sampleFiles(folder);
  const bytes = await readFile(qcow2);
  const table = Number(bytes.readBigUInt64BE(48));
  const block = Number(bytes.readBigUInt64BE(table));
  const damaged = join(folder, 'damaged.qcow2');
  await copyFile(qcow2, damaged);
  await put(damaged, block + 2 * 5, [0, 7, 0, 0]);
  return { raw, damaged };
}

async function requireSound(image: string, raw: string): Promise<void> {
  assert.equal((await run('qemu-img', ['check', image])).code, 0);
  assert.match(await qemuImg('compare', '-F', 'raw', image, raw), /identical/);
}

test('--repair writes a copy that is sound and shows the same disk; the file stays as it was', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, damaged } = await damagedQcow2(folder);
  const before = await readFile(damaged);
  assert.equal((await gantry(['disk', 'check', damaged])).code, 3);
  const repaired = join(folder, 'repaired.qcow2');
  const { code, stdout, stderr } = await gantry(['disk', 'check', damaged, '--repair', repaired]);
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /^repaired: .*\n[\s\S]*^wrote .*repaired\.qcow2$/m);
  await requireSound(repaired, raw);
  assert.ok(before.equals(await readFile(damaged)));
  assert.equal((await gantry(['disk', 'check', repaired])).code, 0);
});

test('--repair-in-place makes the file itself sound', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, damaged } = await damagedQcow2(folder);
  const { code, stdout, stderr } = await gantry([
    'disk',
    'check',
    damaged,
    '--repair-in-place',
    '-o',
    'json',
  ]);
  assert.equal(code, 0, stdout + stderr);
  const { written, remaining, isSound } = JSON.parse(stdout);
  assert.deepEqual({ written, remaining, isSound }, { written: damaged, remaining: [], isSound: true });
  await requireSound(damaged, raw);
});

test('what cannot be repaired for certain is never changed in place, and is named in a copy', async (t) => {
  const folder = await temporaryFolder(t);
  const { damaged } = await damagedQcow2(folder);
  const bytes = await readFile(damaged);
  const l1 = Number(bytes.readBigUInt64BE(40));
  const l2 = Number(bytes.readBigUInt64BE(l1) % 2n ** 56n);
  // The first used entry of an L2 table names a cluster far beyond the end of the file.
  const entry = Array.from({ length: 128 }, (_, i) => l2 + i * 8).find(
    (at) => bytes.readBigUInt64BE(at) !== 0n,
  );
  await put(damaged, entry ?? 0, [0x80, 0, 0, 0x7f, 0, 0, 0, 0]);
  const before = await readFile(damaged);
  const refused = await gantry(['disk', 'check', damaged, '--repair-in-place']);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /error\[IMAGE_MALFORMED\][\s\S]*--repair TARGET/);
  assert.ok(before.equals(await readFile(damaged)));
  const copy = join(folder, 'copy.qcow2');
  const { code, stdout } = await gantry(['disk', 'check', damaged, '--repair', copy]);
  assert.equal(code, 3, stdout);
  assert.match(stdout, /^remains: /m);
  assert.ok(before.equals(await readFile(damaged)));
});

test('a sound image and a format that is not repaired leave nothing behind', async (t) => {
  const folder = await temporaryFolder(t);
  const { raw, qcow2 } = await sampleFiles(folder);
  const target = join(folder, 'target');
  const sound = await gantry(['disk', 'check', qcow2, '--repair', target]);
  assert.deepEqual([sound.code, sound.stdout], [0, 'qcow2: nothing to repair\n']);
  const other = await gantry(['disk', 'check', raw, '--from', 'raw', '--repair', target]);
  assert.equal(other.code, 1);
  assert.match(other.stderr, /error\[IMAGE_UNSUPPORTED\]/);
  const same = await gantry(['disk', 'check', qcow2, '--repair', qcow2]);
  assert.ok([0, 9].includes(same.code ?? -1));
  const remote = await gantry(['disk', 'check', 'http://127.0.0.1:1/x', '--repair-in-place']);
  assert.equal(remote.code, 2);
  assert.deepEqual((await readdir(folder)).sort(), ['disk.qcow2', 'disk.raw']);
});
