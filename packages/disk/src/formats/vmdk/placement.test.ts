import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertPlacementHolds, sparseDisks } from '../placement.testkit.ts';
import { vmdk } from './format.ts';
import { request } from './vmdk.testkit.ts';

test('every grain of a monolithicSparse stands where the placement says', async () => {
  await fc.assert(
    fc.asyncProperty(sparseDisks(200 * 1024 * 1024), (disk) => assertPlacementHolds(vmdk, disk)),
    { numRuns: 40 },
  );
});

test('other subformats have no placement, and what cannot be written is refused as it is by the plan', async () => {
  const placement = (sizeBytes: number, options = {}) => vmdk.placement!(sizeBytes, request(options));
  assert.equal(await placement(512, { subformat: 'streamOptimized' }), undefined);
  assert.equal(await placement(512, { subformat: 'monolithicFlat' }), undefined);
  await assert.rejects(placement(0), { code: 'IMAGE_LIMIT' });
  await assert.rejects(placement(2 ** 46 + 1), { code: 'IMAGE_LIMIT' });
  await assert.rejects(placement(512, { subformat: 'none' }), { code: 'IMAGE_OPTION' });
});
