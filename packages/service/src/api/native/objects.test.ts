import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import fc from 'fast-check';
import { errorCode, patterned, startService, type TestService } from './service.testkit.ts';

const OBJECTS = '/buckets/bucket/objects';
const MIB = 1024 * 1024;

const put = (
  service: TestService,
  key: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
) => service.call(`${OBJECTS}/${key}`, { method: 'PUT', body, headers });

async function bytesOf(answer: Response): Promise<Buffer> {
  return Buffer.from(await answer.arrayBuffer());
}

test('an object is put, shown, read and deleted', async (t) => {
  const service = await startService(t);
  const bytes = patterned(3 * MIB + 17);
  const created = await put(service, 'images/a.qcow2', bytes, { 'content-type': 'application/x-qcow2' });
  assert.equal(created.status, 201);
  const { etag, ...object } = (await created.json()) as { etag: string; createdAtMs: number };
  assert.equal(created.headers.get('etag'), `"${etag}"`);
  assert.deepEqual(object, {
    key: 'images/a.qcow2',
    lengthBytes: bytes.length,
    contentType: 'application/x-qcow2',
    createdAtMs: object.createdAtMs,
    view: null,
  });

  for (const method of ['GET', 'HEAD']) {
    const answer = await service.call(`${OBJECTS}/images/a.qcow2`, { method });
    assert.equal(answer.status, 200);
    assert.deepEqual(
      ['etag', 'content-length', 'content-type', 'accept-ranges', 'last-modified'].map((name) =>
        answer.headers.get(name),
      ),
      [
        `"${etag}"`,
        `${bytes.length}`,
        'application/x-qcow2',
        'bytes',
        new Date(object.createdAtMs).toUTCString(),
      ],
    );
    assert.ok((await bytesOf(answer)).equals(method === 'GET' ? bytes : Buffer.alloc(0)));
  }

  const replaced = await put(service, 'images/a.qcow2', 'short');
  assert.equal(replaced.status, 200);
  assert.notEqual(((await replaced.json()) as { etag: string }).etag, etag);
  assert.equal(await (await service.call(`${OBJECTS}/images/a.qcow2`)).text(), 'short');
  assert.equal((await service.storedFiles()).length, 1);

  assert.equal((await service.call(`${OBJECTS}/images/a.qcow2`, { method: 'DELETE' })).status, 204);
  for (const method of ['GET', 'DELETE']) {
    const answer = await service.call(`${OBJECTS}/images/a.qcow2`, { method });
    assert.equal(await errorCode(answer), 'NOT_FOUND');
  }
  assert.equal((await service.call(`${OBJECTS}/images/a.qcow2`, { method: 'HEAD' })).status, 404);
  assert.deepEqual(await service.storedFiles(), []);
});

test('an empty object is an object', async (t) => {
  const service = await startService(t);
  assert.equal((await service.call(`${OBJECTS}/empty`, { method: 'PUT' })).status, 201);
  const answer = await service.call(`${OBJECTS}/empty`);
  assert.equal(answer.headers.get('content-length'), '0');
  assert.equal((await bytesOf(answer)).length, 0);
  const ranged = await service.call(`${OBJECTS}/empty`, { headers: { range: 'bytes=0-0' } });
  assert.equal(ranged.status, 416);
});

test('a key is any text, percent-encoded once, with slashes as they are or encoded', async (t) => {
  const service = await startService(t);
  // fetch resolves dot segments before it sends them; the service itself takes them as they are.
  const key = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 60 })
    .filter((text) => !/\p{Cc}/u.test(text) && !/(^|\/)\.{1,2}(\/|$)/.test(text));
  await fc.assert(
    fc.asyncProperty(fc.oneof(key, fc.constantFrom('a%2Fb', '%', 'a//b/', '/', '?#&+ "\\')), async (text) => {
      const encoded = encodeURIComponent(text);
      const body = createHash('sha256').update(text).digest('hex');
      const answer = await put(service, encoded, body);
      assert.ok(answer.ok);
      assert.equal(((await answer.json()) as { key: string }).key, text);
      for (const path of [encoded, encoded.replaceAll('%2F', '/')]) {
        assert.equal(await (await service.call(`${OBJECTS}/${path}`)).text(), body, text);
      }
    }),
    { numRuns: 20 },
  );
});

test('a key that is too long or has control characters is refused', async (t) => {
  const service = await startService(t);
  const longest = 'é'.repeat(512);
  assert.equal((await put(service, encodeURIComponent(longest), 'x')).status, 201);
  for (const key of [`${longest}x`, 'a\u0000b', 'a\nb', '\u0085']) {
    const answer = await put(service, encodeURIComponent(key), 'x');
    assert.equal(await errorCode(answer), 'INVALID', key);
  }
  assert.equal((await put(service, '', 'x')).status, 400);
  const malformed = service.request('GET', `${OBJECTS}/%ff`).end();
  const [answer] = (await once(malformed, 'response')) as [IncomingMessage];
  answer.resume();
  assert.equal(answer.statusCode, 400);
});

