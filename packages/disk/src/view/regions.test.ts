import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { memorySource } from '../io/memory.ts';
import { type Piece, pieceLength } from './layout.ts';
import {
  bytesRegion,
  cutPieces,
  joinedPieces,
  type Region,
  recordsRegion,
  regionsLayout,
  tableRegion,
  zeroRegion,
} from './regions.ts';

const sources = [memorySource(new Uint8Array(0), 'a'), memorySource(new Uint8Array(0), 'b')] as const;

const piece: fc.Arbitrary<Piece> = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 9 }).map((bytes): Piece => ({ kind: 'bytes', bytes })),
  fc.integer({ min: 1, max: 9 }).map((lengthBytes): Piece => ({ kind: 'zero', lengthBytes })),
  fc
    .tuple(fc.nat({ max: 20 }), fc.integer({ min: 1, max: 9 }))
    .map(([offsetBytes, lengthBytes]): Piece => ({ kind: 'disk', offsetBytes, lengthBytes })),
  fc
    .tuple(fc.constantFrom(...sources), fc.nat({ max: 20 }), fc.integer({ min: 1, max: 9 }))
    .map(
      ([source, offsetBytes, lengthBytes]): Piece => ({ kind: 'stored', source, offsetBytes, lengthBytes }),
    ),
);

/** What each byte of the pieces is, so that lists cut differently can be compared. */
function flat(pieces: Iterable<Piece>): string[] {
  return [...pieces].flatMap((part) => {
    assert.ok(pieceLength(part) > 0, 'no piece is empty');
    return Array.from({ length: pieceLength(part) }, (_, i) => {
      if (part.kind === 'bytes') return `byte ${part.bytes[i]}`;
      if (part.kind === 'zero') return 'zero';
      if (part.kind === 'disk') return `disk ${part.offsetBytes + i}`;
      return `${part.source.name} ${part.offsetBytes + i}`;
    });
  });
}

const lists = fc.array(piece, { maxLength: 12 });
const cut = fc
  .tuple(fc.nat({ max: 120 }), fc.nat({ max: 120 }))
  .map((ends) => ends.toSorted((a, b) => a - b));

test('a cut of pieces is the same part of their bytes', () => {
  fc.assert(
    fc.property(lists, cut, (pieces, [from = 0, to = 0]) => {
      assert.deepEqual(flat(cutPieces(pieces, from, to)), flat(pieces).slice(from, to));
    }),
  );
});

test('joined pieces are the same bytes; zeros and ranges of the disk that continue each other are one', () => {
  fc.assert(
    fc.property(lists, (pieces) => {
      const joined = [...joinedPieces(pieces)];
      assert.deepEqual(flat(joined), flat(pieces));
      for (const [i, part] of joined.entries()) {
        const next = joined[i + 1];
        if (next?.kind !== part.kind) continue;
        assert.notEqual(part.kind, 'zero');
        if (part.kind !== 'disk' || next.kind !== 'disk') continue;
        assert.notEqual(part.offsetBytes + part.lengthBytes, next.offsetBytes);
      }
    }),
  );
});

/** One region of each kind, and the bytes that they stand for. */
const regions: fc.Arbitrary<Region> = fc.oneof(
  fc.uint8Array({ maxLength: 20 }).map(bytesRegion),
  fc.nat({ max: 20 }).map(zeroRegion),
  fc.tuple(fc.nat({ max: 5 }), fc.integer({ min: 2, max: 7 })).map(([count, size]) =>
    recordsRegion(count, size, (index) => [
      { kind: 'bytes', bytes: Uint8Array.of(index) },
      { kind: 'disk', offsetBytes: index * 100, lengthBytes: size - 1 },
    ]),
  ),
  fc.tuple(fc.nat({ max: 9 }), fc.constantFrom(1, 4, 8, 40_000)).map(([count, size]) =>
    tableRegion(count, size, (first, made, bytes) => {
      assert.equal(bytes.length, made * size);
      for (let i = 0; i < made; i++) bytes[i * size] = first + i + 1;
    }),
  ),
);

test('any cut of a layout is the same part of the whole, whatever regions it is made of', () => {
  fc.assert(
    fc.property(fc.array(regions, { maxLength: 6 }), fc.nat(), fc.nat(), (parts, a, b) => {
      const layout = regionsLayout('test', parts);
      const whole = flat(layout.pieces(0, layout.lengthBytes));
      assert.equal(whole.length, layout.lengthBytes);
      const [from = 0, to = 0] = [a % (whole.length + 1), b % (whole.length + 1)].sort((x, y) => x - y);
      assert.deepEqual(flat(layout.pieces(from, to)), whole.slice(from, to));
    }),
    { numRuns: 60 },
  );
});

test('a layout refuses a range outside of it', () => {
  const layout = regionsLayout('test', [zeroRegion(10)]);
  for (const [from, to] of [
    [0, 11],
    [5, 4],
    [-1, 3],
  ] as const) {
    assert.throws(() => [...layout.pieces(from, to)], /invariant/);
  }
});

test('only the entries and records that a range touches are made', () => {
  const madeEntries: number[] = [];
  const table = tableRegion(1_000_000, 8, (first, count) => {
    madeEntries.push(first, count);
  });
  assert.equal(flat(table.pieces(8004, 8020)).length, 16);
  assert.deepEqual(madeEntries, [1000, 3]);
  const madeRecords: number[] = [];
  const records = recordsRegion(1000, 100, (index) => {
    madeRecords.push(index);
    return [{ kind: 'zero', lengthBytes: 100 }];
  });
  assert.equal(flat(records.pieces(250, 401)).length, 151);
  assert.deepEqual(madeRecords, [2, 3, 4]);
});
