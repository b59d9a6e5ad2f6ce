import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { repairedSource } from '../../repair/repaired-source.ts';
import { assertSameBytes, sourceBytes } from '../images.testkit.ts';
import { repairVdi } from './repair.ts';
import { FREE, oldVdiFile, vdiFile } from './vdi.testkit.ts';

const references = denyReferences;

test('a count of blocks that is too low is made right, in old files too', async () => {
  const map = [2, 0, FREE, 1];
  for (const make of [vdiFile, oldVdiFile]) {
    const source = memorySource(make({ map, cBlocksAllocated: 1 }));
    const plan = await repairVdi(source, { references });
    assert.deepEqual([plan.actions.length, plan.remaining], [1, []]);
    assertSameBytes(await sourceBytes(repairedSource(source, plan)), make({ map }));
  }
});

test('a sound image needs no repair, and leaks are left alone', async () => {
  const sound = await repairVdi(memorySource(vdiFile()), { references });
  assert.deepEqual([sound.actions, sound.remaining, sound.patches], [[], [], []]);
  const leaking = vdiFile({ map: [0, FREE, FREE], storedBlocks: 2 });
  const plan = await repairVdi(memorySource(leaking), { references });
  assert.deepEqual([plan.patches.length, plan.remaining.length], [0, 1]);
});

test('a damaged map is left alone, and its count with it', async () => {
  const file = vdiFile({ map: [0, 1, 0, FREE], storedBlocks: 2, cBlocksAllocated: 1 });
  const plan = await repairVdi(memorySource(file), { references });
  assert.deepEqual([plan.patches.length, plan.remaining.length], [0, 2]);
});
