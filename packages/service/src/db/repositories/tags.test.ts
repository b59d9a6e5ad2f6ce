import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { newId } from '../ids.ts';
import type { TagNamespaceRow, TagRow } from '../schema.ts';
import { makeTenancy } from './rows.testkit.ts';
import {
  findTag,
  findTagNamespace,
  findTagNamespaceByName,
  insertTag,
  insertTagNamespace,
  listTagNamespaces,
  listTags,
  updateTag,
  updateTagNamespace,
} from './tags.ts';

function namespaceRow(tenancyId: string, name: string): TagNamespaceRow {
  return {
    id: newId('tns'),
    tenancy_id: tenancyId,
    compartment_id: tenancyId,
    name,
    description: '',
    is_retired: 0,
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    created_at_ms: 1,
  };
}

function tagRow(tagNamespaceId: string, name: string): TagRow {
  return {
    id: newId('tag'),
    tag_namespace_id: tagNamespaceId,
    name,
    description: '',
    is_retired: 0,
    validator_json: null,
    freeform_tags_json: '{}',
    defined_tags_json: '{}',
    version: 1,
    created_at_ms: 1,
  };
}

forEachEngine('namespaces and tags have names that are the same in any case', async (open) => {
  const { kysely } = await open();
  const { id: tenancy } = await makeTenancy(kysely);
  const { id: other } = await makeTenancy(kysely, 'other');
  const namespace = namespaceRow(tenancy, 'Ops_A');
  assert.equal(await insertTagNamespace(kysely, namespace), true);
  assert.equal(await insertTagNamespace(kysely, namespaceRow(tenancy, 'oPS_a')), false);
  assert.equal(await insertTagNamespace(kysely, namespaceRow(other, 'ops_a')), true);
  assert.deepEqual(await findTagNamespaceByName(kysely, tenancy, 'OPS_A'), namespace);
  assert.equal(await findTagNamespaceByName(kysely, tenancy, 'OPSxA'), undefined);
  assert.equal(await findTagNamespace(kysely, other, namespace.id), undefined);
  const tag = tagRow(namespace.id, 'Cost');
  assert.equal(await insertTag(kysely, tag), true);
  assert.equal(await insertTag(kysely, tagRow(namespace.id, 'cost')), false);
  assert.deepEqual(await findTag(kysely, namespace.id, 'COST'), tag);
  await updateTag(kysely, tag.id, { is_retired: 1 });
  assert.deepEqual(await findTag(kysely, namespace.id, 'Cost'), { ...tag, is_retired: 1, version: 2 });
  await updateTagNamespace(kysely, namespace.id, { description: 'd' });
  assert.equal((await findTagNamespace(kysely, tenancy, namespace.id))?.description, 'd');
});

forEachEngine('namespaces and tags are listed in pages, oldest first', async (open) => {
  const { kysely } = await open();
  const { id: tenancy } = await makeTenancy(kysely);
  const rows = ['c', 'a', 'b'].map((name) => namespaceRow(tenancy, name));
  for (const row of rows) await insertTagNamespace(kysely, row);
  const listing = { compartmentIds: [tenancy], limit: 2 };
  const first = await listTagNamespaces(kysely, listing);
  assert.deepEqual(first.items, rows.slice(0, 2));
  const rest = await listTagNamespaces(kysely, { ...listing, startAfter: first.next });
  assert.deepEqual(rest, { items: rows.slice(2), next: undefined });
  const tagNamespaceId = rows[0]?.id ?? '';
  const tags = ['z', 'y'].map((name) => tagRow(tagNamespaceId, name));
  for (const tag of tags) await insertTag(kysely, tag);
  const page = await listTags(kysely, { tagNamespaceId, limit: 1 });
  assert.deepEqual(page, { items: tags.slice(0, 1), next: tags[0]?.id });
});
