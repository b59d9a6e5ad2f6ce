import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { sourceBytes, testFolder } from '../formats/images.testkit.ts';
import { memorySource } from '../io/memory.ts';
import { patchFile } from '../io/node-patch.ts';
import { repairedSource } from './repaired-source.ts';

/** A file, and patches that are in order and apart. */
const cases = fc
  .record({
    bytes: fc.uint8Array({ minLength: 1, maxLength: 200 }),
    lengthBytes: fc.integer({ min: 1, max: 260 }),
    gaps: fc.array(fc.tuple(fc.nat(30), fc.uint8Array({ minLength: 1, maxLength: 30 })), { maxLength: 8 }),
  })
  .map(({ bytes, lengthBytes, gaps }) => {
    let at = 0;
    const patches = [];
    for (const [gap, patch] of gaps) {
      if (at + gap + patch.length > lengthBytes) break;
      patches.push({ offsetBytes: at + gap, bytes: patch });
      at += gap + patch.length;
    }
    const expected = new Uint8Array(lengthBytes);
    expected.set(bytes.subarray(0, lengthBytes));
    for (const patch of patches) expected.set(patch.bytes, patch.offsetBytes);
    return { bytes, expected, plan: { format: 'x', actions: [], remaining: [], patches, lengthBytes } };
  });

test('a repaired source reads as the plan says, whole and by any range', async () => {
  await fc.assert(
    fc.asyncProperty(cases, fc.nat(), fc.nat(), async ({ bytes, expected, plan }, from, length) => {
      const view = repairedSource(memorySource(bytes), plan);
      assert.deepEqual(await sourceBytes(view), expected);
      const start = from % expected.length;
      const part = new Uint8Array(length % (expected.length - start + 1)).fill(9);
      await view.read(start, part);
      assert.deepEqual(part, expected.slice(start, start + part.length));
    }),
  );
});

test('a patched file is what the repaired source showed', async (context) => {
  const path = join(await testFolder(context), 'image');
  await fc.assert(
    fc.asyncProperty(cases, async ({ bytes, expected, plan }) => {
      await writeFile(path, bytes);
      await patchFile(path, plan.patches, plan.lengthBytes);
      assert.deepEqual(new Uint8Array(await readFile(path)), expected);
    }),
    { numRuns: 40 },
  );
  await assert.rejects(patchFile(join(path, 'absent'), [], 1), { code: 'STORE_NOT_FOUND' });
});

test('patches that overlap or lie outside are our own mistake', () => {
  const source = memorySource(new Uint8Array(10));
  const bytes = new Uint8Array(4);
  const plan = { format: 'x', actions: [], remaining: [], lengthBytes: 10 };
  for (const offsets of [[0, 3], [5, 0], [8]]) {
    const patches = offsets.map((offsetBytes) => ({ offsetBytes, bytes }));
    assert.throws(() => repairedSource(source, { ...plan, patches }), /invariant/);
  }
});
