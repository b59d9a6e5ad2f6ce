import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ByteSource, memorySource } from '@gantry/disk';
import fc from 'fast-check';
import { rangeWindow } from './range-window.ts';

const RANGE_BYTES = 1024;

interface Spied extends ByteSource {
  readonly reads: (readonly [offsetBytes: number, lengthBytes: number])[];
  mostAtOnce: number;
  closed: boolean;
}

function spied(bytes: Uint8Array): Spied {
  const source = memorySource(bytes);
  let atOnce = 0;
  const spy: Spied = {
    ...source,
    name: 'far away',
    lengthBytes: bytes.length,
    reads: [],
    mostAtOnce: 0,
    closed: false,
    async read(offsetBytes, into, signal) {
      spy.reads.push([offsetBytes, into.length]);
      spy.mostAtOnce = Math.max(spy.mostAtOnce, ++atOnce);
      await new Promise((resolve) => setImmediate(resolve));
      await source.read(offsetBytes, into, signal);
      atOnce--;
    },
    async close() {
      spy.closed = true;
    },
  };
  return spy;
}

function pattern(lengthBytes: number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, index) => (index * 31 + (index >> 8)) % 251);
}

test('any reads, at once or after each other, give the bytes of the source', async () => {
  const read = fc.tuple(fc.nat({ max: 20_000 }), fc.nat({ max: 3000 }));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(read, { maxLength: 6 })),
      fc.integer({ min: 1, max: 4 }),
      async (rounds, parallel) => {
        const bytes = pattern(20_000);
        const source = rangeWindow(spied(bytes), { parallel, rangeBytes: RANGE_BYTES });
        for (const round of rounds) {
          await Promise.all(
            round.map(async ([at, length]) => {
              const into = new Uint8Array(Math.min(length, bytes.length - at));
              await source.read(at, into);
              assert.deepEqual(into, bytes.subarray(at, at + into.length));
            }),
          );
        }
        await source.close();
      },
    ),
  );
});

test('a way through the source fetches each range once, several at once', async () => {
  const far = spied(pattern(64 * RANGE_BYTES));
  const source = rangeWindow(far, { parallel: 4, rangeBytes: RANGE_BYTES });
  for (let at = 0; at < far.lengthBytes; at += 256) await source.read(at, new Uint8Array(256));
  const long = far.reads.filter(([, length]) => length === RANGE_BYTES);
  assert.equal(long.length, 64);
  assert.equal(new Set(long.map(([offset]) => offset)).size, 64);
  assert.ok(far.mostAtOnce <= 5 && far.mostAtOnce >= 4, `${far.mostAtOnce}`);
});

test('short reads here and there fetch nothing else', async () => {
  const far = spied(pattern(64 * RANGE_BYTES));
  const source = rangeWindow(far, { parallel: 4, rangeBytes: RANGE_BYTES });
  for (const at of [0, 40_000, 8_000, 60_000]) await source.read(at, new Uint8Array(32));
  assert.deepEqual(
    far.reads.map(([, length]) => length),
    [32, 32, 32, 32],
  );
});

test('a range that failed is fetched again by who needs it next; closing ends the rest', async () => {
  const far = spied(pattern(8 * RANGE_BYTES));
  const plain = far.read.bind(far);
  let failures = 1;
  far.read = async (offsetBytes, into, signal) => {
    if (failures-- > 0) throw new Error('lost');
    await plain(offsetBytes, into, signal);
  };
  const source = rangeWindow(far, { parallel: 1, rangeBytes: RANGE_BYTES });
  await assert.rejects(source.read(0, new Uint8Array(512)), { message: 'lost' });
  await source.read(0, new Uint8Array(512));
  const leaving = AbortSignal.abort(new Error('left'));
  await assert.rejects(source.read(0, new Uint8Array(512), leaving), { message: 'left' });
  await source.close();
  assert.equal(far.closed, true);
});
