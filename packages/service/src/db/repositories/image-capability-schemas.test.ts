import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { newId } from '../ids.ts';
import type { ImageCapabilitySchemaRow } from '../schema.ts';
import {
  deleteCapabilitySchema,
  findCapabilitySchema,
  findSchemaOfImage,
  insertCapabilitySchema,
  listCapabilitySchemas,
  lockCapabilitySchema,
  updateCapabilitySchema,
} from './image-capability-schemas.ts';
import { insertImage } from './images.ts';
import { imageRow, makeTenancy } from './rows.testkit.ts';

forEachEngine(
  'an image has one capability schema, which is found, listed, changed and deleted',
  async (open) => {
    const { kysely } = await open();
    const { id: tenancyId } = await makeTenancy(kysely);
    const rows: ImageCapabilitySchemaRow[] = [];
    for (const name of ['one', 'two', 'three']) {
      const image = imageRow(tenancyId, null);
      await insertImage(kysely, image);
      const row = {
        id: newId('ics'),
        tenancy_id: tenancyId,
        compartment_id: tenancyId,
        image_id: image.id,
        name,
        global_version_name: 'v',
        schema_json: '{}',
        freeform_tags_json: '{}',
        defined_tags_json: '{}',
        version: 1,
        created_at_ms: 1,
      };
      assert.equal(await insertCapabilitySchema(kysely, row), true);
      assert.equal(await insertCapabilitySchema(kysely, { ...row, id: newId('ics') }), false);
      rows.push(row);
    }
    const [one, two, three] = rows;
    assert.deepEqual(await findCapabilitySchema(kysely, tenancyId, one!.id), one);
    assert.equal(await findCapabilitySchema(kysely, 'ten-other', one!.id), undefined);
    assert.deepEqual(await findSchemaOfImage(kysely, two!.image_id), two);
    const names = async (listing: object) =>
      (await listCapabilitySchemas(kysely, { tenancyId, limit: 2, ...listing })).items.map(
        ({ name }) => name,
      );
    assert.deepEqual(await names({}), ['three', 'two']);
    assert.deepEqual(await names({ startAfter: two!.id }), ['one']);
    assert.deepEqual(await names({ order: 'asc', startAfter: two!.id }), ['three']);
    assert.deepEqual(await names({ name: 'one', compartmentIds: [tenancyId] }), ['one']);
    assert.deepEqual(await names({ imageId: three!.image_id }), ['three']);
    assert.deepEqual(await names({ compartmentIds: ['cmp-other'] }), []);
    const locked = await kysely
      .transaction()
      .execute((transaction) => lockCapabilitySchema(transaction, tenancyId, one!.id));
    assert.deepEqual(locked, one);
    assert.deepEqual(await updateCapabilitySchema(kysely, one!.id, { name: 'first' }), {
      ...one,
      name: 'first',
      version: 2,
    });
    await deleteCapabilitySchema(kysely, one!.id);
    assert.equal(await findSchemaOfImage(kysely, one!.image_id), undefined);
  },
);
