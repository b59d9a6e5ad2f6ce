import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCode, patterned, startService, type TestService } from './service.testkit.ts';

const BUCKET = '/buckets/bucket';
const MIB = 1024 * 1024;

const begin = (service: TestService, key: string) =>
  service.json(`${BUCKET}/uploads`, { json: { key, contentType: 'application/x-raw' } }, 201);

const sendPart = (
  service: TestService,
  uploadId: string,
  partNumber: number | string,
  body: string | Uint8Array<ArrayBuffer>,
) => service.call(`${BUCKET}/uploads/${uploadId}/parts/${partNumber}`, { method: 'PUT', body });

const complete = (
  service: TestService,
  uploadId: string,
  parts: unknown,
  headers: Record<string, string> = {},
) => service.call(`${BUCKET}/uploads/${uploadId}/complete`, { json: { parts }, headers });

async function readBack(service: TestService, key: string): Promise<Buffer> {
  return Buffer.from(await (await service.call(`${BUCKET}/objects/${key}`)).arrayBuffer());
}

test('an upload goes on after a restart, with the parts that were acknowledged', async (t) => {
  const service = await startService(t);
  const parts = [patterned(2 * MIB, 1), patterned(MIB + 5, 2), patterned(7, 3)];
  const { id } = await begin(service, 'big');
  // In any order.
  assert.equal((await sendPart(service, id, 3, parts[2]!)).status, 200);
  assert.equal((await sendPart(service, id, 1, parts[0]!)).status, 200);
  await service.stop();
  await service.start();

  const shown = await service.json(`${BUCKET}/uploads/${id}`);
  assert.deepEqual(
    shown.parts.map((part: { partNumber: number }) => part.partNumber),
    [1, 3],
  );
  assert.equal((await service.call(`${BUCKET}/objects/big`)).status, 404);
  const second = (await (await sendPart(service, id, 2, parts[1]!)).json()) as { etag: string };
  const files = (await service.storedFiles()).toSorted();
  const [first, third] = shown.parts;
  const answer = await complete(service, id, [first, { partNumber: 2, etag: second.etag }, third]);
  const object = (await answer.json()) as { lengthBytes: number; etag: string; contentType: string };
  assert.equal(answer.status, 200);
  assert.equal(object.lengthBytes, 3 * MIB + 12);
  assert.equal(object.contentType, 'application/x-raw');
  assert.match(object.etag, /-3$/);
  // Nothing was copied: the parts' files are the object's.
  assert.deepEqual((await service.storedFiles()).toSorted(), files);

  const bytes = Buffer.concat(parts);
  assert.ok((await readBack(service, 'big')).equals(bytes));
  const range = { range: `bytes=${2 * MIB - 2}-${3 * MIB + 6}` };
  const ranged = await service.call(`${BUCKET}/objects/big`, { headers: range });
  assert.ok(Buffer.from(await ranged.arrayBuffer()).equals(bytes.subarray(2 * MIB - 2, 3 * MIB + 7)));

  assert.equal(await errorCode(await service.call(`${BUCKET}/uploads/${id}`)), 'NOT_FOUND');
  await service.stop();
  await service.start();
  assert.ok((await readBack(service, 'big')).equals(bytes));
  await service.call(`${BUCKET}/objects/big`, { method: 'DELETE' });
  assert.deepEqual(await service.storedFiles(), []);
});

test('a part sent again replaces the first, and parts that are not listed are dropped', async (t) => {
  const service = await startService(t);
  const { id } = await begin(service, 'k');
  const etagOf = async (answer: Response) => ((await answer.json()) as { etag: string }).etag;
  const old = await etagOf(await sendPart(service, id, 1, 'old'));
  const etag = await etagOf(await sendPart(service, id, 1, 'new'));
  await sendPart(service, id, 10_000, 'left out');
  assert.equal((await service.storedFiles()).length, 2);

  const stale = await complete(service, id, [{ partNumber: 1, etag: old }]);
  assert.equal(await errorCode(stale), 'UPLOAD_INCOMPLETE');
  const missing = await complete(service, id, [
    { partNumber: 1, etag },
    { partNumber: 2, etag },
  ]);
  assert.equal(await errorCode(missing), 'UPLOAD_INCOMPLETE');
  assert.equal((await complete(service, id, [{ partNumber: 1, etag }])).status, 200);
  assert.equal((await readBack(service, 'k')).toString(), 'new');
  assert.equal((await service.storedFiles()).length, 1);
});

test('a list of parts is ascending and not empty, and part numbers are 1 to 10,000', async (t) => {
  const service = await startService(t);
  const { id } = await begin(service, 'k');
  const { etag } = (await (await sendPart(service, id, 1, 'x')).json()) as { etag: string };
  for (const parts of [[], [2, 1], [1, 1]].map((numbers) =>
    numbers.map((partNumber) => ({ partNumber, etag })),
  )) {
    assert.equal(await errorCode(await complete(service, id, parts)), 'INVALID');
  }
  for (const partNumber of [0, 10_001, -1, 1.5, 'x']) {
    assert.equal((await sendPart(service, id, partNumber, 'x')).status, 400, `${partNumber}`);
  }
});

test('completing holds a condition, answers once for a key, and happens once', async (t) => {
  const service = await startService(t);
  await service.call(`${BUCKET}/objects/k`, { method: 'PUT', body: 'before' });
  const { id } = await begin(service, 'k');
  const { etag } = (await (await sendPart(service, id, 1, 'after')).json()) as { etag: string };
  const parts = [{ partNumber: 1, etag }];
  const refused = await complete(service, id, parts, { 'if-none-match': '*' });
  assert.equal(await errorCode(refused), 'PRECONDITION_FAILED');
  const key = { 'idempotency-key': 'once' };
  const first = await complete(service, id, parts, key);
  const again = await complete(service, id, parts, key);
  assert.deepEqual(await again.json(), await first.json());
  assert.equal(await errorCode(await complete(service, id, parts)), 'NOT_FOUND');
  assert.equal((await readBack(service, 'k')).toString(), 'after');
});

test('an aborted upload leaves nothing, and takes no more parts', async (t) => {
  const service = await startService(t);
  const { id } = await begin(service, 'k');
  await sendPart(service, id, 1, 'x');
  assert.equal((await service.call(`${BUCKET}/uploads/${id}`, { method: 'DELETE' })).status, 204);
  assert.deepEqual(await service.storedFiles(), []);
  assert.equal(await errorCode(await sendPart(service, id, 2, 'x')), 'NOT_FOUND');
  assert.deepEqual(await service.storedFiles(), []);
});

test('uploads are listed by key, then by age, in pages', async (t) => {
  const service = await startService(t);
  const ids = [];
  for (const key of ['b', 'a/1', 'a/1']) ids.push((await begin(service, key)).id);
  const [b, a1, a2] = ids;
  const page = await service.json(`${BUCKET}/uploads?limit=1`);
  assert.deepEqual(
    page.items.map((upload: { id: string }) => upload.id),
    [a1],
  );
  const startAfter = encodeURIComponent(page.nextStartAfter);
  const rest = await service.json(`${BUCKET}/uploads?startAfter=${startAfter}`);
  assert.deepEqual(
    rest.items.map((upload: { id: string }) => upload.id),
    [a2, b],
  );
  const prefixed = await service.json(`${BUCKET}/uploads?prefix=b`);
  assert.deepEqual(
    prefixed.items.map((upload: { id: string }) => upload.id),
    [b],
  );
  assert.equal(await errorCode(await service.call(`${BUCKET}/uploads?startAfter=x`)), 'INVALID');
});
