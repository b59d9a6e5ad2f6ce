import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type HttpAnswer, httpSource } from '@gantry/disk';
import { guardedFetch, requireGuardedAddress } from './net-guard.ts';

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

async function serve(t: TestContext, handler: Handler) {
  const requests: http.IncomingMessage[] = [];
  const sockets = new Set();
  const server = http.createServer((request, response) => {
    requests.push(request);
    handler(request, response);
  });
  server.on('connection', (socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { requests, sockets, port, address: `http://127.0.0.1:${port}/` };
}

const get = (headers: Record<string, string> = {}) => ({
  method: 'GET' as const,
  headers,
  signal: new AbortController().signal,
});

async function textOf(answer: HttpAnswer): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of answer.body ?? []) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const isRefused = { code: 'STORE_REFUSED' };

test('addresses inside are refused in every way of writing them', async (t) => {
  const { port, requests } = await serve(t, (_, response) => response.end());
  const fetch = guardedFetch({ allow: [] });
  const hosts = [
    '127.0.0.1',
    'localhost',
    '0x7f.1',
    '2130706433',
    '017700000001',
    '127.1',
    '0.0.0.0',
    '[::1]',
  ];
  for (const host of [...hosts, '[::]', '[::ffff:127.0.0.1]', '[64:ff9b::7f00:1]', '169.254.169.254']) {
    await assert.rejects(fetch(`http://${host}:${port}/`, get()), isRefused, host);
  }
  assert.equal(requests.length, 0);
});

test('a host is refused as soon as one of its addresses is inside', async () => {
  const resolve = async () => [
    { address: '93.184.216.34', family: 4 },
    { address: '10.0.0.1', family: 4 },
  ];
  const fetch = guardedFetch({ allow: [], resolve });
  await assert.rejects(fetch('http://images.example/', get()), isRefused);
});

test('what is not an http address, or carries credentials, is refused before the network is asked', () => {
  const addresses = [
    'file:///etc/passwd',
    'ftp://host/',
    'gopher://host/',
    'nonsense',
    'http://u:p@host/',
    'http://u@host/',
  ];
  for (const address of addresses) {
    assert.throws(() => requireGuardedAddress(address, { allow: [] }), isRefused, address);
  }
  assert.equal(requireGuardedAddress('https://host/x', { allow: [] }).href, 'https://host/x');
  assert.throws(() => requireGuardedAddress('http://169.254.169.254/latest', { allow: [] }), isRefused);
});

test('what the operator allows is reached: by host, by host and port, by subnet', async (t) => {
  const { port, requests } = await serve(t, (_, response) => response.end('bytes'));
  for (const allow of ['localhost', `localhost:${port}`, '127.0.0.0/8', `127.0.0.1:${port}`]) {
    const fetch = guardedFetch({ allow: [allow, '::1'] });
    assert.equal(await textOf(await fetch(`http://localhost:${port}/a%20b?c=d`, get())), 'bytes', allow);
  }
  assert.equal(requests[0]!.url, '/a%20b?c=d');
  const elsewhere = guardedFetch({ allow: ['localhost:1', '::1'] });
  await assert.rejects(elsewhere(`http://localhost:${port}/`, get()), isRefused);
});

test('the connection goes to the address that was checked, and the name is asked for once', async (t) => {
  const { port, requests, sockets } = await serve(t, (_, response) => response.end('bytes'));
  let asked = 0;
  const resolve = async () => {
    asked++;
    return [{ address: asked === 1 ? '127.0.0.1' : '127.0.0.9', family: 4 }];
  };
  const fetch = guardedFetch({ allow: ['127.0.0.1'], resolve });
  for (let i = 0; i < 3; i++) await textOf(await fetch(`http://images.example:${port}/`, get()));
  assert.equal(asked, 1);
  assert.equal(sockets.size, 1);
  assert.equal(requests[0]!.headers.host, `images.example:${port}`);
});

test('a redirect to the inside is refused', async (t) => {
  const { port, requests } = await serve(t, (_, response) => {
    response.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data/' }).end();
  });
  const fetch = guardedFetch({ allow: [`127.0.0.1:${port}`] });
  await assert.rejects(fetch(`http://127.0.0.1:${port}/`, get()), isRefused);
  const other = await serve(t, (_, response) => response.end());
  const hop = await serve(t, (_, response) => response.writeHead(307, { location: other.address }).end());
  await assert.rejects(guardedFetch({ allow: [`127.0.0.1:${hop.port}`] })(hop.address, get()), isRefused);
  assert.equal(other.requests.length, 0);
  assert.equal(requests.length, 1);
});

test('redirects are followed five times and no further', async (t) => {
  const { address, requests } = await serve(t, (request, response) => {
    const left = Number(new URL(request.url ?? '', 'http://x').searchParams.get('left'));
    if (left === 0) response.end('arrived');
    else response.writeHead(302, { location: `/?left=${left - 1}` }).end();
  });
  const fetch = guardedFetch({ allow: ['127.0.0.1'] });
  assert.equal(await textOf(await fetch(`${address}?left=5`, get())), 'arrived');
  await assert.rejects(fetch(`${address}?left=6`, get()), isRefused);
  assert.equal(requests.length, 12);
});

test('credentials stay with the origin that they were given for', async (t) => {
  const store = await serve(t, (_, response) => response.end('bytes'));
  const { port, requests } = await serve(t, (request, response) => {
    response.writeHead(302, { location: request.url === '/a' ? '/b' : store.address }).end();
  });
  const fetch = guardedFetch({ allow: ['127.0.0.1'], allowCredentials: true });
  const headers = { 'X-Auth-Token': 'secret', Range: 'bytes=0-0' };
  await textOf(await fetch(`http://ann:pw@127.0.0.1:${port}/a`, get(headers)));
  for (const { headers } of requests) {
    assert.equal(headers.authorization, `Basic ${Buffer.from('ann:pw').toString('base64')}`);
    assert.equal(headers['x-auth-token'], 'secret');
  }
  const [arrived] = store.requests;
  assert.equal(arrived!.headers.authorization, undefined);
  assert.equal(arrived!.headers['x-auth-token'], undefined);
  assert.equal(arrived!.headers.range, 'bytes=0-0');
});

test('a host that cannot be found or does not answer is STORE_UNREACHABLE', async (t) => {
  const absent = guardedFetch({
    allow: [],
    resolve: async () => {
      throw new Error('getaddrinfo ENOTFOUND');
    },
  });
  await assert.rejects(absent('http://absent.example/', get()), { code: 'STORE_UNREACHABLE' });
  const silentResolver = guardedFetch({
    allow: [],
    resolve: () => new Promise(() => {}),
    connectTimeoutMs: 20,
  });
  await assert.rejects(silentResolver('http://images.example/', get()), { code: 'STORE_UNREACHABLE' });
  const { address } = await serve(t, () => {});
  const silentServer = guardedFetch({ allow: ['127.0.0.1'], idleTimeoutMs: 20 });
  await assert.rejects(silentServer(address, get()), { code: 'STORE_UNREACHABLE' });
});

test('a body that stops arriving fails who reads it', async (t) => {
  const { address } = await serve(t, (_, response) => {
    response.writeHead(200, { 'content-length': 10 });
    response.write('12345');
  });
  const fetch = guardedFetch({ allow: ['127.0.0.1'], idleTimeoutMs: 50 });
  await assert.rejects(async () => textOf(await fetch(address, get())));
});

test('an abort ends the request, and a body that nobody reads harms nobody', async (t) => {
  const asked = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  const { address } = await serve(t, (request, response) => {
    if (request.url === '/silent') return asked.resolve();
    response.write('12345');
    response.on('close', closed.resolve);
  });
  const fetch = guardedFetch({ allow: ['127.0.0.1'] });
  const leaving = new AbortController();
  const waiting = fetch(`${address}silent`, { ...get(), signal: leaving.signal });
  await asked.promise;
  leaving.abort(new Error('no longer wanted'));
  await assert.rejects(waiting, /no longer wanted/);

  const second = new AbortController();
  await fetch(address, { ...get(), signal: second.signal });
  second.abort();
  await closed.promise;
});

test('an HTTP source reads through the guard', async (t) => {
  const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 253));
  const { address, sockets } = await serve(t, (request, response) => {
    const [from = 0, last = 0] = (/bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [])
      .slice(1)
      .map(Number);
    const part = bytes.subarray(from, last + 1);
    response
      .writeHead(206, { etag: '"v1"', 'content-range': `bytes ${from}-${last}/${bytes.length}` })
      .end(part);
  });
  const source = await httpSource(address, { fetch: guardedFetch({ allow: ['127.0.0.1'] }) });
  const into = new Uint8Array(5000);
  await source.read(70_000, into);
  assert.deepEqual(Buffer.from(into), bytes.subarray(70_000, 75_000));
  assert.equal(sockets.size, 1);
  await assert.rejects(httpSource(address, { fetch: guardedFetch({ allow: [] }) }), isRefused);
});
