import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { newId } from '../ids.ts';
import type { ImageRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';
import { findImage, insertImage, listImages, markImageDeleted } from './images.ts';
import { imageRow, makeTenancy } from './rows.testkit.ts';

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
  assert.deepEqual(await findImage(kysely, main.id, image.id), image);
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
