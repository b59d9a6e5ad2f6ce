import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { Sha256 } from './sha256.ts';

test('SHA-256 of parts is that of the whole', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 6 }), (parts) => {
      const hash = new Sha256();
      for (const part of parts) hash.update(part);
      const expected = createHash('sha256').update(Buffer.concat(parts)).digest();
      assert.deepEqual(Buffer.from(hash.digest()), expected);
    }),
  );
});

test('every length around a block is padded right', () => {
  for (let length = 0; length <= 200; length++) {
    const bytes = new Uint8Array(length).fill(length);
    const hash = new Sha256();
    hash.update(bytes);
    assert.deepEqual(Buffer.from(hash.digest()), createHash('sha256').update(bytes).digest(), `${length}`);
  }
});

test('a hash that was kept between its parts goes on as it was', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 6 }), (parts) => {
      let hash = new Sha256();
      for (const part of parts) {
        hash.update(part);
        const next = new Sha256();
        next.restore(hash.save());
        hash = next;
      }
      const expected = createHash('sha256').update(Buffer.concat(parts)).digest();
      assert.deepEqual(Buffer.from(hash.digest()), expected);
    }),
  );
});
