import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AllocationMap } from './allocation-map.ts';
import { usedBlocksRegion, wholeDiskRegion } from './disk-regions.ts';
import { pieceLength } from './layout.ts';
import type { Region } from './regions.ts';

const BLOCK = 1000;

/** For each byte of a range of the region: the guest byte that it shows, -1 for a zero. */
function guestBytes(region: Region, from: number, to: number): number[] {
  return [...region.pieces(from, to)].flatMap((piece) => {
    assert.ok(pieceLength(piece) > 0, 'no piece is empty');
    assert.ok(piece.kind === 'disk' || piece.kind === 'zero');
    return Array.from({ length: pieceLength(piece) }, (_, i) =>
      piece.kind === 'disk' ? piece.offsetBytes + i : -1,
    );
  });
}

const cases = fc.record({
  used: fc.uniqueArray(fc.nat({ max: 19 }), { maxLength: 20 }),
  cut: fc
    .tuple(fc.nat({ max: 20 * BLOCK }), fc.nat({ max: 20 * BLOCK }))
    .map((cut) => cut.toSorted((a, b) => a - b)),
});

test('used blocks stand in guest order without gaps, however the range is cut', () => {
  fc.assert(
    fc.property(cases, ({ used, cut }) => {
      const region = usedBlocksRegion(AllocationMap.ofBlocks(BLOCK, 20, used));
      const whole = used
        .toSorted((a, b) => a - b)
        .flatMap((block) => Array.from({ length: BLOCK }, (_, i) => block * BLOCK + i));
      assert.equal(region.lengthBytes, whole.length);
      const [from = 0, to = 0] = cut.map((at) => Math.min(at, whole.length));
      assert.deepEqual(guestBytes(region, from, to), whole.slice(from, to));
    }),
    { numRuns: 50 },
  );
});

test('neighbouring used blocks are one piece', () => {
  const region = usedBlocksRegion(AllocationMap.ofBlocks(BLOCK, 20, [3, 4, 5, 9]));
  assert.deepEqual(
    [...region.pieces(0, region.lengthBytes)],
    [
      { kind: 'disk', offsetBytes: 3 * BLOCK, lengthBytes: 3 * BLOCK },
      { kind: 'disk', offsetBytes: 9 * BLOCK, lengthBytes: BLOCK },
    ],
  );
});

test('a whole disk shows every guest byte in its place, zero where no block is used and beyond the map', () => {
  fc.assert(
    fc.property(cases, fc.nat({ max: 3000 }), ({ used, cut }, extra) => {
      const lengthBytes = 20 * BLOCK + extra;
      const region = wholeDiskRegion(AllocationMap.ofBlocks(BLOCK, 20, used), lengthBytes);
      const set = new Set(used);
      const expected = Array.from({ length: lengthBytes }, (_, i) =>
        set.has(Math.floor(i / BLOCK)) ? i : -1,
      );
      const [from = 0, to = 0] = cut;
      assert.deepEqual(guestBytes(region, from, to + extra), expected.slice(from, to + extra));
    }),
    { numRuns: 50 },
  );
});
