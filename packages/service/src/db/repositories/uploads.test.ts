import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { findObject, putObject } from './objects.ts';
import { makeBucket, makeTenancy, objectRow, partRow, uploadRow } from './rows.testkit.ts';
import {
  findUpload,
  insertUpload,
  listUploadParts,
  listUploads,
  putUploadPart,
  takeUpload,
} from './uploads.ts';

forEachEngine('an upload is found in its own bucket only', async (open) => {
  const { kysely } = await open();
  const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
  const upload = uploadRow(bucket.id, 'k');
  assert.equal(await insertUpload(kysely, upload), true);
  assert.deepEqual(await findUpload(kysely, bucket.id, upload.id), upload);
  assert.equal(await findUpload(kysely, 'bkt-0', upload.id), undefined);
  assert.equal(await insertUpload(kysely, uploadRow('bkt-0', 'k')), false);
});

forEachEngine('uploads are listed by key, then by age, from any of them on', async (open) => {
  const { kysely } = await open();
  const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
  const uploads = ['b', 'a/1', 'B', 'a/1', 'a/2', 'b'].map((key) => uploadRow(bucket.id, key));
  for (const upload of uploads) await insertUpload(kysely, upload);
  const [b1, a1, upper, a1later, a2, b2] = uploads.map((upload) => upload.id);
  const list = async (listing: object, limit = 10): Promise<string[]> =>
    (await listUploads(kysely, { bucketId: bucket.id, limit, ...listing })).map((upload) => upload.id);
  assert.deepEqual(await list({}), [upper, a1, a1later, a2, b1, b2]);
  assert.deepEqual(await list({}, 2), [upper, a1]);
  assert.deepEqual(await list({ prefix: 'a/' }), [a1, a1later, a2]);
  assert.deepEqual(await list({ startAfter: { objectKey: 'a/1', uploadId: a1 } }), [a1later, a2, b1, b2]);
});

forEachEngine('a part sent again replaces the first and hands it back', async (open) => {
  const { kysely } = await open();
  const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
  const upload = uploadRow(bucket.id, 'k');
  await insertUpload(kysely, upload);
  const parts = [2, 1, 10].map((number) => partRow(upload.id, number));
  for (const part of parts) {
    assert.deepEqual(await putUploadPart(kysely, part), { outcome: 'stored', previous: undefined });
  }
  const [second, first, tenth] = parts;
  const again = partRow(upload.id, 2);
  assert.deepEqual(await putUploadPart(kysely, again), { outcome: 'stored', previous: second });
  assert.deepEqual(await listUploadParts(kysely, { uploadId: upload.id }), [first, again, tenth]);
  assert.deepEqual(await listUploadParts(kysely, { uploadId: upload.id, startAfterNumber: 1, limit: 1 }), [
    again,
  ]);
});

forEachEngine('an upload is handed over with its parts once, and takes no more', async (open) => {
  const { kysely } = await open();
  const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
  const upload = uploadRow(bucket.id, 'k');
  await insertUpload(kysely, upload);
  const part = partRow(upload.id, 1);
  await putUploadPart(kysely, part);
  const taken = await Promise.all([1, 2, 3].map(() => takeUpload(kysely, upload.id)));
  assert.deepEqual(
    taken.filter((each) => each !== undefined),
    [{ upload, parts: [part] }],
  );
  assert.equal((await putUploadPart(kysely, partRow(upload.id, 2))).outcome, 'no_upload');
  assert.deepEqual(await listUploadParts(kysely, { uploadId: upload.id }), []);
});

forEachEngine(
  'parts that arrive while an upload is taken are handed over or refused, never lost',
  async (open) => {
    const { kysely } = await open();
    const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
    const upload = uploadRow(bucket.id, 'k');
    await insertUpload(kysely, upload);
    const parts = Array.from({ length: 12 }, (_, index) => partRow(upload.id, index + 1));
    const puts = parts.map((part) => putUploadPart(kysely, part));
    const [taken, ...outcomes] = await Promise.all([takeUpload(kysely, upload.id), ...puts]);
    assert.ok(taken);
    const stored = parts.filter((_, index) => outcomes[index]?.outcome === 'stored');
    assert.deepEqual(taken.parts, stored);
  },
);

forEachEngine('an upload whose object is refused stays as it was', async (open) => {
  const { kysely } = await open();
  const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
  const upload = uploadRow(bucket.id, 'k');
  await insertUpload(kysely, upload);
  await putUploadPart(kysely, partRow(upload.id, 1));
  await putObject(kysely, objectRow(bucket.id, 'k'));
  const complete = kysely.transaction().execute(async (transaction) => {
    await takeUpload(transaction, upload.id);
    const put = await putObject(transaction, objectRow(bucket.id, 'k'), (previous) => previous === undefined);
    if (put.outcome !== 'stored') throw new Error(put.outcome);
  });
  await assert.rejects(complete, /refused/);
  assert.deepEqual(await findUpload(kysely, bucket.id, upload.id), upload);
  assert.equal((await listUploadParts(kysely, { uploadId: upload.id })).length, 1);
  assert.ok(await findObject(kysely, bucket.id, 'k'));
});
