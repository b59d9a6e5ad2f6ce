import assert from 'node:assert/strict';
import type { Principal } from '../auth/tokens.ts';
import { forEachEngine } from '../db/engines.testkit.ts';
import { newId } from '../db/ids.ts';
import { insertCompartment, updateCompartment } from '../db/repositories/compartments.ts';
import { insertGrant } from '../db/repositories/grants.ts';
import { compartmentRow, makeTenancy, makeUser } from '../db/repositories/rows.testkit.ts';
import type { GrantResource, GrantVerb } from '../db/schema.ts';
import { Access } from './access.ts';

forEachEngine('a grant allows its verb and lesser ones, on its resource, there and below', async (open) => {
  const database = await open();
  const { kysely } = database;
  const { id: root } = await makeTenancy(kysely);
  const { id: foreign } = await makeTenancy(kysely, 'foreign');
  const { id: userId } = await makeUser(kysely, root);
  const member: Principal = { userId, tenancyId: root, role: 'member' };
  const [work, deep, side] = [
    compartmentRow(root, root, 'work'),
    compartmentRow(root, null, 'deep'),
    compartmentRow(root, root, 'side'),
  ];
  deep.parent_id = work.id;
  for (const row of [work, deep, side]) await insertCompartment(kysely, row);
  const grant = (verb: GrantVerb, resource: GrantResource, compartment_id: string) =>
    insertGrant(kysely, {
      id: newId('grt'),
      tenancy_id: root,
      user_id: userId,
      verb,
      resource,
      compartment_id,
      created_at_ms: 1,
    });
  const access = new Access(database);
  assert.equal(await access.allows(member, 'inspect', 'images', work.id), false);
  await grant('use', 'images', work.id);
  for (const verb of ['inspect', 'read', 'use'] as const) {
    assert.equal(await access.allows(member, verb, 'images', deep.id), true, verb);
  }
  assert.equal(await access.allows(member, 'manage', 'images', deep.id), false);
  assert.equal(await access.allows(member, 'inspect', 'buckets', work.id), false);
  assert.equal(await access.allows(member, 'inspect', 'images', root), false);
  assert.equal(await access.allows(member, 'inspect', 'images', side.id), false);
  assert.deepEqual(
    [...((await access.where(member, 'read', 'images')) ?? [])].sort(),
    [work.id, deep.id].sort(),
  );
  await grant('manage', 'all', side.id);
  assert.equal(await access.allows(member, 'manage', 'volumes', side.id), true);
  const absent = () => new Error('absent');
  await assert.rejects(access.demand(member, 'manage', 'images', deep.id, absent), { code: 'FORBIDDEN' });
  await assert.rejects(access.demand(member, 'manage', 'buckets', deep.id, absent), absent());

  const administrator: Principal = { ...member, role: 'administrator' };
  assert.equal(await access.allows(administrator, 'manage', 'users', root), true);
  assert.equal(await access.allows(administrator, 'inspect', 'images', foreign), false);
  assert.equal(await access.where(administrator, 'manage', 'users'), undefined);
  await updateCompartment(kysely, work.id, { deleted_at_ms: 5 });
  assert.equal(await access.allows(administrator, 'inspect', 'images', deep.id), false);
  assert.equal(await access.isOperator(administrator), true);
  assert.equal(await access.isOperator(member), false);
  assert.equal(await access.isOperator({ ...administrator, tenancyId: foreign }), false);
});
