import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TableCache } from './table-cache.ts';

const table = (length: number) => new Uint8Array(length);

test('extents share one budget, and what was used last stays', () => {
  const cache = new TableCache<Uint8Array>(100);
  const [first, second] = [cache.extent(), cache.extent()];
  first.set(7, table(40));
  second.set(7, table(41));
  assert.equal(first.get(7)?.length, 40);
  second.set(8, table(42));
  assert.ok(first.has(7) && second.has(8) && !second.has(7), 'the one that was asked for stayed');
  first.set(7, table(30));
  assert.equal(first.get(7)?.length, 30);
  second.set(9, table(28));
  assert.ok(second.has(8), 'a table that was replaced is counted once');
});

test('a table above the budget is kept until the next one comes', () => {
  const tables = new TableCache<Uint8Array>(10).extent();
  tables.set(0, table(1000));
  assert.ok(tables.has(0));
  tables.set(1, table(5));
  assert.ok(!tables.has(0) && tables.has(1));
});
