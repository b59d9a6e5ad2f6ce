import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import type { ObjectPartRow } from '../schema.ts';
import { insertObjectParts, listObjectParts, neededStoredNames, takeObjectParts } from './object-parts.ts';
import { putObject } from './objects.ts';
import { makeBucket, makeTenancy, objectRow, partRow, uploadRow } from './rows.testkit.ts';
import { insertUpload, putUploadPart } from './uploads.ts';

const partsOf = (objectName: string, count: number): ObjectPartRow[] =>
  Array.from({ length: count }, (_, index) => ({
    object_name: objectName,
    part_number: index + 1,
    length_bytes: 5,
    stored_name: `${objectName}-${index + 1}`,
  }));

forEachEngine('as many parts as an upload may have are kept and handed back in order', async (open) => {
  const { kysely } = await open();
  const parts = partsOf('big', 10_000);
  await insertObjectParts(kysely, parts.toReversed());
  await insertObjectParts(kysely, partsOf('other', 2));
  assert.deepEqual(await listObjectParts(kysely, 'big'), parts);
  assert.deepEqual(await takeObjectParts(kysely, 'big'), parts);
  assert.deepEqual(await listObjectParts(kysely, 'big'), []);
  assert.equal((await listObjectParts(kysely, 'other')).length, 2);
});

forEachEngine('stored bytes are needed by objects, their parts, and parts of uploads', async (open) => {
  const { kysely } = await open();
  const bucket = await makeBucket(kysely, (await makeTenancy(kysely)).id);
  await putObject(kysely, objectRow(bucket.id, 'k', { stored_name: 'whole' }));
  await insertObjectParts(kysely, partsOf('big', 1));
  const upload = uploadRow(bucket.id, 'k');
  await insertUpload(kysely, upload);
  await putUploadPart(kysely, { ...partRow(upload.id, 1), stored_name: 'sent' });
  const needed = await neededStoredNames(kysely, ['whole', 'big-1', 'sent', 'nobody']);
  assert.deepEqual(needed, new Set(['whole', 'big-1', 'sent']));
});
