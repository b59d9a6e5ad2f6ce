import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { forwardSource } from './forward.ts';

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
