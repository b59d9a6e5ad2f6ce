import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { deleteApiKey, findSigner, insertApiKey, listApiKeys } from './api-keys.ts';
import { makeTenancy, makeUser } from './rows.testkit.ts';
import { deleteUser, findUser } from './tenancies.ts';

forEachEngine(
  'a key leads to its user in the tenancy that is named, until either is deleted',
  async (open) => {
    const { kysely } = await open();
    const user = await makeUser(kysely, (await makeTenancy(kysely)).id);
    const other = await makeUser(kysely, user.tenancy_id, 'other');
    const key = { fingerprint: 'aa:bb', user_id: user.id, public_key_pem: 'PEM', created_at_ms: 1 };
    const later = { ...key, fingerprint: '00:bb', created_at_ms: 2 };
    assert.equal(await insertApiKey(kysely, later), true);
    assert.equal(await insertApiKey(kysely, key), true);
    assert.equal(await insertApiKey(kysely, { ...key, public_key_pem: 'other' }), false);
    // The same pair may be two users'.
    assert.equal(await insertApiKey(kysely, { ...key, user_id: other.id }), true);
    assert.deepEqual(await listApiKeys(kysely, user.id), [key, later]);

    const named = { tenancyId: user.tenancy_id, userId: user.id, fingerprint: 'aa:bb' };
    const signer = { id: user.id, tenancy_id: user.tenancy_id, role: 'administrator', public_key_pem: 'PEM' };
    assert.deepEqual(await findSigner(kysely, named), signer);
    assert.equal(await findSigner(kysely, { ...named, tenancyId: 'ten-0' }), undefined);
    assert.equal(await findSigner(kysely, { ...named, fingerprint: 'bb:aa' }), undefined);
    assert.equal(await deleteApiKey(kysely, user.id, 'aa:bb'), true);
    assert.equal(await deleteApiKey(kysely, user.id, 'aa:bb'), false);
    assert.equal(await findSigner(kysely, named), undefined);
    await deleteUser(kysely, other.id);
    assert.equal(await findUser(kysely, other.id), undefined);
    assert.equal(await findSigner(kysely, { ...named, userId: other.id }), undefined);
  },
);
