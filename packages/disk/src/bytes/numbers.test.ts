import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ceilDivide, isPowerOfTwo, roundDown, roundUp, toSafeInteger } from './numbers.ts';

const place = { structure: 'field', offsetBytes: 24 };
const safe = fc.maxSafeNat();
const divisor = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });

test('a 64-bit field becomes a number up to 2^53 - 1 and is refused above', () => {
  assert.equal(toSafeInteger(2n ** 53n - 1n, place), Number.MAX_SAFE_INTEGER);
  for (const value of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
    assert.throws(() => toSafeInteger(value, place), { code: 'IMAGE_LIMIT', ...place });
  }
});

test('a negative field is malformed', () => {
  assert.throws(() => toSafeInteger(-1n, place), { code: 'IMAGE_MALFORMED', ...place });
});

test('ceilDivide, roundUp and roundDown are exact over all safe integers', () => {
  fc.assert(
    fc.property(safe, divisor, (value, by) => {
      const exact = (BigInt(value) + BigInt(by) - 1n) / BigInt(by);
      assert.equal(BigInt(ceilDivide(value, by)), exact);
      assert.equal(roundDown(value, by), value - (value % by));
      if (exact * BigInt(by) <= Number.MAX_SAFE_INTEGER) {
        assert.equal(BigInt(roundUp(value, by)), exact * BigInt(by));
      }
    }),
    { numRuns: 2000 },
  );
});

test('powers of two are told from their neighbours', () => {
  for (let exponent = 0; exponent <= 52; exponent++) {
    const power = 2 ** exponent;
    assert.ok(isPowerOfTwo(power), `2^${exponent}`);
    if (power > 2) assert.ok(!isPowerOfTwo(power - 1), `2^${exponent} - 1`);
    if (power > 1) assert.ok(!isPowerOfTwo(power + 1), `2^${exponent} + 1`);
  }
  for (const value of [0, -1, -2, 0.5, 1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.ok(!isPowerOfTwo(value), String(value));
  }
});
