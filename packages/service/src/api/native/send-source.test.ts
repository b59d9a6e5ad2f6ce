import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type ByteSource, memorySource, StoreError } from '@gantry/disk';
import { fastify } from 'fastify';
import { sendHead, sendSource } from '../http/send-source.ts';
import { answerError } from './errors.ts';
import { patterned } from './service.testkit.ts';

const MIB = 1024 * 1024;
const version = { etag: 'v1', lastModifiedMs: 1_700_000_000_000 };

/** A server whose every answer is this source; resolves `closed` when it was closed. */
async function serveSource(t: TestContext, source: Omit<ByteSource, 'close'>) {
  const closed = Promise.withResolvers<void>();
  const app = fastify();
  app.setErrorHandler(answerError);
  app.route({
    method: ['GET', 'HEAD'],
    url: '/',
    exposeHeadRoute: false,
    handler: (request, reply) =>
      request.method === 'HEAD'
        ? sendHead(request, reply, source.lengthBytes, version)
        : sendSource(request, reply, { ...source, close: async () => closed.resolve() }, version),
  });
  app.addHook('onSend', async (_request, reply) => {
    reply.header('x-from-a-hook', 'seen');
  });
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('x-request-id', 'r1');
  });
  const address = await app.listen({ port: 0, host: '127.0.0.1' });
  t.after(() => app.close());
  return { address, closed: closed.promise };
}

/** Bytes of which those from an offset on cannot be had. */
function failingFrom(offsetBytes: number, bytes: Uint8Array): ByteSource {
  const memory = memorySource(bytes);
  return {
    ...memory,
    async read(at, into, signal) {
      if (at + into.length > offsetBytes) throw new StoreError('STORE_IO', 'a bad sector', { where: 'disk' });
      await memory.read(at, into, signal);
    },
  };
}

test('every byte arrives, in order, with the headers that were set before', async (t) => {
  const bytes = patterned(9 * MIB + 1);
  const { address, closed } = await serveSource(t, memorySource(bytes));
  const answer = await fetch(address);
  assert.equal(answer.headers.get('x-request-id'), 'r1');
  assert.equal(answer.headers.get('content-length'), `${bytes.length}`);
  assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes));
  await closed;
});

test('a source that fails at once is an error answer without the headers of a body', async (t) => {
  const { address, closed } = await serveSource(t, failingFrom(0, patterned(MIB)));
  const answer = await fetch(address, { headers: { range: 'bytes=5-' } });
  assert.equal(answer.status, 500);
  assert.equal(answer.headers.get('content-range'), null);
  assert.equal(((await answer.json()) as { error: { code: string } }).error.code, 'STORE_IO');
  await closed;
});

test('a source that fails later breaks the connection, so that no one takes the body for whole', async (t) => {
  const { address, closed } = await serveSource(t, failingFrom(4 * MIB, patterned(8 * MIB)));
  const answer = await fetch(address);
  assert.equal(answer.status, 200);
  await assert.rejects(answer.arrayBuffer());
  await closed;
});

test('a client that goes away aborts the read and closes the source', async (t) => {
  const reading = Promise.withResolvers<void>();
  const { address, closed } = await serveSource(t, {
    name: 'slow',
    lengthBytes: 2 ** 40,
    read(at, _into, signal) {
      if (at === 0) return Promise.resolve();
      reading.resolve();
      return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    },
  });
  const leaving = new AbortController();
  const answer = await fetch(address, { signal: leaving.signal });
  await reading.promise;
  leaving.abort();
  await assert.rejects(answer.arrayBuffer());
  await closed;
});

test('a client that goes away before the first byte closes the source too', async (t) => {
  const reading = Promise.withResolvers<void>();
  const { address, closed } = await serveSource(t, {
    name: 'silent',
    lengthBytes: 1,
    read(_at, _into, signal) {
      reading.resolve();
      return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    },
  });
  const leaving = new AbortController();
  const answer = fetch(address, { signal: leaving.signal });
  await reading.promise;
  leaving.abort();
  await assert.rejects(answer);
  await closed;
});

test('a client that does not read holds the source back', async (t) => {
  let readBytes = 0;
  const { address } = await serveSource(t, {
    name: 'endless',
    lengthBytes: 2 ** 40,
    async read(_at, into) {
      readBytes += into.length;
    },
  });
  const answer = await fetch(address);
  // Others are served meanwhile; a source that ran ahead would read gigabytes in that time.
  for (let i = 0; i < 50; i++) await fetch(address, { method: 'HEAD' });
  assert.ok(readBytes < 64 * MIB, `${readBytes} bytes were read`);
  await answer.body?.cancel();
});

test('HEAD tells the length without reading', async (t) => {
  const { address } = await serveSource(t, failingFrom(0, patterned(1000)));
  const answer = await fetch(address, { method: 'HEAD', headers: { range: 'bytes=0-1' } });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get('content-length'), '1000');
});
