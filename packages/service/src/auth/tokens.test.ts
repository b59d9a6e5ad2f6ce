import assert from 'node:assert/strict';
import { forEachEngine } from '../db/engines.testkit.ts';
import { makeTenancy, makeUser } from '../db/repositories/rows.testkit.ts';
import { listTokens, revokeToken } from '../db/repositories/tokens.ts';
import { ensureFirstStart } from './first-start.ts';
import { makeToken, verifyToken } from './tokens.ts';

forEachEngine('a token leads to its owner, another to nobody', async (open) => {
  const { kysely } = await open();
  const user = await makeUser(kysely, (await makeTenancy(kysely)).id);
  const { token } = await makeToken(kysely, { userId: user.id, label: 'laptop' });
  assert.match(token, /^gantry_[\w-]{43}$/);
  assert.deepEqual(await verifyToken(kysely, token), {
    userId: user.id,
    tenancyId: user.tenancy_id,
    role: 'administrator',
  });
  const other = token.slice(0, -2) + (token.endsWith('AA') ? 'BB' : 'AA');
  for (const wrong of ['', 'gantry_', other, `${token}x`, ` ${token}`, token.toUpperCase()]) {
    assert.equal(await verifyToken(kysely, wrong), undefined, wrong);
  }
});

forEachEngine('a token is nowhere in the database', async (open) => {
  const { kysely } = await open();
  const user = await makeUser(kysely, (await makeTenancy(kysely)).id);
  const { token } = await makeToken(kysely, { userId: user.id, label: 'laptop' });
  const rows = JSON.stringify(await listTokens(kysely, user.id));
  assert.ok(!rows.includes(token) && !rows.includes(token.slice('gantry_'.length)));
});

forEachEngine('a revoked token leads to nobody', async (open) => {
  const { kysely } = await open();
  const user = await makeUser(kysely, (await makeTenancy(kysely)).id);
  const first = await makeToken(kysely, { userId: user.id, label: 'lost' });
  const second = await makeToken(kysely, { userId: user.id, label: 'kept' });
  await revokeToken(kysely, user.id, first.id, Date.now());
  assert.equal(await verifyToken(kysely, first.token), undefined);
  assert.ok(await verifyToken(kysely, second.token));
});

forEachEngine('the first start makes an administrator with a token, later starts find them', async (open) => {
  const { kysely } = await open();
  const delivered: string[] = [];
  const deliver = async (token: string): Promise<void> => {
    delivered.push(token);
  };
  const first = await ensureFirstStart(kysely, deliver);
  assert.ok(first.token);
  assert.deepEqual(delivered, [first.token]);
  assert.deepEqual(await verifyToken(kysely, first.token), {
    userId: first.administrator.id,
    tenancyId: first.tenancy.id,
    role: 'administrator',
  });
  assert.deepEqual(await ensureFirstStart(kysely, deliver), { ...first, token: undefined });
  assert.equal(delivered.length, 1);
});

forEachEngine(
  'a first start whose token could not be delivered is followed by a first start',
  async (open) => {
    const { kysely } = await open();
    const fullDisk = ensureFirstStart(kysely, async () => {
      throw new Error('disk full');
    });
    await assert.rejects(fullDisk, /disk full/);
    assert.ok((await ensureFirstStart(kysely)).token);
  },
);

forEachEngine('of processes that start first at once, one gets the token', async (open) => {
  const { kysely } = await open();
  const starts = await Promise.all([1, 2, 3, 4].map(() => ensureFirstStart(kysely)));
  assert.equal(starts.filter((start) => start.token !== undefined).length, 1);
  assert.equal(new Set(starts.map((start) => start.administrator.id)).size, 1);
});
