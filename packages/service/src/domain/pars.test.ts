import assert from 'node:assert/strict';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { forEachEngine } from '../db/engines.testkit.ts';
import { newId } from '../db/ids.ts';
import { deleteGrant, insertGrant } from '../db/repositories/grants.ts';
import { makeBucket, makeTenancy, makeUser } from '../db/repositories/rows.testkit.ts';
import type { GrantResource, GrantVerb } from '../db/schema.ts';
import { Access } from './access.ts';
import { type ParAccessType, type ParAction, parAccessTypes } from './par-access.ts';
import { type ParLink, PreAuthenticatedRequests } from './pars.ts';

const EXPIRES_AT_MS = 1_000_000;

interface World {
  readonly database: Database;
  readonly pars: PreAuthenticatedRequests;
  readonly clock: { nowMs: number };
  readonly principal: Principal;
  readonly member: Principal;
  grant(verb: GrantVerb, resource: GrantResource): Promise<string>;
  /** Makes one and reads its path. */
  link(accessType: ParAccessType, more?: Link): Promise<ParLink>;
}

interface Link {
  readonly objectKey?: string;
  readonly allowsListing?: boolean;
  readonly as?: Principal;
}

function inWorld(name: string, body: (world: World) => Promise<void>): void {
  forEachEngine(name, async (open) => {
    const database = await open();
    const clock = { nowMs: 1 };
    const { id: tenancyId } = await makeTenancy(database.kysely);
    const { id: userId } = await makeUser(database.kysely, tenancyId);
    const { id: memberId } = await makeUser(database.kysely, tenancyId, 'member');
    await database.kysely.updateTable('users').set({ role: 'member' }).where('id', '=', memberId).execute();
    await makeBucket(database.kysely, tenancyId, 'bucket');
    const principal: Principal = { userId, tenancyId, role: 'administrator' };
    const member: Principal = { userId: memberId, tenancyId, role: 'member' };
    const pars = new PreAuthenticatedRequests(database, new Access(database), { now: () => clock.nowMs });
    const grant = async (verb: GrantVerb, resource: GrantResource) => {
      const id = newId('grt');
      const row = { id, tenancy_id: tenancyId, user_id: memberId, verb, resource, created_at_ms: 1 };
      await insertGrant(database.kysely, { ...row, compartment_id: tenancyId });
      return id;
    };
    const link = async (accessType: ParAccessType, { as = principal, ...more }: Link = {}) => {
      const request = { name: 'par', accessType, expiresAtMs: EXPIRES_AT_MS, ...more };
      const { path } = await pars.create(as, 'bucket', request);
      const [, token = '', namespace = '', bucket = ''] =
        /^\/p\/([^/]+)\/n\/([^/]+)\/b\/([^/]+)\/o\//.exec(path) ?? [];
      return { token, namespace, bucket };
    };
    await body({ database, pars, clock, principal, member, grant, link });
  });
}

const refused = {
  code: 'NOT_FOUND',
  message: 'this address is unknown, has expired, or is not good for this',
};

inWorld('a URL is good until the very millisecond of its expiry', async ({ pars, clock, link }) => {
  const url = await link('ObjectRead', { objectKey: 'k' });
  clock.nowMs = EXPIRES_AT_MS - 1;
  await pars.use(url, 'read', 'k');
  clock.nowMs = EXPIRES_AT_MS;
  await assert.rejects(pars.use(url, 'read', 'k'), refused);
});

inWorld('each access type allows what it is called, and nothing else', async ({ pars, link }) => {
  const actions: readonly ParAction[] = ['read', 'write', 'list'];
  const allowed: Record<ParAccessType, readonly string[]> = {
    ObjectRead: ['read a/k'],
    ObjectWrite: ['write a/k'],
    ObjectReadWrite: ['read a/k', 'write a/k'],
    AnyObjectRead: ['read a/k', 'read a/l', 'list '],
    AnyObjectWrite: ['write a/k', 'write a/l'],
    AnyObjectReadWrite: ['read a/k', 'write a/k', 'read a/l', 'write a/l', 'list '],
  };
  for (const accessType of parAccessTypes) {
    const isForMany = accessType.startsWith('Any');
    const allowsListing = accessType.startsWith('AnyObjectRead');
    const url = await link(accessType, { objectKey: isForMany ? 'a/' : 'a/k', allowsListing });
    for (const action of actions) {
      for (const key of action === 'list' ? [''] : ['a/k', 'a/l', 'b/k', 'a', '', 'a/../b/k', 'A/k']) {
        const isAllowed =
          allowed[accessType].includes(`${action} ${key}`) ||
          (isForMany && key === 'a/../b/k' && allowed[accessType].includes(`${action} a/k`));
        const use = pars.use(url, action, key);
        if (isAllowed) await use;
        else await assert.rejects(use, refused, `${accessType} ${action} ${key}`);
      }
    }
  }
});