test('any range of an object is its slice', async (t) => {
  const service = await startService(t);
  const bytes = patterned(700_001, 3);
  await put(service, 'a', bytes);
  const bound = fc.option(fc.oneof(fc.nat(bytes.length + 10), fc.nat(1000)), { nil: undefined });
  await fc.assert(
    fc.asyncProperty(bound, bound, async (first, last) => {
      const range = `bytes=${first ?? ''}-${last ?? ''}`;
      const answer = await service.call(`${OBJECTS}/a`, { headers: { range } });
      const body = await bytesOf(answer);
      if (answer.status === 416) {
        assert.equal(answer.headers.get('content-range'), `bytes */${bytes.length}`);
        assert.ok(first === undefined ? last === 0 : first >= bytes.length);
        return;
      }
      const isWhole = (first === undefined && last === undefined) || (first ?? 0) > (last ?? Infinity);
      const from = isWhole ? 0 : (first ?? Math.max(0, bytes.length - (last ?? 0)));
      const to =
        isWhole || first === undefined ? bytes.length : Math.min(bytes.length, (last ?? Infinity) + 1);
      assert.equal(answer.status, isWhole ? 200 : 206, range);
      if (!isWhole) {
        assert.equal(answer.headers.get('content-range'), `bytes ${from}-${to - 1}/${bytes.length}`);
      }
      assert.equal(Number(answer.headers.get('content-length')), to - from);
      assert.ok(body.equals(bytes.subarray(from, to)), range);
    }),
    { numRuns: 60 },
  );
});

test('reads hold their conditions', async (t) => {
  const service = await startService(t);
  const { etag } = (await (await put(service, 'a', '0123456789')).json()) as { etag: string };
  const read = async (headers: Record<string, string>) => {
    const answer = await service.call(`${OBJECTS}/a`, { headers });
    return [answer.status, answer.headers.get('etag'), answer.status < 400 ? await answer.text() : ''];
  };
  const quoted = `"${etag}"`;
  assert.deepEqual(await read({ 'if-none-match': quoted }), [304, quoted, '']);
  assert.deepEqual(await read({ 'if-none-match': '"other"' }), [200, quoted, '0123456789']);
  assert.deepEqual(await read({ 'if-match': '"other"' }), [412, quoted, '']);
  assert.deepEqual(await read({ range: 'bytes=2-3', 'if-range': quoted }), [206, quoted, '23']);
  assert.deepEqual(await read({ range: 'bytes=2-3', 'if-range': '"other"' }), [200, quoted, '0123456789']);
});

test('writes hold their conditions', async (t) => {
  const service = await startService(t);
  const { etag } = (await (await put(service, 'a', 'one', { 'if-none-match': '*' })).json()) as {
    etag: string;
  };
  const write = async (headers: Record<string, string>) => (await put(service, 'a', 'two', headers)).status;
  assert.equal(await write({ 'if-none-match': '*' }), 412);
  assert.equal(await write({ 'if-match': '"other"' }), 412);
  assert.equal(await (await service.call(`${OBJECTS}/a`)).text(), 'one');
  assert.equal(await write({ 'if-match': `"${etag}"` }), 200);
  assert.equal((await put(service, 'b', 'x', { 'if-match': '*' })).status, 412);
  const drop = (headers: Record<string, string>) =>
    service.call(`${OBJECTS}/a`, { method: 'DELETE', headers });
  assert.equal((await drop({ 'if-match': `"${etag}"` })).status, 412);
  assert.equal(await (await service.call(`${OBJECTS}/a`)).text(), 'two');
  assert.equal((await drop({ 'if-match': '*' })).status, 204);
});

test('a body that the sender hashed is compared, and its MD5 is the ETag', async (t) => {
  const service = await startService(t);
  const md5 = createHash('md5').update('bytes').digest();
  const good = await put(service, 'a', 'bytes', { 'content-md5': md5.toString('base64') });
  assert.equal(good.headers.get('etag'), `"${md5.toString('hex')}"`);
  const bad = await put(service, 'b', 'other', { 'content-md5': md5.toString('base64') });
  assert.equal(await errorCode(bad), 'INVALID');
  assert.equal((await service.call(`${OBJECTS}/b`)).status, 404);
  assert.equal((await service.storedFiles()).length, 1);
  assert.equal((await put(service, 'c', 'x', { 'content-md5': 'short' })).status, 400);
});

test('what would be lost of a request is refused', async (t) => {
  const service = await startService(t);
  assert.equal((await put(service, 'a', 'x', { 'content-encoding': 'gzip' })).status, 400);
  assert.equal((await put(service, 'a', 'x', { 'content-range': 'bytes 0-0/10' })).status, 400);
  assert.equal((await put(service, 'a', 'x', { 'content-encoding': 'identity' })).status, 201);
});

