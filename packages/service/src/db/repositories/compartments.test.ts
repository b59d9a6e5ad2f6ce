import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { newId } from '../ids.ts';
import { inTransaction } from '../transactions.ts';
import { insertBucket } from './buckets.ts';
import {
  deleteCompartment,
  findCompartment,
  holdCompartment,
  insertCompartment,
  isNameTaken,
  listCompartments,
  updateCompartment,
} from './compartments.ts';
import { insertGrant, listGrants } from './grants.ts';
import { compartmentRow, imageRow, makeBucket, makeTenancy, makeUser } from './rows.testkit.ts';
import { insertTagNamespace } from './tags.ts';

forEachEngine('a name is there once below a parent, until its compartment is deleted', async (open) => {
  const { kysely } = await open();
  const { id: root } = await makeTenancy(kysely);
  const work = compartmentRow(root, root, 'work');
  assert.equal(await insertCompartment(kysely, work), true);
  assert.equal(await insertCompartment(kysely, compartmentRow(root, root, 'work')), false);
  assert.equal(await insertCompartment(kysely, compartmentRow(root, work.id, 'work')), true);
  assert.equal(await isNameTaken(kysely, root, 'work', work.id), false);
  assert.equal(await isNameTaken(kysely, root, 'work', newId('cmp')), true);
  await updateCompartment(kysely, work.id, { name: 'home' });
  const changed = await findCompartment(kysely, root, work.id);
  assert.deepEqual([changed?.name, changed?.version], ['home', 2]);
  assert.equal(await insertCompartment(kysely, compartmentRow(root, root, 'work')), true);
  assert.equal((await listCompartments(kysely, root)).length, 4);
});

forEachEngine('a compartment is deleted when it holds nothing, with the grants on it', async (open) => {
  const { kysely } = await open();
  const { id: root } = await makeTenancy(kysely);
  const user = await makeUser(kysely, root);
  const work = compartmentRow(root, root, 'work');
  const below = compartmentRow(root, work.id, 'below');
  for (const row of [work, below]) await insertCompartment(kysely, row);
  await insertGrant(kysely, {
    id: newId('grt'),
    tenancy_id: root,
    user_id: user.id,
    verb: 'use',
    resource: 'all',
    compartment_id: below.id,
    created_at_ms: 1,
  });
  const bucket = await makeBucket(kysely, root);
  await kysely.updateTable('buckets').set({ compartment_id: below.id }).where('id', '=', bucket.id).execute();
  assert.equal(await deleteCompartment(kysely, work.id, 5), 'a compartment');
  assert.equal(await deleteCompartment(kysely, below.id, 5), 'a bucket');
  await kysely.deleteFrom('buckets').execute();
  const manifest = {
    id: newId('man'),
    state: 'sealed',
    virtual_size_bytes: 1,
    data_bytes: 0,
    created_at_ms: 1,
  };
  await kysely
    .insertInto('manifests')
    .values({ ...manifest, disk_digest: null })
    .execute();
  const image = imageRow(root, manifest.id, { compartment_id: below.id });
  await kysely.insertInto('images').values(image).execute();
  assert.equal(await deleteCompartment(kysely, below.id, 5), 'an image');
  // One that was deleted stays readable, and keeps nothing.
  await kysely.updateTable('images').set({ deleted_at_ms: 4 }).execute();
  await insertTagNamespace(kysely, {
    id: newId('tns'),
    tenancy_id: root,
    compartment_id: work.id,
    name: 'n',
    description: '',
    is_retired: 0,
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    created_at_ms: 1,
  });
  assert.equal(await deleteCompartment(kysely, below.id, 5), undefined);
  assert.equal((await findCompartment(kysely, root, below.id))?.deleted_at_ms, 5);
  assert.deepEqual(await listGrants(kysely, user.id), []);
  assert.equal(await deleteCompartment(kysely, work.id, 6), 'a tag namespace');
});

forEachEngine('of deleting a compartment and putting something into it, one comes first', async (open) => {
  const { kysely } = await open();
  const { id: root } = await makeTenancy(kysely);
  for (let round = 0; round < 5; round++) {
    const work = compartmentRow(root, root, `work-${round}`);
    await insertCompartment(kysely, work);
    const put = inTransaction(kysely, async (transaction) => {
      if (!(await holdCompartment(transaction, root, work.id))) return false;
      const bucket = {
        id: newId('bkt'),
        tenancy_id: root,
        compartment_id: work.id,
        name: `bucket-${round}`,
        attributes_json: '{}',
        freeform_tags_json: '{}',
        defined_tags_json: '{}',
        created_by: null,
        version: 1,
        created_at_ms: 1,
      };
      return insertBucket(transaction, bucket);
    });
    const [isPut, content] = await Promise.all([put, deleteCompartment(kysely, work.id, 5)]);
    assert.equal(content, isPut ? 'a bucket' : undefined);
  }
});
