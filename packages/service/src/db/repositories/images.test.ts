import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { newId } from '../ids.ts';
import type { ImageRow } from '../schema.ts';
import type { Queries } from '../transactions.ts';
import { deleteImage, findImage, insertImage, listImages } from './images.ts';
import { makeTenancy } from './rows.testkit.ts';

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
  const row: ImageRow = {
    id: newId('img'),
    tenancy_id: tenancyId,
    name,
    source_format: 'qcow2',
    virtual_size_bytes: 512,
    disk_digest: 'ab',
    manifest_id: manifestId,
    details_json: '{}',
    created_at_ms: 1,
  };
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
  assert.equal(await deleteImage(kysely, other.id, image.id), undefined);
  assert.deepEqual(await deleteImage(kysely, main.id, image.id), image);
  assert.equal(await findImage(kysely, main.id, image.id), undefined);
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
