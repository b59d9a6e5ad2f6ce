import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { keyAfterPrefix } from './key-order.ts';

const encoder = new TextEncoder();
/** The order of UTF-8 bytes. */
const compareBytes = (left: string, right: string): number =>
  Buffer.compare(encoder.encode(left), encoder.encode(right));
const edges = fc.constantFrom('a', '/', '\u{d7ff}', '\u{e000}', '\u{ffff}', '\u{10ffff}');
const anyCodePoint = fc.string({ unit: 'binary', minLength: 1, maxLength: 1 });
const text = fc.string({ unit: fc.oneof(edges, anyCodePoint) });

test('exactly the texts with a prefix lie between the prefix and the key after it', () => {
  fc.assert(
    fc.property(text, text, fc.boolean(), (prefix, tail, glued) => {
      const key = glued ? prefix + tail : tail;
      const end = keyAfterPrefix(prefix);
      const inside = compareBytes(key, prefix) >= 0 && (end === undefined || compareBytes(key, end) < 0);
      assert.equal(inside, key.startsWith(prefix));
    }),
  );
});

test('nothing comes after all texts that begin with the last code point', () => {
  assert.equal(keyAfterPrefix(''), undefined);
  assert.equal(keyAfterPrefix('\u{10ffff}\u{10ffff}'), undefined);
  assert.equal(keyAfterPrefix('a\u{10ffff}'), 'b');
  assert.equal(keyAfterPrefix('\u{d7ff}'), '\u{e000}');
});
