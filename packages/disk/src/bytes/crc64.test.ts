import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Crc64 } from './crc64.ts';

test('the check value of the CRC catalogue comes out, however the bytes are cut', () => {
  const bytes = Buffer.from('123456789');
  fc.assert(
    fc.property(fc.nat({ max: 9 }), fc.nat({ max: 9 }), (a, b) => {
      const [first, second] = [Math.min(a, b), Math.max(a, b)];
      const crc = new Crc64();
      for (const part of [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]) {
        crc.update(part);
      }
      // CRC-64/XZ: 995dc9bbdf1939fa.
      assert.equal(Buffer.from(crc.digest()).toString('hex'), 'fa3919dfbbc95d99');
    }),
  );
});
