import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { ResumableSha256 } from './sha256.ts';

test('the hash is the one of the system, however the bytes come and wherever it was kept between', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }), (parts) => {
      const theirs = createHash('sha256');
      let ours = new ResumableSha256();
      for (const part of parts) {
        theirs.update(part);
        ours.update(part);
        const next = new ResumableSha256();
        next.restore(ours.save());
        ours = next;
      }
      assert.equal(Buffer.from(ours.digest()).toString('hex'), theirs.digest('hex'));
    }),
  );
});
