import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { httpSource } from './http-range.ts';

const MIB = 1024 * 1024;
const bytes = Uint8Array.from({ length: 3 * MIB + 123 }, (_, i) => (i * 31 + Math.floor(i / 4096)) % 256);

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

/** Starts a server for the length of a test; `requests` notes what it was asked. */
async function serve(t: TestContext, handler: Handler) {
  const requests: http.IncomingHttpHeaders[] = [];
  const server = http.createServer((request, response) => {
    requests.push(request.headers);
    handler(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { requests, address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk.raw` };
}

interface ServedObject {
  content?: Uint8Array;
  etag?: string | undefined;
  lastModified?: string | undefined;
  ignoreConditions?: boolean;
}

/** A server that answers single ranges and conditions as RFC 9110 says. */
function rangeHandler(object: ServedObject): Handler {
  return (request, response) => {
    const content = object.content ?? bytes;
    if (object.etag !== undefined) response.setHeader('etag', object.etag);
    if (object.lastModified !== undefined) response.setHeader('last-modified', object.lastModified);
    const match = request.headers['if-match'];
    const since = request.headers['if-unmodified-since'];
    const holds =
      (match === undefined || match === object.etag) &&
      (since === undefined || Date.parse(object.lastModified ?? '') <= Date.parse(since));
    if (!holds && object.ignoreConditions !== true) return response.writeHead(412).end();
    const [from = 0, last = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [])
      .slice(1)
      .map(Number);
    if (from >= content.length) {
      return response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
    }
    const part = content.subarray(from, last + 1);
    response.writeHead(206, {
      'content-range': `bytes ${from}-${from + part.length - 1}/${content.length}`,
      'content-length': part.length,
    });
    response.end(part);
  };
}

const quick = { firstPauseMs: 1 };
const hasCode = (code: string) => (error: { code?: string }) => error.code === code;

test('any range of the object is read as it is', async (t) => {
  const { address } = await serve(t, rangeHandler({ etag: '"v1"' }));
  const source = await httpSource(address);
  t.after(() => source.close());
  assert.equal(source.lengthBytes, bytes.length);
  const range = fc
    .tuple(fc.nat(bytes.length), fc.oneof(fc.nat(5000), fc.nat(2 * MIB)))
    .map(([at, length]) => [at, Math.min(length, bytes.length - at)] as const);
  await fc.assert(
    fc.asyncProperty(range, async ([at, length]) => {
      const into = new Uint8Array(length);
      await source.read(at, into);
      assert.ok(Buffer.from(into).equals(bytes.subarray(at, at + length)));
    }),
    { numRuns: 60 },
  );
});

test('one request opens the object and small reads near each other need one more', async (t) => {
  const { address, requests } = await serve(t, rangeHandler({ etag: '"v1"' }));
  const source = await httpSource(address, { headers: { 'X-Auth-Token': 'secret' } });
  assert.equal(requests.length, 1);
  for (let at = 0; at < 64 * 1024; at += 512) await source.read(at, new Uint8Array(512));
  assert.equal(requests.length, 2);
  assert.equal(requests[1]!['if-match'], '"v1"');
  assert.equal(requests[1]!['accept-encoding'], 'identity');
  assert.equal(requests[1]!['x-auth-token'], 'secret');
});

for (const ignoreConditions of [false, true]) {
  const how = ignoreConditions ? 'that ignores conditions' : 'that knows conditions';
  test(`a change of the ETag at a server ${how} is STORE_CHANGED`, async (t) => {
    const object = { etag: '"v1"', ignoreConditions };
    const { address } = await serve(t, rangeHandler(object));
    const source = await httpSource(address, quick);
    object.etag = '"v2"';
    await assert.rejects(source.read(0, new Uint8Array(10)), hasCode('STORE_CHANGED'));
  });

  test(`a change of Last-Modified at a server ${how} is STORE_CHANGED`, async (t) => {
    const object = { etag: 'W/"v1"', lastModified: 'Sat, 21 Nov 2026 20:00:00 GMT', ignoreConditions };
    const { address, requests } = await serve(t, rangeHandler(object));
    const source = await httpSource(address, quick);
    await source.read(0, new Uint8Array(10));
    assert.equal(requests[1]!['if-unmodified-since'], object.lastModified);
    object.lastModified = 'Sat, 21 Nov 2026 20:00:01 GMT';
    await assert.rejects(source.read(MIB, new Uint8Array(10)), hasCode('STORE_CHANGED'));
  });
}

test('the version is the same text for the same version only', async (t) => {
  const object = { etag: '"v1"' };
  const { address } = await serve(t, rangeHandler(object));
  const versions = [];
  for (const etag of ['"v1"', '"v1"', '"v2"']) {
    object.etag = etag;
    versions.push((await httpSource(address, quick)).version);
  }
  assert.equal(versions[0], versions[1]);
  assert.notEqual(versions[1], versions[2]);
});

test('an object that becomes shorter or longer under the same ETag is STORE_CHANGED', async (t) => {
  for (const length of [MIB, bytes.length - 1]) {
    const object: ServedObject = { etag: '"v1"' };
    const { address } = await serve(t, rangeHandler(object));
    const source = await httpSource(address, quick);
    object.content = bytes.subarray(0, length);
    await assert.rejects(source.read(2 * MIB, new Uint8Array(10)), hasCode('STORE_CHANGED'));
  }
});

test('an object without a strong ETag and Last-Modified is refused', async (t) => {
  for (const etag of [undefined, 'W/"v1"']) {
    const { address } = await serve(t, rangeHandler({ etag }));
    await assert.rejects(httpSource(address, quick), hasCode('STORE_REFUSED'));
  }
});

test('an empty object is a source of no bytes', async (t) => {
  const { address } = await serve(t, rangeHandler({ etag: '"v1"', content: new Uint8Array(0) }));
  const source = await httpSource(address, quick);
  assert.equal(source.lengthBytes, 0);
  await source.read(0, new Uint8Array(0));
});

test('a server that ignores Range is refused, and its body is left', async (t) => {
  const left = Promise.withResolvers<void>();
  const { address } = await serve(t, (_, response) => {
    response.writeHead(200, { etag: '"v1"', 'content-length': 2 ** 40 });
    response.write(bytes);
    response.on('close', left.resolve);
  });
  await assert.rejects(httpSource(address, quick), hasCode('STORE_REFUSED'));
  await left.promise;
});

test('a server that compresses the object is refused', async (t) => {
  const { address } = await serve(t, (request, response) => {
    response.setHeader('content-encoding', 'gzip');
    rangeHandler({ etag: '"v1"' })(request, response);
  });
  await assert.rejects(httpSource(address, quick), hasCode('STORE_REFUSED'));
});

test('an answer for another range than the one asked for is refused', async (t) => {
  const lies = [
    'bytes 1-512/3145851',
    'bytes 0-511/3145851',
    'bytes 0-9',
    'bytes */3145851',
    'bytes 9-0/3145851',
    '',
  ];
  for (const lie of lies) {
    let opened = false;
    const { address } = await serve(t, (request, response) => {
      if (!opened) {
        opened = true;
        return rangeHandler({ etag: '"v1"' })(request, response);
      }
      response.writeHead(206, { etag: '"v1"', 'content-range': lie }).end(bytes.subarray(0, 512));
    });
    const source = await httpSource(address, quick);
    await assert.rejects(source.read(0, new Uint8Array(10)), hasCode('STORE_REFUSED'), lie);
  }
});

test('a length above 2^53 - 1 is refused', async (t) => {
  const { address } = await serve(t, (_, response) => {
    response.writeHead(206, { etag: '"v1"', 'content-range': 'bytes 0-0/9007199254740993' }).end('x');
  });
  await assert.rejects(httpSource(address, quick), hasCode('STORE_REFUSED'));
});

test('bytes beyond those asked for are refused', async (t) => {
  const content = bytes.subarray(0, 1000);
  let opened = false;
  const { address } = await serve(t, (request, response) => {
    if (!opened) {
      opened = true;
      return rangeHandler({ etag: '"v1"', content })(request, response);
    }
    // Without Content-Length the body is chunked: its length is the server's word.
    response.writeHead(206, { etag: '"v1"', 'content-range': 'bytes 0-999/1000' });
    response.write(content);
    response.end('more');
  });
  const source = await httpSource(address, quick);
  await assert.rejects(source.read(0, new Uint8Array(1000)), hasCode('STORE_REFUSED'));
});

test('a broken connection is taken up where it broke', async (t) => {
  const { address, requests } = await serve(t, (request, response) => {
    if (requests.length === 2) {
      response.writeHead(206, {
        etag: '"v1"',
        'content-range': `bytes 0-${2 * MIB - 1}/${bytes.length}`,
        'content-length': 2 * MIB,
      });
      response.write(bytes.subarray(0, MIB), () => response.socket?.end());
      return;
    }
    if (requests.length === 3) return request.socket.destroy();
    rangeHandler({ etag: '"v1"' })(request, response);
  });
  const source = await httpSource(address, quick);
  const into = new Uint8Array(2 * MIB);
  await source.read(0, into);
  assert.ok(Buffer.from(into).equals(bytes.subarray(0, into.length)));
  assert.deepEqual(
    requests.map((headers) => headers.range),
    ['bytes=0-0', 'bytes=0-2097151', 'bytes=1048576-2097151', 'bytes=1048576-2097151'],
  );
});

test('a server that fails for a while is asked again, for a bounded number of times', async (t) => {
  let failures = 2;
  const { address, requests } = await serve(t, (request, response) => {
    if (failures-- > 0) return response.writeHead(503, { 'retry-after': '0' }).end();
    rangeHandler({ etag: '"v1"' })(request, response);
  });
  const source = await httpSource(address, { ...quick, attempts: 3 });
  assert.equal(requests.length, 3);
  failures = 3;
  await assert.rejects(source.read(0, new Uint8Array(10)), hasCode('STORE_UNREACHABLE'));
  assert.equal(requests.length, 6);
});

test('a server that is not there is STORE_UNREACHABLE', async () => {
  const server = http.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  await assert.rejects(httpSource(`http://127.0.0.1:${port}/x`, quick), (error: Error & { code: string }) => {
    assert.equal(error.code, 'STORE_UNREACHABLE');
    assert.match(error.message, /ECONNREFUSED/);
    return true;
  });
});

test('a server that falls silent counts as lost', async (t) => {
  const { address, requests } = await serve(t, (request, response) => {
    if (requests.length === 2) return;
    if (requests.length === 3) {
      response.writeHead(206, { etag: '"v1"', 'content-range': `bytes 0-524287/${bytes.length}` });
      response.write(bytes.subarray(0, 1000));
      return;
    }
    rangeHandler({ etag: '"v1"' })(request, response);
  });
  const source = await httpSource(address, { ...quick, idleTimeoutMs: 100, attempts: 50 });
  const into = new Uint8Array(10);
  await source.read(0, into);
  assert.deepEqual(into, bytes.slice(0, 10));
});

test('an abort ends a read that waits for the server', async (t) => {
  const asked = Promise.withResolvers<void>();
  const { address, requests } = await serve(t, (request, response) => {
    if (requests.length === 1) return rangeHandler({ etag: '"v1"' })(request, response);
    asked.resolve();
  });
  const source = await httpSource(address, quick);
  const leaving = new AbortController();
  const reads = [10, 2 * MIB].map((length) => source.read(0, new Uint8Array(length), leaving.signal));
  await asked.promise;
  leaving.abort(new Error('no longer wanted'));
  for (const read of reads) await assert.rejects(read, /no longer wanted/);
  await source.close();
});

test('the signal of the opening ends the opening and every read', async (t) => {
  const asked = Promise.withResolvers<void>();
  const { address } = await serve(t, () => asked.resolve());
  const ending = new AbortController();
  const opening = httpSource(address, { signal: ending.signal });
  await asked.promise;
  ending.abort(new Error('shut down'));
  await assert.rejects(opening, /shut down/);
});

test('what the server says about absence and permission keeps its meaning', async (t) => {
  const codes = { 401: 'STORE_DENIED', 403: 'STORE_DENIED', 404: 'STORE_NOT_FOUND', 400: 'STORE_REFUSED' };
  for (const [status, code] of Object.entries(codes)) {
    const { address, requests } = await serve(t, (_, response) => response.writeHead(Number(status)).end());
    await assert.rejects(httpSource(address, quick), hasCode(code));
    assert.equal(requests.length, 1);
  }
});

test('credentials of the address are sent as a header, and secrets never stand in a name', async (t) => {
  const { address, requests } = await serve(t, rangeHandler({ etag: '"v1"' }));
  const url = new URL(address);
  url.username = 'ann';
  url.password = 'p:w';
  url.pathname = '/p/T0KEN/n/ns/b/images/o/a.qcow2';
  url.search = '?X-Amz-Signature=abc';
  const source = await httpSource(url.href, quick);
  assert.equal(requests[0]!.authorization, `Basic ${Buffer.from('ann:p:w').toString('base64')}`);
  assert.equal(source.name, `http://${url.host}/p/.../n/ns/b/images/o/a.qcow2`);
  url.pathname = '/below/p/T0KEN/n/ns/b/images/o/a.qcow2';
  assert.equal(
    (await httpSource(url.href, quick)).name,
    `http://${url.host}/below/p/.../n/ns/b/images/o/a.qcow2`,
  );
});

test('only http and https addresses are taken', async () => {
  for (const address of ['file:///etc/passwd', 'ftp://host/x', 'disk.raw', '']) {
    await assert.rejects(httpSource(address), hasCode('STORE_REFUSED'));
  }
});
