import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { startService } from './api/native/service.testkit.ts';
import { serve } from './main.ts';

test('a folder with objects and a database of another service is refused, and nothing is deleted', async (t) => {
  const service = await startService(t);
  const put = await service.call('/buckets/bucket/objects/only-copy', { method: 'PUT', body: 'bytes' });
  assert.equal(put.status, 201);
  await service.stop();
  const before = await service.storedFiles();
  const options = { dataFolder: service.dataFolder, listen: '127.0.0.1:0', logLevel: 'silent' };
  const other = { ...options, database: join(service.dataFolder, 'other.sqlite') };
  await assert.rejects(serve(other), { code: 'STORE_REFUSED' });
  assert.deepEqual(await service.storedFiles(), before);
  // One that has served another folder is no better.
  const elsewhere = `${service.dataFolder}-elsewhere`;
  t.after(() => rm(elsewhere, { recursive: true, force: true }));
  await (await serve({ ...other, dataFolder: elsewhere })).stop();
  await assert.rejects(serve(other), { code: 'STORE_REFUSED' });
  assert.deepEqual(await service.storedFiles(), before);
  await service.start();
  assert.equal(await (await service.call('/buckets/bucket/objects/only-copy')).text(), 'bytes');
});

test('a service that is asked to stop twice stops once, and both hear when it has', async (t) => {
  const service = await startService(t, 'first');
  await service.stop();
  const options = { dataFolder: service.dataFolder, listen: '127.0.0.1:0', logLevel: 'silent' };
  const running = await serve(options);
  const stops = [running.stop(), running.stop()];
  await stops[1];
  await (await serve(options)).stop();
  await Promise.all(stops);
});
