// A program of node-accelerator.test.ts: threads that load the addon, use all of its codecs at the same time on
// memory that they share, and end, some of them in the middle.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { codecTier } from './node-accelerator.ts';
import { compressInto, decompressInto } from './node-zlib.ts';

const PLAIN_BYTES = 65536;
const ROUNDS = 40;

function work(plain: Uint8Array): void {
  assert.equal(codecTier().tier, 'native');
  const packed = new Uint8Array(2 * PLAIN_BYTES);
  const target = new Uint8Array(PLAIN_BYTES);
  for (let round = 0; round < ROUNDS; round++) {
    for (const kind of ['deflate-raw', 'zlib', 'zstd'] as const) {
      const length = compressInto(packed, kind, plain, { level: 1 + (round % 9) });
      const { writtenBytes } = decompressInto(target.fill(0), kind, packed.subarray(0, length));
      assert.equal(writtenBytes, PLAIN_BYTES);
      assert.equal(Buffer.compare(target, plain), 0);
    }
  }
}

if (isMainThread) {
  const plain = new Uint8Array(new SharedArrayBuffer(PLAIN_BYTES));
  for (let i = 0; i < PLAIN_BYTES; i++) plain[i] = (i * i) >> ((i >> 12) % 9);
  const start = () => new Worker(new URL(import.meta.url), { workerData: plain });
  const statusOf = async (thread: Worker) => (await once(thread, 'exit'))[0];
  for (let group = 0; group < 2; group++) {
    const statuses = Promise.all(Array.from({ length: 3 }, start).map(statusOf));
    const cut = start();
    await once(cut, 'online');
    await cut.terminate();
    work(plain);
    assert.deepEqual(await statuses, [0, 0, 0]);
  }
  console.log('ok');
} else {
  work(workerData as Uint8Array);
}
