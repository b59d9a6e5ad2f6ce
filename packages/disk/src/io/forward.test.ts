import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { byteChunks } from './byte-chunks.ts';
import { forwardSource, openEndedSource } from './forward.ts';

const MIB = 2 ** 20;

/** A stream of a pattern in chunks of these lengths, by turns. */
async function* arriving(totalBytes: number, chunkLengths: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let at = 0, turn = 0; at < totalBytes; turn++) {
    const length = Math.min(chunkLengths[turn % chunkLengths.length] ?? 1, totalBytes - at);
    yield pattern(at, length);
    at += length;
  }
}

function pattern(offset: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => ((offset + i) * 7 + ((offset + i) >> 9)) % 251);
}

test('reads at any place of what has arrived, and a little ahead, give the bytes of the stream', async () => {
  const total = 300_000;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 5 }),
      fc.array(fc.tuple(fc.nat({ max: total }), fc.nat({ max: 80_000 })), { maxLength: 8 }),
      async (chunks, places) => {
        const source = forwardSource(arriving(total, chunks), total, 'upload');
        // Side by side, as readers of blocks do.
        await Promise.all(
          places.map(async ([at, length]) => {
            const into = new Uint8Array(Math.min(length, total - at));
            await source.read(at, into);
            assert.ok(Buffer.from(into).equals(pattern(at, into.length)));
          }),
        );
        await source.drain();
        await source.close();
      },
    ),
    { numRuns: 30 },
  );
});

test('a stream of another length than it was said to have is an error', async () => {
  const short = forwardSource(arriving(1000, [100]), 1001, 'upload');
  await assert.rejects(short.drain(), { code: 'STORE_IO', message: /less/ });
  const long = forwardSource(arriving(1000, [100]), 999, 'upload');
  await assert.rejects(long.drain(), { code: 'STORE_IO', message: /more/ });
  const whole = forwardSource(arriving(1000, [100]), 900, 'upload');
  await whole.read(0, new Uint8Array(900));
  await assert.rejects(whole.drain(), { code: 'STORE_IO', message: /more/ });
});

test('what has gone by, and what is far ahead, cannot be read: the file is not sequential', async () => {
  const total = 80 * MIB;
  const zeros = new Uint8Array(MIB);
  async function* stream(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < total; at += MIB) yield zeros;
  }
  const source = forwardSource(stream(), total, 'upload');
  await source.read(0, new Uint8Array(10));
  await assert.rejects(source.read(total - 512, new Uint8Array(512)), { code: 'IMAGE_NOT_SEQUENTIAL' });
  for (let at = 20 * MIB; at <= 70 * MIB; at += 10 * MIB) await source.read(at, new Uint8Array(512));
  await source.read(31 * MIB, new Uint8Array(512));
  await assert.rejects(source.read(40 * MIB, new Uint8Array(512)), {
    code: 'IMAGE_NOT_SEQUENTIAL',
    offsetBytes: 40 * MIB,
  });
});

test('an aborted read throws the reason and the stream goes on', async () => {
  const source = forwardSource(arriving(1000, [100]), 1000, 'upload');
  const reason = new Error('enough');
  await assert.rejects(source.read(0, new Uint8Array(10), AbortSignal.abort(reason)), reason);
  await source.read(500, new Uint8Array(500));
  await source.drain();
});

test('a failure of the stream is thrown to the reader', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(10);
    throw new Error('the connection was lost');
  }
  const source = forwardSource(broken(), 1000, 'upload');
  await source.read(0, new Uint8Array(10));
  await assert.rejects(source.read(5, new Uint8Array(10)), /connection was lost/);
});

test('a reader gives up on a silent sender, and closing does not wait for it', async () => {
  const silence = Promise.withResolvers<Uint8Array>();
  async function* silent(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(10).fill(1);
    yield await silence.promise;
  }
  const source = forwardSource(silent(), 20, 'upload');
  const leaving = new AbortController();
  const read = source.read(5, new Uint8Array(10), leaving.signal);
  const reason = new Error('canceled');
  leaving.abort(reason);
  await assert.rejects(read, reason);
  await assert.rejects(source.drain(AbortSignal.abort(reason)), reason);
  // The chunk that nobody waited for is the next reader's.
  const again = source.read(5, new Uint8Array(15));
  silence.resolve(new Uint8Array(10).fill(2));
  await again;

  const closed = forwardSource(
    (async function* () {
      yield await new Promise<Uint8Array>(() => {});
    })(),
    20,
    'upload',
  );
  const waiting = new AbortController();
  const rest = closed.drain(waiting.signal);
  waiting.abort(reason);
  await assert.rejects(rest, reason);
  await closed.close();
});

test('a stream that arrives byte by byte reads as it is', async () => {
  const total = 300_000;
  const source = forwardSource(arriving(total, [1]), total, 'upload');
  await source.drain();
  const into = new Uint8Array(total);
  await source.read(0, into);
  assert.ok(Buffer.from(into).equals(pattern(0, total)));
});

async function* textOf(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

test('a short stream of unknown length is known to its end at once', async () => {
  const source = await openEndedSource(textOf('hello', 'you'), 'pipe');
  assert.equal(source.openEnded, false);
  assert.equal(source.lengthBytes, 8);
  const into = Buffer.alloc(3);
  await source.read(5, into);
  assert.equal(into.toString(), 'you');
  await source.drain();
});

test('where a long stream ends is known when it does, and what was wanted beyond is missing', async () => {
  const total = 300_000;
  const source = await openEndedSource(arriving(total, [10_000]), 'pipe');
  assert.equal(source.openEnded, true);
  assert.ok(source.lengthBytes > 2 ** 40);
  await source.read(200_000, new Uint8Array(100_000));
  assert.equal(source.openEnded, true);
  await assert.rejects(source.read(299_999, new Uint8Array(2)), { code: 'IMAGE_TRUNCATED' });
  assert.equal(source.openEnded, false);
  assert.equal(source.lengthBytes, total);
  const last = new Uint8Array(1);
  await source.read(total - 1, last);
  assert.deepEqual(last, pattern(total - 1, 1));
  await source.drain();
});

test('the rest is what was kept and what still arrives, and is not kept', async () => {
  const total = 300_000;
  for (const from of [0, 1, 65_000, 150_000, total]) {
    const source = await openEndedSource(arriving(total, [7000, 13]), 'pipe');
    await source.read(100_000, new Uint8Array(50));
    const parts: Uint8Array[] = [];
    for await (const part of source.rest(from)) parts.push(part);
    assert.ok(Buffer.concat(parts).equals(pattern(from, total - from)), `from ${from}`);
    await assert.rejects(source.read(0, new Uint8Array(1)), { code: 'IMAGE_NOT_SEQUENTIAL' });
  }
  const short = forwardSource(arriving(total, [1000]), total + 1, 'upload');
  await assert.rejects(
    async () => {
      for await (const _ of byteChunks(short, 0));
    },
    { code: 'STORE_IO' },
  );
});
