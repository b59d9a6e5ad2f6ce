import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ChunkWindow } from './chunk-window.ts';

const byteAt = (offset: number) => (offset * 7 + (offset >> 8)) % 251;
const bytesAt = (offset: number, length: number) => Uint8Array.from({ length }, (_, i) => byteAt(offset + i));

test('what is kept is the start and the newest, however the bytes come and go back', () => {
  const step = fc.oneof(
    fc.record({ add: fc.nat({ max: 3000 }) }),
    fc.record({ back: fc.nat({ max: 20_000 }) }),
    fc.record({ at: fc.nat({ max: 20_000 }), length: fc.nat({ max: 4000 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.nat({ max: 3000 }), (steps, headBytes) => {
      const windowBytes = 2000;
      const window = new ChunkWindow(headBytes, windowBytes);
      let headEnd = 0;
      let windowStart = 0;
      for (const each of steps) {
        const end = window.endBytes;
        if ('add' in each) {
          window.add(bytesAt(end, each.add));
          if (end <= headEnd) headEnd = Math.max(headEnd, Math.min(headBytes, end + each.add));
        } else if ('back' in each) {
          const to = Math.min(each.back, end);
          window.goTo(to);
          windowStart = to;
        } else {
          const into = new Uint8Array(each.length).fill(255);
          const copied = window.copy(each.at, into);
          assert.deepEqual(into.subarray(0, copied), bytesAt(each.at, copied));
          assert.ok(into.subarray(copied).every((byte) => byte === 255));
          // All of the head, and all of the window from where it began, is there.
          const atEnd = Math.min(each.at + each.length, end);
          const keptFrom = Math.max(windowStart, end - windowBytes);
          if (each.at >= keptFrom && each.at < atEnd) assert.ok(copied >= atEnd - each.at);
          if (each.at < headEnd) assert.ok(copied >= Math.min(headEnd - each.at, each.length));
          const chunk = window.chunkAt(each.at);
          if (copied > 0) assert.equal(chunk?.[0], byteAt(each.at));
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('the start can be had when the window has gone back into it', () => {
  const window = new ChunkWindow(100, 100);
  window.add(bytesAt(0, 50));
  window.goTo(10);
  assert.deepEqual(window.chunkAt(5), bytesAt(5, 45));
  assert.deepEqual(window.chunkAt(20), bytesAt(20, 30));
  assert.equal(window.chunkAt(50), undefined);
});

test('what was forgotten is not there, and what comes then is', () => {
  const window = new ChunkWindow(100, 100);
  window.add(bytesAt(0, 300));
  assert.equal(window.copy(250, new Uint8Array(50)), 50);
  window.clear();
  assert.equal(window.copy(0, new Uint8Array(10)), 0);
  assert.equal(window.copy(250, new Uint8Array(10)), 0);
  window.goTo(400);
  window.add(bytesAt(400, 10));
  const into = new Uint8Array(10);
  assert.equal(window.copy(400, into), 10);
  assert.deepEqual(into, bytesAt(400, 10));
});
