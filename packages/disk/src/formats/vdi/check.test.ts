import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import type { CheckReport } from '../format.ts';
import { checkVdi } from './check.ts';
import { FREE, type VdiFields, vdiFile } from './vdi.testkit.ts';

async function check(fields: VdiFields, extraBytes = 0): Promise<CheckReport> {
  const file = vdiFile(fields);
  const longer = new Uint8Array(file.length + extraBytes);
  longer.set(file);
  return checkVdi(memorySource(longer), { references: denyReferences });
}

async function counts(fields: VdiFields, extraBytes = 0): Promise<readonly number[]> {
  const { corruptionCount, leakCount, warningCount } = await check(fields, extraBytes);
  return [corruptionCount, leakCount, warningCount];
}

test('a sound image has no findings', async () => {
  assert.deepEqual(await counts({}), [0, 0, 0]);
  assert.deepEqual(await counts({ cbBlockExtra: 512 }), [0, 0, 0]);
});

test('every bad map entry is a corruption, with its place', async () => {
  const report = await check({ map: [0, 1, 0, 4, 9, FREE], storedBlocks: 2 });
  assert.deepEqual(
    report.findings.map(({ severity, offsetBytes }) => [severity, offsetBytes]),
    [
      ['corruption', 512 + 2 * 4],
      ['corruption', 512 + 3 * 4],
      ['corruption', 512 + 4 * 4],
      ['corruption', 388],
    ],
  );
});

test('an allocation count that the next write would trust wrongly is a corruption', async () => {
  assert.deepEqual(await counts({ map: [0, 1, FREE], cBlocksAllocated: 1 }), [1, 0, 0]);
});

test('blocks and bytes that nothing names are leaks', async () => {
  assert.deepEqual(await counts({ map: [0, FREE, FREE], storedBlocks: 2 }), [0, 1, 0]);
  assert.deepEqual(await counts({}, 100), [0, 1, 0]);
});

test('what VirtualBox would refuse is a warning', async () => {
  assert.deepEqual(await counts({ uuidCreate: 0, lchsSectorBytes: 0 }), [0, 0, 2]);
});

test('an image that cannot be used is refused as it is on opening', async () => {
  await assert.rejects(check({ cbDisk: 0n }), { code: 'IMAGE_MALFORMED' });
});

test('an image with a parent is checked without it', async () => {
  assert.deepEqual(await counts({ type: 4, uuidLinkage: 1 }), [0, 0, 0]);
  assert.deepEqual(await counts({ type: 4 }), [1, 0, 0]);
});