inWorld('what is wrong with a URL is not told', async ({ database, pars, link }) => {
  const url = await link('AnyObjectReadWrite');
  const other = await makeTenancy(database.kysely, 'other');
  await makeBucket(database.kysely, other.id, 'bucket');
  const { token } = url;
  for (const wrong of [
    { ...url, token: '' },
    { ...url, token: `${token}A` },
    { ...url, token: (token.startsWith('A') ? 'B' : 'A') + token.slice(1) },
    { ...url, namespace: 'other' },
    { ...url, namespace: '' },
    { ...url, bucket: 'other' },
    { ...url, bucket: 'Bucket' },
  ]) {
    await assert.rejects(pars.use(wrong, 'read', 'k'), refused, JSON.stringify(wrong));
  }
  await pars.use(url, 'read', 'k');
});

inWorld('a URL dies with its rights, its user and itself', async (world) => {
  const { database, pars, principal, member, grant, link } = world;
  await assert.rejects(link('AnyObjectRead', { as: member }), { code: 'NOT_FOUND' });
  await grant('manage', 'buckets');
  await assert.rejects(link('AnyObjectRead', { as: member }), { code: 'FORBIDDEN' });
  const read = await grant('read', 'objects');
  const reading = await link('AnyObjectRead', { as: member });
  await assert.rejects(link('AnyObjectReadWrite', { as: member }), { code: 'FORBIDDEN' });
  assert.equal((await pars.use(reading, 'read', 'k')).principal.userId, member.userId);
  await deleteGrant(database.kysely, member.tenancyId, read);
  await assert.rejects(pars.use(reading, 'read', 'k'), refused);
  await grant('manage', 'objects');
  await pars.use(reading, 'read', 'k');
  await database.kysely.deleteFrom('grants').execute();
  await database.kysely.deleteFrom('users').where('id', '=', member.userId).execute();
  await assert.rejects(pars.use(reading, 'read', 'k'), refused);

  const url = await link('AnyObjectRead');
  const [par] = (await pars.list(principal, 'bucket', { limit: 10 })).items;
  await pars.delete(principal, 'bucket', par?.id ?? '');
  await assert.rejects(pars.use(url, 'read', 'k'), refused);
});

inWorld('a bucket of the same name is another one', async ({ database, pars, principal, link }) => {
  const url = await link('AnyObjectRead');
  await database.kysely.deleteFrom('buckets').execute();
  await makeBucket(database.kysely, principal.tenancyId, 'bucket');
  await assert.rejects(pars.use(url, 'read', 'k'), refused);
});

inWorld('no token is in the database, and what makes no sense is not made', async (world) => {
  const { database, pars, principal, link } = world;
  const { token } = await link('ObjectRead', { objectKey: 'a/b' });
  const rows = await database.kysely.selectFrom('pre_authenticated_requests').selectAll().execute();
  assert.equal(rows.length, 1);
  assert.ok(!JSON.stringify(rows).includes(token));
  const make = { name: 'x', accessType: 'ObjectRead', objectKey: 'k', expiresAtMs: EXPIRES_AT_MS } as const;
  for (const wrong of [
    { ...make, objectKey: undefined },
    { ...make, expiresAtMs: 1 },
    { ...make, expiresAtMs: Number.NaN },
    { ...make, name: '' },
    { ...make, allowsListing: true },
    { ...make, accessType: 'AnyObjectWrite', allowsListing: true } as const,
  ]) {
    await assert.rejects(pars.create(principal, 'bucket', wrong), { code: 'INVALID' });
  }
});

inWorld('those of a bucket are listed by what they are for', async ({ pars, principal, link }) => {
  for (const objectKey of ['a/1', 'a/2', 'b/1']) await link('ObjectRead', { objectKey });
  await link('AnyObjectRead');
  const keys: (string | undefined)[] = [];
  let startAfter: string | undefined;
  do {
    const page = await pars.list(principal, 'bucket', { limit: 3, startAfter });
    keys.push(...page.items.map((par) => par.objectKey));
    startAfter = page.next;
  } while (startAfter !== undefined);
  assert.deepEqual(keys, ['a/1', 'a/2', 'b/1', undefined]);
  const { items } = await pars.list(principal, 'bucket', { keyPrefix: 'a/', limit: 10 });
  assert.equal(items.length, 2);
  assert.deepEqual(await pars.get(principal, 'bucket', items[0]?.id ?? ''), items[0]);
});
