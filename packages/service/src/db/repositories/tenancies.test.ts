import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { newId } from '../ids.ts';
import type { TokenRow } from '../schema.ts';
import { makeTenancy, makeUser } from './rows.testkit.ts';
import { findTenancyByName, findUser, findUserByName, insertTenancy, insertUser } from './tenancies.ts';
import { findTokenOwner, insertToken, listTokens, revokeToken } from './tokens.ts';

forEachEngine('a tenancy and a user are made once for a name', async (open) => {
  const { kysely } = await open();
  const tenancy = await makeTenancy(kysely);
  assert.equal(await insertTenancy(kysely, { ...tenancy, id: newId('ten') }), false);
  assert.deepEqual(await findTenancyByName(kysely, 'main'), tenancy);

  const user = await makeUser(kysely, tenancy.id);
  assert.equal(await insertUser(kysely, { ...user, id: newId('usr') }), false);
  assert.deepEqual(await findUserByName(kysely, tenancy.id, 'admin'), user);
  assert.deepEqual(await findUser(kysely, user.id), user);
  assert.equal(await findUserByName(kysely, 'ten-0', 'admin'), undefined);
});

forEachEngine('a token leads to its owner until it is revoked', async (open) => {
  const { kysely } = await open();
  const user = await makeUser(kysely, (await makeTenancy(kysely)).id);
  const token: TokenRow = {
    id: newId('tok'),
    user_id: user.id,
    token_sha256: 'c0ffee',
    label: 'laptop',
    created_at_ms: 1,
    revoked_at_ms: null,
  };
  await insertToken(kysely, token);
  const owner = { id: user.id, tenancy_id: user.tenancy_id, role: 'administrator', token_sha256: 'c0ffee' };
  assert.deepEqual(await findTokenOwner(kysely, 'c0ffee'), owner);
  assert.equal(await revokeToken(kysely, 'usr-0', token.id, 5), false);
  assert.equal(await revokeToken(kysely, user.id, token.id, 6), true);
  assert.equal(await revokeToken(kysely, user.id, token.id, 7), true);
  assert.equal(await findTokenOwner(kysely, 'c0ffee'), undefined);
  assert.deepEqual(await listTokens(kysely, user.id), [{ ...token, revoked_at_ms: 6 }]);
});
