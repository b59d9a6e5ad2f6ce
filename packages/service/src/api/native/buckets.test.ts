import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCode, startService } from './service.testkit.ts';

test('buckets are created, listed by name in pages, shown and deleted', async (t) => {
  const service = await startService(t, 'first');
  for (const name of ['third', 'second']) await service.json('/buckets', { json: { name } }, 201);
  const page = await service.json('/buckets?limit=2');
  assert.deepEqual(
    page.items.map((bucket: { name: string }) => bucket.name),
    ['first', 'second'],
  );
  assert.equal(page.nextStartAfter, 'second');
  const rest = await service.json('/buckets?startAfter=second');
  assert.equal(rest.items.length, 1);
  assert.equal(rest.nextStartAfter, null);
  assert.deepEqual(await service.json('/buckets/third'), rest.items[0]);

  assert.equal((await service.call('/buckets/third', { method: 'DELETE' })).status, 204);
  assert.equal(await errorCode(await service.call('/buckets/third')), 'NOT_FOUND');
  assert.equal(await errorCode(await service.call('/buckets', { json: { name: 'first' } })), 'CONFLICT');
});

test('a bucket goes when its last object and upload are gone', async (t) => {
  const service = await startService(t);
  const remove = async () => {
    const answer = await service.call('/buckets/bucket', { method: 'DELETE' });
    return answer.status === 204 ? 'deleted' : errorCode(answer);
  };
  await service.call('/buckets/bucket/objects/a', { method: 'PUT', body: 'x' });
  const upload = await service.json('/buckets/bucket/uploads', { json: { key: 'b' } }, 201);
  assert.equal(await remove(), 'BUCKET_NOT_EMPTY');
  await service.call('/buckets/bucket/objects/a', { method: 'DELETE' });
  assert.equal(await remove(), 'BUCKET_NOT_EMPTY');
  await service.call(`/buckets/bucket/uploads/${upload.id}`, { method: 'DELETE' });
  assert.equal(await remove(), 'deleted');
});

test('the same Idempotency-Key gives the same bucket', async (t) => {
  const service = await startService(t);
  const create = { json: { name: 'again' }, headers: { 'idempotency-key': 'k1' } };
  const first = await service.json('/buckets', create, 201);
  const replay = await service.call('/buckets', create);
  assert.equal(replay.headers.get('idempotent-replay'), 'true');
  assert.deepEqual(await replay.json(), first);
});
