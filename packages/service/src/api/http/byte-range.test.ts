import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseByteRange } from './byte-range.ts';

test('a range names bytes from the front, to the end, or from the end', () => {
  assert.deepEqual(parseByteRange('bytes=0-0', 10), { from: 0, to: 1 });
  assert.deepEqual(parseByteRange('bytes=2-4', 10), { from: 2, to: 5 });
  assert.deepEqual(parseByteRange('Bytes = 2 - 40', 10), { from: 2, to: 10 });
  assert.deepEqual(parseByteRange('bytes=9-', 10), { from: 9, to: 10 });
  assert.deepEqual(parseByteRange('bytes=-3', 10), { from: 7, to: 10 });
  assert.deepEqual(parseByteRange('bytes=-30', 10), { from: 0, to: 10 });
  assert.deepEqual(parseByteRange(`bytes=0-${'9'.repeat(400)}`, 10), { from: 0, to: 10 });
});

test('a range behind the end cannot be satisfied', () => {
  for (const header of ['bytes=10-', 'bytes=10-20', 'bytes=-0', `bytes=${'9'.repeat(400)}-`]) {
    assert.equal(parseByteRange(header, 10), 'unsatisfiable', header);
  }
  assert.equal(parseByteRange('bytes=0-', 0), 'unsatisfiable');
  assert.equal(parseByteRange('bytes=-1', 0), 'unsatisfiable');
});

test('what is no single range of bytes is ignored', () => {
  const headers = [
    undefined,
    '',
    'bytes=',
    'bytes=-',
    'bytes=5-2',
    'bytes=0-1,3-4',
    'lines=0-1',
    'bytes=a-b',
    '0-1',
  ];
  for (const header of headers) assert.equal(parseByteRange(header, 10), undefined, `${header}`);
});

test('a range that is read lies inside the body and is not empty', () => {
  const text = fc.tuple(fc.option(fc.nat(200)), fc.option(fc.nat(200)));
  fc.assert(
    fc.property(text, fc.nat(150), ([first, last], lengthBytes) => {
      const range = parseByteRange(`bytes=${first ?? ''}-${last ?? ''}`, lengthBytes);
      if (range === undefined || range === 'unsatisfiable') return;
      assert.ok(range.from >= 0 && range.from < range.to && range.to <= lengthBytes);
    }),
  );
});
