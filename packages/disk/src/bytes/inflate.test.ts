import assert from 'node:assert/strict';
import { test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { inflateRaw, inflateZlib } from './inflate.ts';

const plains = fc.oneof(
  fc.uint8Array({ maxLength: 3000 }),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 80 }), fc.integer({ min: 1, max: 900 }))
    .map(([part, times]) =>
      Uint8Array.from({ length: part.length * times }, (_, i) => part[i % part.length] ?? 0),
    ),
);
const settings = fc.record({
  level: fc.integer({ min: 0, max: 9 }),
  strategy: fc.constantFrom(
    zlib.constants.Z_DEFAULT_STRATEGY,
    zlib.constants.Z_FIXED,
    zlib.constants.Z_HUFFMAN_ONLY,
    zlib.constants.Z_RLE,
  ),
  windowBits: fc.integer({ min: 9, max: 15 }),
});

test('whatever zlib compresses comes out again, and what follows is left alone', () => {
  fc.assert(
    fc.property(plains, settings, fc.uint8Array({ maxLength: 40 }), (plain, options, rest) => {
      const raw = zlib.deflateRawSync(plain, options);
      const target = new Uint8Array(plain.length);
      const inflated = inflateRaw(target, Buffer.concat([raw, rest]));
      assert.deepEqual(inflated, { writtenBytes: plain.length, usedBytes: raw.length, ended: true });
      assert.deepEqual(target, plain);
      const framed = zlib.deflateSync(plain, options);
      const again = new Uint8Array(plain.length);
      assert.equal(inflateZlib(again, Buffer.concat([framed, rest])).usedBytes, framed.length);
      assert.deepEqual(again, plain);
    }),
    { numRuns: 200 },
  );
});

test('data that does not fit, and damaged data, is an error and never more output', () => {
  fc.assert(
    fc.property(plains, fc.nat(), fc.integer({ min: 1, max: 255 }), (plain, place, change) => {
      const raw = new Uint8Array(zlib.deflateRawSync(plain));
      if (plain.length > 0)
        assert.throws(() => inflateRaw(new Uint8Array(plain.length - 1), raw), /more output/);
      const at = place % raw.length;
      raw[at] = (raw[at] ?? 0) ^ change;
      const target = new Uint8Array(plain.length);
      try {
        assert.ok(inflateRaw(target, raw).writtenBytes <= plain.length);
      } catch (error) {
        assert.equal((error as Error).name, 'DamagedDeflate');
      }
    }),
    { numRuns: 300 },
  );
  assert.throws(() => inflateZlib(new Uint8Array(10), new Uint8Array([0x79, 0x9c, 3, 0])), /header/);
});

test('input that ends gives what it holds, and a part reaches back into what was before', () => {
  const words = Uint8Array.from({ length: 20_000 }, (_, i) => (i * i) % 251);
  const whole = zlib.deflateRawSync(words);
  const target = new Uint8Array(words.length);
  const cut = inflateRaw(target, whole.subarray(0, whole.length / 2));
  assert.equal(cut.ended, false);
  assert.deepEqual(target.subarray(0, cut.writtenBytes), words.subarray(0, cut.writtenBytes));
  const dictionary = words.subarray(0, 9000);
  const part = zlib.deflateRawSync(words.subarray(9000), {
    dictionary,
    finishFlush: zlib.constants.Z_SYNC_FLUSH,
  });
  const rest = new Uint8Array(words.length - 9000);
  assert.equal(inflateRaw(rest, part, dictionary).writtenBytes, rest.length);
  assert.deepEqual(rest, words.subarray(9000));
  assert.throws(() => inflateRaw(rest, part), /before the data/);
});
