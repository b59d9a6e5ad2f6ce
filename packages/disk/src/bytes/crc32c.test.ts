import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c, crc32cAround, joinedCrc32c } from './crc32c.ts';

test('the vectors of RFC 3720 and the check value of the catalogue come out', () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  const read10 = new Uint8Array(48);
  read10.set([0x01, 0xc0], 0);
  read10.set([0x14], 16);
  read10.set([0x04], 22);
  read10.set([0x14], 27);
  read10.set([0x18], 31);
  read10.set([0x28], 32);
  read10.set([0x02], 40);
  const vectors: readonly (readonly [bytes: Uint8Array, crc: number])[] = [
    [new Uint8Array(0), 0],
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(0xff), 0x62a8ab43],
    [ascending, 0x46dd794e],
    [ascending.toReversed(), 0x113fdb5c],
    [read10, 0xd9963a56],
    [Buffer.from('123456789'), 0xe3069283],
  ];
  for (const [bytes, crc] of vectors) assert.equal(crc32c(bytes), crc);
});

/** Bit by bit, as the definition says. */
function slowCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

test('any bytes, from any place of their buffer and in any two parts, give what the definition gives', () => {
  const cut = fc.uint8Array({ maxLength: 200 }).chain((bytes) =>
    fc.record({
      bytes: fc.constant(bytes),
      at: fc.nat(bytes.length),
      skip: fc.nat(Math.min(9, bytes.length)),
    }),
  );
  fc.assert(
    fc.property(cut, ({ bytes, at, skip }) => {
      assert.equal(crc32c(bytes.subarray(skip)), slowCrc32c(bytes.subarray(skip)));
      assert.equal(crc32c(bytes.subarray(at), crc32c(bytes.subarray(0, at))), slowCrc32c(bytes));
    }),
  );
});

test('the field of the checksum counts as zeros', () => {
  const bytes = Uint8Array.from({ length: 70 }, (_, i) => i * 3);
  const cleared = bytes.slice();
  cleared.fill(0, 4, 8);
  assert.equal(crc32cAround(bytes, 4), slowCrc32c(cleared));
});

test('the CRC of two runs of bytes follows from theirs and the length of the second', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.uint8Array({ maxLength: 5000 }), (first, second) => {
      const joined = joinedCrc32c(crc32c(first), crc32c(second), second.length);
      assert.equal(joined, crc32c(second, crc32c(first)));
    }),
  );
  // Zeros behind zeros, beyond 32 bits of length: x to the power of 2^31 - 1 is 1.
  const one = crc32c(Uint8Array.of(1));
  assert.equal(joinedCrc32c(one, 0, 2 ** 31 - 1), one);
  assert.equal(joinedCrc32c(one, 0, 3 * (2 ** 31 - 1)), one);
});