test('an upload that is cut off leaves nothing, and the object stays as it was', async (t) => {
  const service = await startService(t);
  await put(service, 'a', 'before');
  const request = service.request('PUT', `${OBJECTS}/a`, { 'content-length': 10 * MIB });
  request.on('error', () => {});
  request.write(patterned(3 * MIB));
  // The service is in the middle of the body when it has read all that was sent.
  await once(request, 'drain');
  request.destroy();
  await service.stop();
  await service.start();
  assert.equal((await service.storedFiles()).length, 1);
  assert.equal(await (await service.call(`${OBJECTS}/a`)).text(), 'before');
});

test('a refusal reaches a client that is still sending', async (t) => {
  const service = await startService(t);
  await put(service, 'a', 'before');
  const request = service.request('PUT', `${OBJECTS}/a`, {
    'content-length': 64 * MIB,
    'if-none-match': '*',
  });
  request.write(patterned(5 * MIB));
  const [answer] = (await once(request, 'response')) as [IncomingMessage];
  answer.resume();
  assert.equal(answer.statusCode, 412);
  request.on('error', () => {});
  request.destroy();
});

test('a reader gets the version that it began with, whole, while it is replaced and deleted', async (t) => {
  const service = await startService(t);
  const old = patterned(24 * MIB, 5);
  await put(service, 'a', old);
  const begin = async () => {
    const request = service.request('GET', `${OBJECTS}/a`).end();
    const [answer] = (await once(request, 'response')) as [IncomingMessage];
    return answer;
  };
  const [first, second] = [await begin(), await begin()];
  assert.equal((await put(service, 'a', 'new')).status, 200);
  assert.equal(await (await service.call(`${OBJECTS}/a`)).text(), 'new');
  assert.equal((await service.call(`${OBJECTS}/a`, { method: 'DELETE' })).status, 204);
  for (const answer of [first, second]) {
    assert.ok(Buffer.concat(await Array.fromAsync(answer)).equals(old));
  }
  await service.untilNothingStored();
});

test('a reader who goes away lets go of the object', async (t) => {
  const service = await startService(t);
  await put(service, 'a', patterned(24 * MIB));
  const request = service.request('GET', `${OBJECTS}/a`).end();
  await once(request, 'response');
  request.destroy();
  await service.call(`${OBJECTS}/a`, { method: 'DELETE' });
  await service.untilNothingStored();
});

test('objects are listed by prefix, in the order of UTF-8, in pages', async (t) => {
  const service = await startService(t);
  const keys = ['a/1', 'a/2', 'a/\u{1f600}', 'a/\uffff', 'b'];
  for (const key of keys) await put(service, encodeURIComponent(key), key);
  const list = async (query: string) => {
    const page = await service.json(`${OBJECTS}?${query}`);
    return [page.items.map((object: { key: string }) => object.key), page.nextStartAfter];
  };
  assert.deepEqual(await list(''), [['a/1', 'a/2', 'a/\uffff', 'a/\u{1f600}', 'b'], null]);
  assert.deepEqual(await list('prefix=a/&limit=3'), [['a/1', 'a/2', 'a/\uffff'], 'a/\uffff']);
  const next = encodeURIComponent('a/\uffff');
  assert.deepEqual(await list(`prefix=a/&startAfter=${next}`), [['a/\u{1f600}'], null]);
  assert.equal(await errorCode(await service.call('/buckets/absent/objects')), 'NOT_FOUND');
});

test('an object that is a view of an image answers like stored bytes', async (t) => {
  const service = await startService(t);
  const disk = patterned(5 * MIB);
  const imported = await service.json(
    '/images/stream?name=disk&format=raw',
    { method: 'POST', body: disk, headers: { 'content-type': 'application/octet-stream' } },
    201,
  );
  const { job } = await service.json(
    `/images/${imported.image.id}/exports`,
    { json: { format: 'raw', bucket: 'bucket', key: 'disk.raw' } },
    202,
  );
  let state = job.state;
  while (state === 'queued' || state === 'running') ({ state } = await service.json(`/jobs/${job.id}`));
  assert.equal(state, 'succeeded');
  assert.deepEqual(await service.storedFiles(), []);

  const head = await service.call(`${OBJECTS}/disk.raw`, { method: 'HEAD' });
  assert.equal(head.headers.get('content-length'), `${disk.length}`);
  const whole = await service.call(`${OBJECTS}/disk.raw`);
  assert.equal(whole.headers.get('etag'), head.headers.get('etag'));
  assert.ok((await bytesOf(whole)).equals(disk));
  const ranged = await service.call(`${OBJECTS}/disk.raw`, { headers: { range: 'bytes=1000000-3000000' } });
  assert.equal(ranged.status, 206);
  assert.ok((await bytesOf(ranged)).equals(disk.subarray(1_000_000, 3_000_001)));
  const [listed] = (await service.json(OBJECTS)).items;
  assert.equal(`"${listed.etag}"`, head.headers.get('etag'));
  assert.equal(listed.view.format, 'raw');

  await service.call(`/images/${imported.image.id}`, { method: 'DELETE' });
  assert.ok((await bytesOf(await service.call(`${OBJECTS}/disk.raw`))).equals(disk));
});
