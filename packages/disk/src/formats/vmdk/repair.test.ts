import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { repairedSource } from '../../repair/repaired-source.ts';
import type { CheckReport, RepairPlan } from '../format.ts';
import { cowdExtent, descriptorFile } from './extents.testkit.ts';
import { vmdk } from './format.ts';
import { edited, folder, GRAIN, noise, openBytes, readAt, run, sparseDisk, written } from './vmdk.testkit.ts';

const MIB = 1024 * 1024;
const content = noise(4 * GRAIN);
const sparse = await written(sparseDisk(40 * MIB, new Map([[0, content]])), 'monolithicSparse');

/** Places in `sparse`: it has two grain tables. */
const RGD = 21 * 512;
const RGT = 22 * 512;
const GD = 30 * 512;
const GT = 31 * 512;
const UNCLEAN = { 72: Uint8Array.of(1) };

const options = { references: denyReferences };

async function repair(
  file: Uint8Array,
): Promise<{ plan: RepairPlan; bytes: Uint8Array; after: CheckReport }> {
  const plan = await vmdk.repair!(memorySource(file), options);
  const bytes = new Uint8Array(plan.lengthBytes);
  await repairedSource(memorySource(file), plan).read(0, bytes);
  return { plan, bytes, after: await vmdk.check!(memorySource(bytes), options) };
}

const repairable: readonly [string, RegExp, Uint8Array][] = [
  ['a redundant table that differs', /^the redundant grain directory/, edited(sparse, { [RGT]: 999 })],
  ['a redundant directory of zeros', /^the redundant/, edited(sparse, { [RGD]: 0n })],
  [
    'a redundant directory that points anywhere',
    /^the redundant/,
    edited(sparse, { [RGD]: 31, [RGD + 4]: 0xffffffff }),
  ],
  ['redundant tables in the place of others', /^the redundant/, edited(sparse, { [RGD + 4]: 22 })],
  [
    'a redundant table overwritten',
    /^the redundant/,
    edited(sparse, { [RGT]: new Uint8Array(2048).fill(255) }),
  ],
  [
    'a directory overwritten',
    /^the grain directory .* from the redundant/,
    edited(sparse, { [GD]: new Uint8Array(8).fill(255) }),
  ],
  ['a table overwritten', /^the grain directory/, edited(sparse, { [GT]: new Uint8Array(2048).fill(255) })],
  ['a table with one broken entry', /^the grain directory/, edited(sparse, { [GT + 8]: 7 })],
  ['the mark of an unclean shutdown', /unclean shutdown/, edited(sparse, UNCLEAN)],
];

for (const [what, action, file] of repairable) {
  test(`${what} is repaired to the very file that it was`, async () => {
    const { plan, bytes, after } = await repair(file);
    assert.match(plan.actions.join('\n'), action);
    assert.deepEqual([plan.remaining, after.findings], [[], []]);
    assert.ok(Buffer.from(bytes).equals(sparse));
    assert.ok(
      plan.patches.every(({ bytes: patch }) => patch.length <= 2048),
      'only what differs is written',
    );
  });
}

test('a sound file needs nothing', async () => {
  for (const file of [sparse, await written(sparseDisk(MIB, new Map()), 'streamOptimized')]) {
    const { plan } = await repair(file);
    assert.deepEqual(plan, {
      format: 'vmdk',
      actions: [],
      remaining: [],
      patches: [],
      lengthBytes: file.length,
    });
  }
});

const uncertain: readonly [string, Uint8Array][] = [
  ['both tables damaged', edited(sparse, { [GT]: 7, [RGT + 4]: 7 })],
  // The one names no grain where the other names one: which is right, nobody knows.
  ['a damaged table that contradicts its copy', edited(sparse, { [GT]: 7, [GT + 4]: 0 })],
  [
    'a damaged table with other grains',
    edited(sparse, { [GT]: 7, [GT + 4]: 128 + 3 * 128, [GT + 12]: 128 + 128 }),
  ],
  ['a grain in two places of the disk', edited(sparse, { [GT + 40]: 128, [RGT + 40]: 128 })],
];

for (const [what, file] of uncertain) {
  test(`${what} is left as it is, and told`, async () => {
    const { plan } = await repair(edited(file, UNCLEAN));
    assert.deepEqual([plan.actions, plan.patches], [[], []], 'nor is it marked as clean');
    assert.ok(plan.remaining.length > 0);
  });
}

test('what a reader sees is what it saw before the repair of the redundant copy', async () => {
  // The grain directory is sound and says something else: it is what is read, and what is kept.
  const { plan, bytes, after } = await repair(edited(sparse, { [GT]: 0, ...UNCLEAN }));
  assert.equal(plan.actions.length, 2);
  assert.deepEqual(after.findings, []);
  const disk = await openBytes(bytes);
  assert.deepEqual(await readAt(disk, 0, GRAIN), new Uint8Array(GRAIN));
  assert.deepEqual(await readAt(disk, GRAIN, GRAIN), content.subarray(GRAIN, 2 * GRAIN));
});

test('redundant tables that have no certain place are not made', async () => {
  // The directory would stand where grains are.
  const { plan } = await repair(edited(sparse, { 48: 128n }));
  assert.deepEqual(plan.patches, []);
  assert.ok(plan.remaining.length > 0);
});

test('an extent of a split disk is repaired by itself, a descriptor is not', async () => {
  const lone = edited(sparse, { 28: 0n, 36: 0n, [RGT]: 5, 512: new Uint8Array(20 * 512), ...UNCLEAN });
  const { plan, after } = await repair(lone);
  assert.equal(plan.actions.length, 2);
  assert.deepEqual([after.corruptionCount, after.warningCount], [0, 1]);
  const cowd = await repair(cowdExtent(100, new Map([[1, noise(512)]])));
  assert.deepEqual([cowd.plan.actions, cowd.plan.remaining], [[], []]);
  const descriptor = descriptorFile({ createType: 'vmfs', extents: ['RW 1 VMFS "a"'] });
  await assert.rejects(repair(descriptor), { code: 'IMAGE_UNSUPPORTED' });
});

test('qemu-img takes what was repaired', async (t) => {
  const path = join(await folder(t), 'disk.vmdk');
  const { bytes } = await repair(edited(sparse, { [GD]: new Uint8Array(8).fill(255) }));
  await writeFile(path, bytes);
  assert.match(await run('qemu-img', 'check', '-f', 'vmdk', path), /No errors/);
});
