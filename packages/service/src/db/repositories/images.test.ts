import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { newId } from '../ids.ts';
import type { ImageRow, JobState } from '../schema.ts';
import type { Queries } from '../transactions.ts';
import { putImageShape } from './image-shapes.ts';
import {
  completeImage,
  findImage,
  forgetImages,
  type ImageListing,
  type ImageState,
  insertImage,
  isPlatformName,
  listImages,
  lockImage,
  markImageDeleted,
  updateImage,
} from './images.ts';
import { insertJob, insertJobResources, updateJob } from './jobs.ts';
import { imageRow, jobRow, makeTenancy } from './rows.testkit.ts';

async function makeImage(queries: Queries, tenancyId: string, name: string): Promise<ImageRow> {
  const manifestId = newId('man');
  await queries
    .insertInto('manifests')
    .values({
      id: manifestId,
      state: 'sealed',
      virtual_size_bytes: 512,
      disk_digest: 'ab',
      data_bytes: 0,
      created_at_ms: 1,
    })
    .execute();
  const row = imageRow(tenancyId, manifestId, { name });
  await insertImage(queries, row);
  return row;
}

forEachEngine('an image is seen and deleted by its own tenancy only', async (open) => {
  const { kysely } = await open();
  const main = await makeTenancy(kysely);
  const other = await makeTenancy(kysely, 'other');
  const image = await makeImage(kysely, main.id, 'web');
  assert.deepEqual(await findImage(kysely, main.id, image.id), { ...image, state: 'available' });
  assert.equal(await findImage(kysely, other.id, image.id), undefined);
  assert.equal(await markImageDeleted(kysely, other.id, image.id, 7), undefined);
  assert.deepEqual(await markImageDeleted(kysely, main.id, image.id, 7), {
    ...image,
    manifest_id: null,
    version: 2,
    deleted_at_ms: 7,
  });
  assert.equal(await markImageDeleted(kysely, main.id, image.id, 8), undefined);
  assert.equal((await findImage(kysely, main.id, image.id))?.deleted_at_ms, 7);
  assert.deepEqual((await listImages(kysely, { tenancyId: main.id, limit: 5 })).items, []);
});

forEachEngine('images are listed newest first, in pages, also by name', async (open) => {
  const { kysely } = await open();
  const main = await makeTenancy(kysely);
  const other = await makeTenancy(kysely, 'other');
  const images: ImageRow[] = [];
  for (const name of ['web', 'db', 'web', 'mail', 'web']) images.push(await makeImage(kysely, main.id, name));
  await makeImage(kysely, other.id, 'web');
  const list = async (name?: string): Promise<string[]> => {
    const ids: string[] = [];
    let startAfter: string | undefined;
    do {
      const page = await listImages(kysely, { tenancyId: main.id, name, startAfter, limit: 2 });
      ids.push(...page.items.map((image) => image.id));
      startAfter = page.next;
    } while (startAfter !== undefined);
    return ids;
  };
  const newestFirst = images.toReversed();
  assert.deepEqual(
    await list(),
    newestFirst.map((image) => image.id),
  );
  assert.deepEqual(
    await list('web'),
    newestFirst.filter((image) => image.name === 'web').map((image) => image.id),
  );
  const exact = await listImages(kysely, { tenancyId: main.id, limit: 5 });
  assert.equal(exact.next, undefined);
});

/** A job of an image; `kind` makes it or exports it. */
async function makeJob(queries: Queries, tenancyId: string, imageId: string, kind: string): Promise<string> {
  const job = jobRow(tenancyId, { kind });
  await insertJob(queries, job);
  await insertJobResources(queries, job.id, [
    { resourceId: imageId, entityType: 'image', action: 'created' },
  ]);
  return job.id;
}

forEachEngine("an image's state follows from its jobs, its content and its deletion", async (open) => {
  const { kysely } = await open();
  const { id: tenancyId } = await makeTenancy(kysely);
  const stateOf = async (id: string) => (await findImage(kysely, tenancyId, id))?.state;
  for (const [kind, making] of [
    ['image-import', 'importing'],
    ['image-capture', 'provisioning'],
  ] as const) {
    const row = imageRow(tenancyId, null, { name: kind });
    const jobId = await makeJob(kysely, tenancyId, row.id, kind);
    await insertImage(kysely, { ...row, job_id: jobId });
    const states: [JobState, ImageState][] = [
      ['queued', making],
      ['running', making],
      ['failed', 'deleted'],
      ['canceled', 'deleted'],
    ];
    for (const [state, expected] of states) {
      await updateJob(kysely, jobId, { state });
      assert.equal(await stateOf(row.id), expected, `${kind} ${state}`);
    }
  }
  const image = await makeImage(kysely, tenancyId, 'there');
  const exportId = await makeJob(kysely, tenancyId, image.id, 'image-export');
  assert.equal(await stateOf(image.id), 'exporting');
  await updateJob(kysely, exportId, { state: 'failed' });
  assert.equal(await stateOf(image.id), 'available');
  await markImageDeleted(kysely, tenancyId, image.id, 5);
  assert.equal(await stateOf(image.id), 'deleted');
});

