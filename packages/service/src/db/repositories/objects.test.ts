import assert from 'node:assert/strict';
import fc from 'fast-check';
import { forEachEngine } from '../engines.testkit.ts';
import { deleteBucket, findBucket, insertBucket, listBuckets } from './buckets.ts';
import { deleteObject, findObject, listObjects, putObject } from './objects.ts';
import { makeBucket, makeTenancy, objectRow, uploadRow } from './rows.testkit.ts';
import { insertUpload } from './uploads.ts';

const byBytes = (left: string, right: string): number =>
  Buffer.compare(Buffer.from(left), Buffer.from(right));

forEachEngine('a bucket name is taken once in a tenancy', async (open) => {
  const { kysely } = await open();
  const main = await makeTenancy(kysely);
  const other = await makeTenancy(kysely, 'other');
  const bucket = await makeBucket(kysely, main.id, 'images');
  assert.equal(await insertBucket(kysely, { ...bucket, id: 'bkt-2' }), false);
  assert.equal(await insertBucket(kysely, { ...bucket, id: 'bkt-3', tenancy_id: other.id }), true);
  assert.deepEqual(await findBucket(kysely, main.id, 'images'), bucket);
  assert.equal(await findBucket(kysely, main.id, 'Images'), undefined);
});

forEachEngine('buckets are listed in pages, by bytes, of one tenancy', async (open) => {
  const { kysely } = await open();
  const main = await makeTenancy(kysely);
  const other = await makeTenancy(kysely, 'other');
  for (const name of ['b', 'a', 'B', 'é', 'z']) await makeBucket(kysely, main.id, name);
  await makeBucket(kysely, other.id, 'foreign');
  const names: string[] = [];
  let startAfter: string | undefined;
  do {
    const page = await listBuckets(kysely, { tenancyId: main.id, startAfter, limit: 2 });
    names.push(...page.items.map((bucket) => bucket.name));
    startAfter = page.next;
  } while (startAfter !== undefined);
  assert.deepEqual(names, ['B', 'a', 'b', 'z', 'é']);
});

forEachEngine('a bucket with an object or an upload in it is not deleted', async (open) => {
  const { kysely } = await open();
  const tenancy = await makeTenancy(kysely);
  const bucket = await makeBucket(kysely, tenancy.id);
  await putObject(kysely, objectRow(bucket.id, 'k'));
  assert.equal(await deleteBucket(kysely, bucket.id), 'not_empty');
  await deleteObject(kysely, bucket.id, 'k');
  await insertUpload(kysely, uploadRow(bucket.id, 'k'));
  assert.equal(await deleteBucket(kysely, bucket.id), 'not_empty');
  const empty = await makeBucket(kysely, tenancy.id, 'empty');
  assert.equal(await deleteBucket(kysely, empty.id), 'deleted');
  assert.equal(await deleteBucket(kysely, empty.id), 'absent');
});

forEachEngine('a bucket that is deleted while objects arrive ends either empty or kept', async (open) => {
  const { kysely } = await open();
  const tenancy = await makeTenancy(kysely);
  for (let round = 0; round < 10; round += 1) {
    const bucket = await makeBucket(kysely, tenancy.id, `b${round}`);
    const [put, upload, removal] = await Promise.all([
      putObject(kysely, objectRow(bucket.id, 'k')),
      insertUpload(kysely, uploadRow(bucket.id, 'k')),
      deleteBucket(kysely, bucket.id),
    ]);
    const kept = put.outcome === 'stored' || upload;
    assert.equal(removal, kept ? 'not_empty' : 'deleted');
  }
});

forEachEngine('writing over an object hands back what it was', async (open) => {
  const { kysely } = await open();
  const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
  const first = objectRow(bucket.id, 'k');
  const second = objectRow(bucket.id, 'k', { content_type: 'text/plain', created_at_ms: 2 });
  assert.deepEqual(await putObject(kysely, first), { outcome: 'stored', previous: undefined });
  assert.deepEqual(await putObject(kysely, second), { outcome: 'stored', previous: first });
  assert.deepEqual(await findObject(kysely, bucket.id, 'k'), second);
  assert.deepEqual(await deleteObject(kysely, bucket.id, 'k'), second);
  assert.equal(await deleteObject(kysely, bucket.id, 'k'), undefined);
});

forEachEngine('a condition on the object before refuses the write', async (open) => {
  const { kysely } = await open();
  const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
  const first = objectRow(bucket.id, 'k');
  await putObject(kysely, first, (previous) => previous === undefined);
  const refused = await putObject(kysely, objectRow(bucket.id, 'k'), (previous) => previous === undefined);
  assert.deepEqual(refused, { outcome: 'refused', previous: first });
  assert.deepEqual(await findObject(kysely, bucket.id, 'k'), first);
});

forEachEngine('an object for a bucket that is gone is not written', async (open) => {
  const { kysely } = await open();
  const { outcome } = await putObject(kysely, objectRow('bkt-0', 'k'));
  assert.equal(outcome, 'no_bucket');
});

forEachEngine('of concurrent writes every replaced object is handed back exactly once', async (open) => {
  const { kysely } = await open();
  const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
  const rows = Array.from({ length: 20 }, () => objectRow(bucket.id, 'k'));
  const outcomes = await Promise.all(rows.map((row) => putObject(kysely, row)));
  const last = await findObject(kysely, bucket.id, 'k');
  const names = [...outcomes.map(({ previous }) => previous?.stored_name), last?.stored_name];
  assert.deepEqual(new Set(names), new Set([undefined, ...rows.map((row) => row.stored_name)]));
  assert.equal(names.length, 21);

  const creations = await Promise.all(
    Array.from({ length: 8 }, () =>
      putObject(kysely, objectRow(bucket.id, 'only-one'), (previous) => previous === undefined),
    ),
  );
  assert.equal(creations.filter(({ outcome }) => outcome === 'stored').length, 1);
});

forEachEngine('a listing with prefix, start and limit is that slice of the keys by bytes', async (open) => {
  const { kysely } = await open();
  const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
  const other = await makeBucket(kysely, bucket.tenancy_id, 'other');
  const keys = [
    'a',
    'a/',
    'a/b',
    'a/B',
    'a/b/c',
    'a0',
    'A',
    'b',
    'é',
    'z%',
    'z_',
    '\u{ffff}',
    '\u{1f4be}',
    '𐀀',
  ];
  for (const key of keys) await putObject(kysely, objectRow(bucket.id, key));
  await putObject(kysely, objectRow(other.id, 'a/foreign'));
  const sorted = keys.toSorted(byBytes);
  const part = fc.oneof(fc.constant(undefined), fc.constantFrom(...keys, '', 'a/b/', '~'));
  await fc.assert(
    fc.asyncProperty(part, part, part, fc.integer({ min: 1, max: 20 }), async (prefix, after, at, limit) => {
      const found = await listObjects(kysely, {
        bucketId: bucket.id,
        prefix,
        startAfter: after,
        startAt: at,
        limit,
      });
      const expected = sorted
        .filter((key) => key.startsWith(prefix ?? ''))
        .filter((key) => after === undefined || byBytes(key, after) > 0)
        .filter((key) => at === undefined || byBytes(key, at) >= 0)
        .slice(0, limit);
      assert.deepEqual(
        found.map((row) => row.object_key),
        expected,
      );
    }),
    { numRuns: 60 },
  );
});
