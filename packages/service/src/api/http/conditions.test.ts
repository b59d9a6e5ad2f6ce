import assert from 'node:assert/strict';
import type { IncomingHttpHeaders } from 'node:http';
import { test } from 'node:test';
import { rangeApplies, readCondition, writeCondition } from './conditions.ts';

const version = { etag: 'v1', lastModifiedMs: Date.parse('Sat, 21 Nov 2026 20:00:00 GMT') + 345 };
const before = 'Sat, 21 Nov 2026 19:59:59 GMT';
const same = 'Sat, 21 Nov 2026 20:00:00 GMT';

test('a read goes on, is not modified, or fails, as RFC 9110 orders the conditions', () => {
  const read = (headers: IncomingHttpHeaders) => readCondition(headers, version);
  assert.equal(read({}), 'read');
  assert.equal(read({ 'if-none-match': '"v1"' }), 'not-modified');
  assert.equal(read({ 'if-none-match': 'W/"v1"' }), 'not-modified');
  assert.equal(read({ 'if-none-match': '"v0", "v1"' }), 'not-modified');
  assert.equal(read({ 'if-none-match': '*' }), 'not-modified');
  assert.equal(read({ 'if-none-match': '"v0"' }), 'read');
  assert.equal(read({ 'if-match': '"v0", "v1"' }), 'read');
  assert.equal(read({ 'if-match': 'v1' }), 'read');
  assert.equal(read({ 'if-match': '*' }), 'read');
  assert.equal(read({ 'if-modified-since': same }), 'not-modified');
  assert.equal(read({ 'if-modified-since': before }), 'read');
  assert.equal(read({ 'if-unmodified-since': same }), 'read');
  assert.equal(read({ 'if-modified-since': 'yesterday', 'if-unmodified-since': 'soon' }), 'read');
  for (const headers of [
    { 'if-match': '"v0"' },
    { 'if-match': 'W/"v1"' },
    { 'if-unmodified-since': before },
  ]) {
    assert.throws(() => read(headers), { code: 'PRECONDITION_FAILED' });
  }
  // An ETag decides over a date, and If-Match over If-None-Match.
  assert.equal(read({ 'if-match': '"v1"', 'if-unmodified-since': before }), 'read');
  assert.equal(read({ 'if-none-match': '"v0"', 'if-modified-since': same }), 'read');
  assert.throws(() => read({ 'if-match': '"v0"', 'if-none-match': '"v1"' }), { code: 'PRECONDITION_FAILED' });
});

test('a range applies without If-Range and to the version that it names', () => {
  const applies = (ifRange: string) => rangeApplies({ 'if-range': ifRange }, version);
  assert.equal(rangeApplies({}, version), true);
  assert.equal(applies('"v1"'), true);
  assert.equal(applies('"v0"'), false);
  assert.equal(applies('W/"v1"'), false);
  assert.equal(applies(same), true);
  assert.equal(applies(before), false);
  assert.equal(applies('nonsense'), false);
});

test('the conditions of a write are lists of ETags or any', () => {
  assert.deepEqual(writeCondition({}), { ifMatch: undefined, ifNoneMatch: undefined });
  assert.deepEqual(writeCondition({ 'if-none-match': '*' }), { ifMatch: undefined, ifNoneMatch: '*' });
  assert.deepEqual(writeCondition({ 'if-match': '"a,b" , "c"' }), {
    ifMatch: ['a,b', 'c'],
    ifNoneMatch: undefined,
  });
});