forEachEngine('an image is completed once, and not after its deletion', async (open) => {
  const { kysely } = await open();
  const { id: tenancyId } = await makeTenancy(kysely);
  const { manifest_id } = await makeImage(kysely, tenancyId, 'other');
  const row = imageRow(tenancyId, null);
  await insertImage(kysely, row);
  assert.equal(await completeImage(kysely, row.id, { manifest_id }), true);
  assert.equal(await completeImage(kysely, row.id, { manifest_id }), false);
  const deleted = imageRow(tenancyId, null, { deleted_at_ms: 5 });
  await insertImage(kysely, deleted);
  assert.equal(await completeImage(kysely, deleted.id, { manifest_id }), false);
});

forEachEngine('images are selected by all that is said of them, and ordered by name', async (open) => {
  const { kysely } = await open();
  const { id: tenancyId } = await makeTenancy(kysely);
  const web = await makeImage(kysely, tenancyId, 'web');
  const db = await makeImage(kysely, tenancyId, 'db');
  const twin = await makeImage(kysely, tenancyId, 'web');
  await updateImage(kysely, db.id, { operating_system: 'Debian', operating_system_version: '13' });
  await putImageShape(kysely, { image_id: web.id, shape: 'VM.A', ocpu_json: null, memory_json: null });
  const found = async (listing: Partial<ImageListing>): Promise<string[]> =>
    (await listImages(kysely, { tenancyId, limit: 9, ...listing })).items.map(({ id }) => id);
  assert.deepEqual(await found({ operatingSystem: 'Debian', operatingSystemVersion: '13' }), [db.id]);
  assert.deepEqual(await found({ operatingSystemVersion: '12' }), []);
  assert.deepEqual(await found({ shape: 'VM.A', order: 'asc' }), [web.id, db.id, twin.id]);
  assert.deepEqual(await found({ shape: 'VM.B', order: 'asc' }), [db.id, twin.id]);
  assert.deepEqual(await found({ compartmentIds: [tenancyId], name: 'db' }), [db.id]);
  assert.deepEqual(await found({ compartmentIds: ['cmp-other'] }), []);
  assert.deepEqual(await found({ states: ['deleted'] }), []);
  for (const order of ['asc', 'desc'] as const) {
    const paged: string[] = [];
    let startAfter: string | undefined;
    do {
      const page = await listImages(kysely, { tenancyId, sortBy: 'name', order, startAfter, limit: 1 });
      paged.push(...page.items.map(({ id }) => id));
      startAfter = page.next;
    } while (startAfter !== undefined);
    const ascending = [db.id, web.id, twin.id];
    assert.deepEqual(paged, order === 'asc' ? ascending : ascending.toReversed());
  }
});

forEachEngine('what was deleted, or failed to come, is forgotten after its time', async (open) => {
  const { kysely } = await open();
  const { id: tenancyId } = await makeTenancy(kysely);
  const kept = await makeImage(kysely, tenancyId, 'kept');
  const deleted = await makeImage(kysely, tenancyId, 'deleted');
  await markImageDeleted(kysely, tenancyId, deleted.id, 100);
  const failed = imageRow(tenancyId, null);
  const jobId = await makeJob(kysely, tenancyId, failed.id, 'image-import');
  await insertImage(kysely, { ...failed, job_id: jobId });
  assert.equal(await forgetImages(kysely, 100), 0);
  await updateJob(kysely, jobId, { state: 'failed', finished_at_ms: 100 });
  assert.equal(await forgetImages(kysely, 101), 2);
  assert.equal(await findImage(kysely, tenancyId, failed.id), undefined);
  assert.ok(await findImage(kysely, tenancyId, kept.id));
});

forEachEngine(
  'an image is locked with its state, and the names of platform images are known',
  async (open) => {
    const { kysely } = await open();
    const { id: tenancyId } = await makeTenancy(kysely);
    const image = await makeImage(kysely, tenancyId, 'Oracle-Linux-9');
    const locked = await kysely
      .transaction()
      .execute((transaction) => lockImage(transaction, tenancyId, image.id));
    assert.equal(locked?.state, 'available');
    assert.equal(await isPlatformName(kysely, tenancyId, image.name), false);
    await updateImage(kysely, image.id, { kind: 'platform' });
    assert.equal(await isPlatformName(kysely, tenancyId, image.name), true);
  },
);
