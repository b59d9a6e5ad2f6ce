import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytesEqual, firstDifference, hasMagic, hexText, isZero, latin1Text, viewOf } from './fields.ts';

/** Bytes that start at any place of their buffer, with other bytes around them. */
const placed = fc
  .record({
    content: fc.uint8Array({ maxLength: 70 }),
    before: fc.nat({ max: 9 }),
    zero: fc.boolean(),
  })
  .map(({ content, before, zero }) => {
    const buffer = new Uint8Array(before + content.length + 3).fill(0xee);
    buffer.set(zero ? new Uint8Array(content.length) : content, before);
    return buffer.subarray(before, before + content.length);
  });

test('bytes are zero when every one is, wherever they start in their buffer', () => {
  fc.assert(fc.property(placed, (bytes) => isZero(bytes) === bytes.every((byte) => byte === 0)));
});

test('one byte that is not zero is found at every place', () => {
  for (let before = 0; before < 8; before++) {
    const bytes = new Uint8Array(64).subarray(before);
    for (let at = 0; at < bytes.length; at++) {
      bytes[at] = 1;
      assert.equal(isZero(bytes), false, `byte ${at} of a view at ${before}`);
      bytes[at] = 0;
    }
    assert.ok(isZero(bytes));
  }
});

test('the first difference is found at every place and alignment', () => {
  fc.assert(
    fc.property(placed, fc.nat({ max: 8 }), fc.nat(), (a, shift, at) => {
      const b = new Uint8Array(a.length + shift).subarray(shift);
      b.set(a);
      assert.equal(firstDifference(a, b), -1);
      assert.ok(bytesEqual(a, b));
      if (a.length === 0) return;
      const place = at % a.length;
      b[place] = (b[place] ?? 0) ^ 0x80;
      assert.equal(firstDifference(a, b), place);
      assert.equal(bytesEqual(a, b), false);
    }),
  );
});

test('bytes of different lengths are not equal', () => {
  assert.equal(bytesEqual(new Uint8Array(8), new Uint8Array(9)), false);
});

test('a magic is found only where it stands whole', () => {
  const bytes = Uint8Array.of(0, 0x51, 0x46, 0x49, 0xfb);
  assert.ok(hasMagic(bytes, 'QFI\xfb', 1));
  for (const offset of [-1, 0, 2, 5, 100]) assert.equal(hasMagic(bytes, 'QFI\xfb', offset), false);
});

test('a view and a text are of the bytes alone, not of their buffer', () => {
  const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6).subarray(2, 4);
  assert.equal(viewOf(bytes).getUint16(0), 0x0304);
  assert.throws(() => viewOf(bytes).getUint32(0), RangeError);
  assert.equal(hexText(bytes), '0304');
  assert.equal(hexText(Uint8Array.of(0, 15, 255)), '000fff');
});

test('magics are ASCII: a character of an ASCII text is one byte', () => {
  assert.equal(latin1Text(Buffer.from('KDMV')), 'KDMV');
});
