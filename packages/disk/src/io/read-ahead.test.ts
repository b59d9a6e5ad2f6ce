import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ByteSource } from './byte-source.ts';
import { memorySource } from './memory.ts';
import { readAheadSource } from './read-ahead.ts';

const BLOCK = 16;
const bytes = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 251);

/** A source in memory that notes its reads and can hold or fail them. */
function observed() {
  const reads: { offsetBytes: number; lengthBytes: number }[] = [];
  const memory = memorySource(bytes);
  const control: { before: (signal?: AbortSignal) => Promise<void> } = { before: async () => {} };
  const source: ByteSource = {
    ...memory,
    async read(offsetBytes, into, signal) {
      reads.push({ offsetBytes, lengthBytes: into.length });
      await control.before(signal);
      await memory.read(offsetBytes, into, signal);
    },
  };
  return { reads, control, cached: readAheadSource(source, { blockBytes: BLOCK }) };
}

async function readAt(source: ByteSource, offsetBytes: number, lengthBytes: number, signal?: AbortSignal) {
  const into = new Uint8Array(lengthBytes);
  await source.read(offsetBytes, into, signal);
  return into;
}

test('any reads in any order, also at once, give the bytes of the source', async () => {
  const range = fc
    .tuple(fc.nat(bytes.length), fc.nat(100))
    .map(([at, length]) => [at, Math.min(length, bytes.length - at)] as const);
  await fc.assert(
    fc.asyncProperty(fc.array(range, { maxLength: 40 }), fc.boolean(), async (ranges, atOnce) => {
      const { cached } = observed();
      const reads = [];
      for (const [at, length] of ranges) {
        const read = readAt(cached, at, length).then((got) => {
          assert.deepEqual(got, bytes.subarray(at, at + length));
        });
        if (atOnce) reads.push(read);
        else await read;
      }
      await Promise.all(reads);
    }),
  );
});

test('neighbouring missing blocks are one read of the source, and known ones none', async () => {
  const { cached, reads } = observed();
  await readAt(cached, 10 * BLOCK + 1, 3 * BLOCK);
  assert.deepEqual(reads, [{ offsetBytes: 10 * BLOCK, lengthBytes: 4 * BLOCK }]);
  await readAt(cached, 11 * BLOCK, BLOCK);
  assert.equal(reads.length, 1);
});

test('reads in order fetch ahead, further each time up to a bound', async () => {
  const { cached, reads } = observed();
  for (let at = 0; at < 40 * BLOCK; at += BLOCK / 2) await readAt(cached, at, BLOCK / 2);
  const blocks = reads.map((read) => read.lengthBytes / BLOCK);
  assert.deepEqual(blocks, [2, 4, 8, 8, 8, 8, 8]);
});

test('readers of one block at the same time share its read', async () => {
  const { cached, reads } = observed();
  await Promise.all([readAt(cached, 5, 5), readAt(cached, 7, 5), readAt(cached, 0, BLOCK)]);
  assert.equal(reads.length, 1);
});

test('a large read goes to the source as it is', async () => {
  const { cached, reads } = observed();
  await readAt(cached, 3, 4 * BLOCK);
  await readAt(cached, 3, 4 * BLOCK);
  assert.deepEqual(reads, [
    { offsetBytes: 3, lengthBytes: 4 * BLOCK },
    { offsetBytes: 3, lengthBytes: 4 * BLOCK },
  ]);
});

test('a failed read fails its readers and is tried again by the next', async () => {
  const { cached, control, reads } = observed();
  control.before = async () => {
    throw new Error('the wire broke');
  };
  const both = await Promise.allSettled([readAt(cached, 0, 4), readAt(cached, 2, 4)]);
  assert.deepEqual(
    both.map((outcome) => outcome.status),
    ['rejected', 'rejected'],
  );
  control.before = async () => {};
  assert.deepEqual(await readAt(cached, 0, 4), bytes.subarray(0, 4));
  assert.equal(reads.length, 2);
});

test('a reader that is aborted does not take the block away from another', async () => {
  const { cached, control } = observed();
  const held = Promise.withResolvers<void>();
  control.before = () => held.promise;
  const leaving = new AbortController();
  const first = readAt(cached, 0, 4, leaving.signal);
  const second = readAt(cached, 0, 4);
  leaving.abort(new Error('gone'));
  await assert.rejects(first, /gone/);
  held.resolve();
  assert.deepEqual(await second, bytes.subarray(0, 4));
});

test('closing aborts what is on its way', async () => {
  const { cached, control } = observed();
  control.before = (signal) =>
    new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
  const read = readAt(cached, 0, 4);
  await Promise.all([assert.rejects(read, /was closed/), cached.close()]);
});
