import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { percentDone } from './percent.ts';

test('what is done of a job rises with its bytes and from phase to phase, and is all only at its success', () => {
  const phases = ['open', 'check', 'copy', 'verify'];
  fc.assert(
    fc.property(fc.array(fc.array(fc.nat(1000)), { minLength: 4, maxLength: 4 }), (ofPhases) => {
      let before = 0;
      for (const [i, phase] of phases.entries()) {
        for (const doneBytes of [...(ofPhases[i] ?? [])].sort((a, b) => a - b)) {
          const percent = percentDone('image-import', { phase, doneBytes, totalBytes: 1000 });
          assert.ok(percent >= before && percent < 100, `${phase} ${doneBytes}: ${percent} after ${before}`);
          before = percent;
        }
      }
    }),
  );
  assert.equal(percentDone('unknown', { phase: 'any', doneBytes: 5, totalBytes: undefined }), 0);
  assert.equal(percentDone('unknown', { phase: 'any', doneBytes: 5, totalBytes: 10 }), 49);
});
