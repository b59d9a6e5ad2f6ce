import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { repairedSource } from '../../repair/repaired-source.ts';
import type { RepairPlan } from '../format.ts';
import { assertSameBytes, diskBytes, openBytes, sourceBytes, testFolder, tool } from '../images.testkit.ts';
import { checkVhd } from './check.ts';
import { vhd } from './format.ts';
import { repairVhd } from './repair.ts';
import { BLOCKS_OFFSET, fixedVhd, guestBytes, STRIDE_BYTES, UNUSED, vhdFile } from './vhd.testkit.ts';

const references = denyReferences;
const table = [1, UNUSED, 0, UNUSED];

async function repaired(file: Uint8Array): Promise<{ plan: RepairPlan; bytes: Uint8Array }> {
  const source = memorySource(file);
  const plan = await repairVhd(source, { references });
  return { plan, bytes: await sourceBytes(repairedSource(source, plan)) };
}

async function assertRepairs(damaged: Uint8Array, sound: Uint8Array, actionCount = 1): Promise<void> {
  const { plan, bytes } = await repaired(damaged);
  assert.deepEqual(plan.remaining, []);
  assert.equal(plan.actions.length, actionCount);
  assertSameBytes(bytes, sound, plan.actions[0]);
  assert.deepEqual((await checkVhd(memorySource(bytes), { references })).findings, []);
}

test('a sound image needs no repair', async () => {
  for (const file of [vhdFile(), vhdFile({ footerBytes: 511 }), fixedVhd(new Uint8Array(4096))]) {
    const { plan } = await repaired(file);
    assert.deepEqual([plan.actions, plan.remaining, plan.patches], [[], [], []]);
    assert.equal(plan.lengthBytes, file.length);
  }
});

test('a missing or damaged footer comes from its copy, a missing or damaged copy from the footer', async () => {
  const sound = vhdFile();
  const bent = (...places: readonly number[]) => {
    const file = sound.slice();
    for (const at of places) file[at] = (file[at] ?? 0) ^ 1;
    return file;
  };
  await assertRepairs(vhdFile({ footerBytes: 0 }), sound);
  await assertRepairs(bent(sound.length - 512 + 100), sound);
  await assertRepairs(bent(100), sound);
  const noCopy = sound.slice();
  noCopy.fill(0, 0, 512);
  await assertRepairs(noCopy, sound);
});

test('a footer that is cut in its middle is written anew behind what is left of it', async () => {
  const sound = vhdFile();
  const { plan, bytes } = await repaired(sound.slice(0, sound.length - 100));
  assert.deepEqual(plan.remaining, []);
  assert.equal(bytes.length, sound.length + 512);
  assertSameBytes(await diskBytes(await openBytes(vhd, bytes)), guestBytes(table));
});

test('checksums that alone are wrong are made right', async () => {
  const sound = vhdFile();
  const footers = sound.slice();
  for (const at of [64, sound.length - 512 + 64]) footers[at] = 0;
  await assertRepairs(footers, sound);
  const header = sound.slice();
  header[512 + 36] = 0;
  await assertRepairs(header, sound);
  const all = footers.slice();
  all[512 + 36] = 0;
  await assertRepairs(all, sound, 2);
});

test('a header whose fields may be what is wrong is not made right', async () => {
  const changes: readonly ((file: Uint8Array) => void)[] = [
    (file) => (file[512 + 29] = 1),
    (file) => (file[512 + 33] = 2),
    (file) => (file[512 + 100] = 1),
    // A table that stands in what was empty shows no block.
    (file) => (file[512 + 22] = 0x10),
  ];
  for (const change of changes) {
    const file = vhdFile({ table: [0, 1] });
    file.fill(0xff, 4096, 8192);
    change(file);
    await assert.rejects(repairVhd(memorySource(file), { references }), { code: 'IMAGE_MALFORMED' });
  }
});

test('an older copy is written anew, and one about another disk is left and told', async () => {
  const older = vhdFile();
  older.set(vhdFile({ timeStamp: 7 }).subarray(0, 512));
  await assertRepairs(older, vhdFile());
  const other = vhdFile();
  other.set(vhdFile({ currentSize: 1024n }).subarray(0, 512));
  const { plan } = await repaired(other);
  assert.deepEqual([plan.actions.length, plan.patches.length, plan.remaining.length], [0, 0, 1]);
});

test('what is cut into its blocks, or has damaged entries, gets no footer', async () => {
  const cut = vhdFile().slice(0, BLOCKS_OFFSET + STRIDE_BYTES + 5000);
  const damaged = vhdFile({ table: [0, 1, 0x7fffffff], storedBlocks: 2, footerBytes: 0 });
  for (const file of [cut, damaged]) {
    const { plan } = await repaired(file);
    assert.deepEqual(plan.actions, []);
    assert.ok(plan.remaining.length >= 2);
    assert.equal(plan.lengthBytes, file.length);
  }
});

test('qemu-img and libvhdi read a repaired image that they refused', async (t) => {
  const folder = await testFolder(t);
  const path = join(folder, 'disk.vhd');
  await tool('qemu-img', 'create', '-q', '-f', 'vpc', '-o', 'force_size=on', path, '10M');
  const file = new Uint8Array(await readFile(path));
  file[512 + 36] = (file[512 + 36] ?? 0) ^ 1;
  file.fill(0, file.length - 512);
  await writeFile(path, file);
  await assert.rejects(tool('vhdiinfo', path));
  const { plan, bytes } = await repaired(file);
  assert.deepEqual([plan.actions.length, plan.remaining], [2, []]);
  await writeFile(path, bytes);
  assert.match(await tool('vhdiinfo', path), /Media size\s*: .*\b10485760 bytes/);
  await tool('qemu-img', 'info', '-f', 'vpc', path);
});
