import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GrainClaims } from './grain-claims.ts';
import { ReservedPlaces } from './reserved-places.ts';

test('a grain is taken exactly when no earlier one has a sector of it', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(200), { maxLength: 40 }), (sectors) => {
      const claims = new GrainClaims(8);
      const taken: number[] = [];
      for (const sector of sectors) {
        const free = taken.every((other) => Math.abs(other - sector) >= 8);
        assert.equal(claims.claim(sector), free);
        if (free) taken.push(sector);
      }
    }),
  );
});

test('grains far apart are told from each other', () => {
  const claims = new GrainClaims(128);
  for (const sector of [0, 128, 65536 * 128 - 128, 65536 * 128, 2 ** 32 - 128]) {
    assert.ok(claims.claim(sector));
    assert.ok(!claims.claim(sector));
  }
});

test('sectors of metadata are known, whatever kind it is and wherever it stands', () => {
  const length = fc.integer({ min: 1, max: 6 });
  const places = fc.array(fc.tuple(fc.nat(100), length), { maxLength: 4 });
  fc.assert(
    fc.property(places, fc.uniqueArray(fc.nat(25)), fc.nat(110), length, (fixed, tables, start, count) => {
      const tableSectors = Uint32Array.from(tables, (table) => table * 4).sort();
      const reserved = new ReservedPlaces(
        fixed.map(([at, sectors]) => ({ start: at, end: at + sectors })),
        tableSectors,
        4,
      );
      const used = new Set<number>();
      for (const [at, sectors] of fixed) for (let i = 0; i < sectors; i++) used.add(at + i);
      for (const at of tableSectors) for (let i = 0; i < 4; i++) used.add(at + i);
      const wanted = Array.from({ length: count }, (_, i) => start + i).some((sector) => used.has(sector));
      assert.equal(reserved.overlaps(start, start + count), wanted);
    }),
  );
});
