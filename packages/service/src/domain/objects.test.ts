import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ByteSource, memorySource } from '@gantry/disk';
import { newStoredName, type ObjectStore, openFolderStore } from '@gantry/storage';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { forEachEngine } from '../db/engines.testkit.ts';
import { newId } from '../db/ids.ts';
import { insertGrant } from '../db/repositories/grants.ts';
import { makeTenancy, makeUser } from '../db/repositories/rows.testkit.ts';
import type { GrantVerb } from '../db/schema.ts';
import { Access } from './access.ts';
import { Buckets } from './buckets.ts';
import { ObjectReader } from './object-reader.ts';
import { Objects } from './objects.ts';
import { StoredBytes } from './stored-bytes.ts';
import { TagPolicy } from './tags.ts';
import { deleteUnneededBytes } from './unneeded-bytes.ts';
import { Uploads } from './uploads.ts';

const silent = { info() {}, warn() {}, error() {} };

interface World {
  readonly database: Database;
  readonly store: ObjectStore;
  readonly buckets: Buckets;
  readonly objects: Objects;
  readonly uploads: Uploads;
  readonly principal: Principal;
  /** Where a key of the bucket is. */
  place(key: string): { principal: Principal; bucket: string; key: string };
}

/** The administrator of a new tenancy. */
async function makePrincipal(database: Database, tenancy: string): Promise<Principal> {
  const { id: tenancyId } = await makeTenancy(database.kysely, tenancy);
  const { id: userId, role } = await makeUser(database.kysely, tenancyId);
  return { userId, tenancyId, role };
}

/** A tenancy with a bucket over a real store; a view shows its format's name and its manifest's. */
function inWorld(name: string, body: (world: World) => Promise<void>): void {
  forEachEngine(name, async (open) => {
    const folder = await mkdtemp(join(tmpdir(), 'gantry-objects-'));
    try {
      const database = await open();
      const store = await openFolderStore(folder);
      const bytes = new StoredBytes(store, silent);
      const access = new Access(database);
      const reader = new ObjectReader(database, bytes, {
        open: async (view, manifestId) => ({
          source: memorySource(Buffer.from(`${view.format} of ${manifestId}`)),
          etag: `etag of ${view.format}`,
        }),
        diskDigest: async (manifestId) => `digest of ${manifestId}`,
      });
      const objects = new Objects(database, access, bytes, reader);
      const buckets = new Buckets(database, access, new TagPolicy(database, access));
      const principal = await makePrincipal(database, 'main');
      await buckets.create(principal, { name: 'bucket' });
      const place = (key: string) => ({ principal, bucket: 'bucket', key });
      const uploads = new Uploads(database, access, bytes);
      await body({ database, store, buckets, objects, uploads, principal, place });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

async function* bodyOf(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

async function textOf(source: ByteSource): Promise<string> {
  const bytes = Buffer.alloc(source.lengthBytes);
  await source.read(0, bytes);
  await source.close();
  return bytes.toString();
}

const hashOf = (algorithm: string, text: string) => createHash(algorithm).update(text).digest('base64');

const storedNames = (store: ObjectStore) => Array.fromAsync(store.names());

inWorld('of many who create a key at once, one does', async ({ objects, store, place }) => {
  const condition = { ifNoneMatch: '*' } as const;
  const puts = Array.from({ length: 12 }, (_, i) => objects.put(place('k'), bodyOf(`${i}`), { condition }));
  const outcomes = await Promise.allSettled(puts);
  const winners = outcomes.flatMap((outcome, i) => (outcome.status === 'fulfilled' ? [`${i}`] : []));
  assert.equal(winners.length, 1);
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'PRECONDITION_FAILED');
  }
  assert.equal(await textOf((await objects.open(place('k'))).source), winners[0]);
  assert.equal((await storedNames(store)).length, 1);
});

inWorld('puts, reads and deletes of one key at once leave one version or none', async (world) => {
  const { objects, store, place } = world;
  const read = async () => {
    try {
      const { object, source } = await objects.open(place('k'));
      const text = await textOf(source);
      assert.equal(text.length, object.lengthBytes);
      assert.match(text, /^(\d+)-\1$/);
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'NOT_FOUND');
    }
  };
  const drop = () => objects.delete(place('k')).catch((error) => assert.equal(error.code, 'NOT_FOUND'));
  const put = (i: number) => objects.put(place('k'), bodyOf(`${i}`, '-', `${i}`));
  await Promise.all(
    Array.from({ length: 30 }, (_, i) => [put(i), read(), i % 5 === 0 ? drop() : read()]).flat(),
  );
  await put(99);
  assert.equal(await textOf((await objects.open(place('k'))).source), '99-99');
  assert.equal((await storedNames(store)).length, 1);
});

inWorld(
  'a bucket that is deleted meanwhile takes no object',
  async ({ buckets, objects, store, principal, place }) => {
    const body = async function* () {
      yield Buffer.from('x');
      await buckets.delete(principal, 'bucket');
    };
    await assert.rejects(objects.put(place('k'), body()), { code: 'NOT_FOUND' });
    assert.deepEqual(await storedNames(store), []);
  },
);

inWorld(
  'what belongs to another tenancy is not there',
  async ({ database, buckets, objects, uploads, place }) => {
    await objects.put(place('k'), bodyOf('x'));
    const upload = await uploads.create(place('k'), { key: 'k' });
    const principal = await makePrincipal(database, 'other');
    const foreign = { ...place('k'), principal, uploadId: upload.id };
    const page = { limit: 10 };
    const attempts = [
      () => buckets.get(principal, 'bucket'),
      () => buckets.delete(principal, 'bucket'),
      () => objects.list(foreign, page),
      () => objects.get(foreign),
      () => objects.open(foreign),
      () => objects.put(foreign, bodyOf('y')),
      () => objects.delete(foreign),
      () => uploads.list(foreign, page),
      () => uploads.get(foreign),
      () => uploads.putPart(foreign, 1, bodyOf('y')),
      () => uploads.complete(foreign, [{ partNumber: 1, etag: '' }]),
      () => uploads.abort(foreign),
    ];
    for (const attempt of attempts) await assert.rejects(attempt(), { code: 'NOT_FOUND' });
    // The same name is free there.
    await buckets.create(principal, { name: 'bucket' });
    await assert.rejects(objects.get(foreign), { code: 'NOT_FOUND' });
    await assert.rejects(uploads.get(foreign), { code: 'NOT_FOUND' });
  },
);

inWorld('only names that every store takes are names of buckets', async ({ buckets, principal }) => {
  for (const name of ['abc', 'a.b', '0-9', 'vm-images.2026', 'a'.repeat(63)]) {
    assert.equal((await buckets.create(principal, { name })).name, name);
  }
  const refused = [
    '',
    'ab',
    'a'.repeat(64),
    'Abc',
    'a_b',
    'a b',
    '-ab',
    'ab-',
    '.ab',
    'a..b',
    'a.-b',
    'a-.b',
  ];
  for (const name of [...refused, '10.0.0.1', 'xn--abc', 'a/b', 'äbc']) {
    await assert.rejects(buckets.create(principal, { name }), { code: 'INVALID' }, name);
  }
});

inWorld('a body of another length than announced is not stored', async ({ objects, store, place }) => {
  const put = objects.put(place('k'), bodyOf('abc'), { expectedBytes: 4 });
  await assert.rejects(put, { code: 'UPLOAD_INCOMPLETE' });
  assert.deepEqual(await storedNames(store), []);
});

inWorld('of two who complete an upload at once, one does, and the object is whole', async (world) => {
  const { objects, uploads, store, place } = world;
  const upload = await uploads.create(place('k'), { key: 'k' });
  const at = { ...place('k'), uploadId: upload.id };
  const parts = [];
  for (const number of [1, 2, 3]) parts.push(await uploads.putPart(at, number, bodyOf(`part ${number}. `)));
  const both = await Promise.allSettled([uploads.complete(at, parts), uploads.complete(at, parts)]);
  assert.deepEqual(both.map((outcome) => outcome.status).toSorted(), ['fulfilled', 'rejected']);
  const { object, source } = await objects.open(place('k'));
  assert.equal(await textOf(source), 'part 1. part 2. part 3. ');
  assert.match(object.etag, /-3$/);
  assert.equal((await storedNames(store)).length, 3);
});

inWorld('a part that arrives while its upload is completed or aborted leaves nothing', async (world) => {
  const { uploads, store, place } = world;
  const upload = await uploads.create(place('k'), { key: 'k' });
  const at = { ...place('k'), uploadId: upload.id };
  const ending = async function* () {
    yield Buffer.from('x');
    await uploads.abort(at);
  };
  await assert.rejects(uploads.putPart(at, 1, ending()), { code: 'NOT_FOUND' });
  assert.deepEqual(await storedNames(store), []);
});

inWorld('an object with parts is replaced and replaces, and its reader keeps it', async (world) => {
  const { objects, uploads, store, place } = world;
  const complete = async (...texts: string[]) => {
    const upload = await uploads.create(place('k'), { key: 'k' });
    const at = { ...place('k'), uploadId: upload.id };
    const parts = [];
    for (const [i, text] of texts.entries()) parts.push(await uploads.putPart(at, i + 1, bodyOf(text)));
    return uploads.complete(at, parts);
  };
  await complete('one ', 'two');
  const first = await objects.open(place('k'));
  await complete('three ', 'four ', 'five');
  const second = await objects.open(place('k'));
  await objects.put(place('k'), bodyOf('six'));
  assert.equal(await textOf(first.source), 'one two');
  assert.equal(await textOf(second.source), 'three four five');
  assert.equal(await textOf((await objects.open(place('k'))).source), 'six');
  assert.equal((await storedNames(store)).length, 1);
  await complete('seven');
  assert.equal(await textOf((await objects.open(place('k'))).source), 'seven');
  await objects.delete(place('k'));
  assert.deepEqual(await storedNames(store), []);
});

inWorld('a view answers as its bytes are now', async ({ database, objects, store, place }) => {
  const manifest = { id: 'man-1', state: 'sealed', virtual_size_bytes: 0, disk_digest: 'd', data_bytes: 0 };
  await database.kysely
    .insertInto('manifests')
    .values({ ...manifest, created_at_ms: 1 })
    .execute();
  await objects.put(place('k'), bodyOf('stored'));
  const spec = { format: 'vmdk', options: { subformat: 'monolithicSparse' } };
  const view = { manifestId: 'man-1', spec, lengthBytes: 3, etag: 'earlier' };
  const { object, isNew } = await objects.putView(place('k'), view);
  assert.equal(isNew, false);
  assert.deepEqual(object.view, { manifestId: 'man-1', spec });
  assert.deepEqual(await storedNames(store), []);
  const opened = await objects.open(place('k'));
  assert.equal(opened.object.etag, 'etag of vmdk');
  assert.equal(opened.object.lengthBytes, opened.source.lengthBytes);
  assert.equal(await textOf(opened.source), 'vmdk of man-1');
});

inWorld('the sweep at a start deletes bytes that nothing needs, and only those', async (world) => {
  const { database, objects, uploads, store, place } = world;
  await objects.put(place('whole'), bodyOf('x'));
  const upload = await uploads.create(place('k'), { key: 'k' });
  const at = { ...place('k'), uploadId: upload.id };
  const parts = [await uploads.putPart(at, 1, bodyOf('1')), await uploads.putPart(at, 2, bodyOf('2'))];
  await uploads.complete(at, parts);
  const open = await uploads.create(place('open'), { key: 'open' });
  await uploads.putPart({ ...at, uploadId: open.id }, 1, bodyOf('part'));
  const needed = (await storedNames(store)).toSorted();
  assert.equal(needed.length, 4);

  for (let i = 0; i < 3; i++) await store.put(newStoredName(), bodyOf('left'));
  assert.equal(await deleteUnneededBytes(database, store), 3);
  assert.deepEqual((await storedNames(store)).toSorted(), needed);
});

inWorld('a member does with objects what a grant says, and sees no more', async (world) => {
  const { database, buckets, objects, uploads, principal, place } = world;
  await objects.put(place('k'), bodyOf('x'));
  const { id: userId } = await makeUser(database.kysely, principal.tenancyId, 'member');
  const member: Principal = { ...principal, userId, role: 'member' };
  const at = (key: string) => ({ ...place(key), principal: member });
  const needs: readonly (readonly [GrantVerb, () => Promise<unknown>])[] = [
    ['inspect', () => objects.list(at('k'), { limit: 1 })],
    ['inspect', () => objects.browse(at('k'), { limit: 1 })],
    ['inspect', () => objects.get(at('k'))],
    ['inspect', () => uploads.list(at('k'), { limit: 1 })],
    ['read', async () => (await objects.open(at('k'))).source.close()],
    ['manage', () => objects.put(at('l'), bodyOf('y'))],
    ['manage', () => objects.rename(at('l'), 'm')],
    ['manage', () => objects.delete(at('m'))],
    ['manage', () => uploads.create(at('k'), { key: 'k' })],
  ];
  const verbs: readonly GrantVerb[] = ['inspect', 'read', 'use', 'manage'];
  for (const [, call] of needs) await assert.rejects(call(), { code: 'NOT_FOUND' });
  for (const granted of verbs) {
    await insertGrant(database.kysely, {
      id: newId('grt'),
      tenancy_id: principal.tenancyId,
      user_id: userId,
      verb: granted,
      resource: 'objects',
      compartment_id: principal.tenancyId,
      created_at_ms: 1,
    });
    for (const [verb, call] of needs) {
      if (verbs.indexOf(verb) <= verbs.indexOf(granted)) await call();
      else await assert.rejects(call(), { code: 'FORBIDDEN' }, `${granted} for ${verb}`);
    }
  }
  await assert.rejects(buckets.get(member, 'bucket'), { code: 'NOT_FOUND' });
  assert.deepEqual((await buckets.list({ principal: member, limit: 10 })).items, []);
  await assert.rejects(buckets.create(member, { name: 'other' }), { code: 'NOT_FOUND' });
});

inWorld('attributes and checksums are kept, and what no header can hold is refused', async (world) => {
  const { objects, place } = world;
  const attributes = {
    metadata: { a: 'b' },
    contentEncoding: 'gzip',
    storageTier: 'InfrequentAccess',
  } as const;
  const checksums = ['md5', 'crc32c', 'sha256', 'sha384'] as const;
  const { object } = await objects.put(place('k'), bodyOf('1234', '56789'), { attributes, checksums });
  assert.deepEqual(object.attributes, {
    ...attributes,
    checksums: {
      md5: 'JfnnlDI7RTiF9RgfG2JNCw==',
      // 0xe3069283, the check value of CRC-32C.
      crc32c: '4waSgw==',
      sha256: hashOf('sha256', '123456789'),
      sha384: hashOf('sha384', '123456789'),
    },
  });
  assert.deepEqual((await objects.get(place('k'))).attributes, object.attributes);
  for (const wrong of [
    { metadata: { A: 'b' } },
    { metadata: { 'a b': 'c' } },
    { metadata: { a: 'b\r\nset-cookie: x' } },
    { metadata: { a: 'ü' } },
    { metadata: { a: 'b'.repeat(4001) } },
    { cacheControl: 'a\nb' },
  ]) {
    await assert.rejects(objects.put(place('k'), bodyOf('x'), { attributes: wrong }), { code: 'INVALID' });
  }
  const large = objects.put(place('k'), bodyOf('12', '34'), { maxBytes: 3 });
  await assert.rejects(large, { code: 'TOO_LARGE' });
  const expected = { sha256: hashOf('sha256', 'other') };
  await assert.rejects(objects.put(place('k'), bodyOf('x'), { expected }), { code: 'INVALID' });
  assert.equal((await storedNames(world.store)).length, 1);
});

inWorld('a folder is listed in pages as the whole list tells', async ({ objects, place }) => {
  const keys = ['a', 'a/', 'a/1', 'a/2', 'a/b/3', 'b', 'é/1', 'é/2', 'z/1', '\u{10ffff}/x'];
  for (const key of keys) await objects.put(place(key), bodyOf('x'));
  const sorted = keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  for (const prefix of ['', 'a', 'a/', 'é']) {
    for (const delimiter of ['', '/']) {
      const expected = new Set<string>();
      for (const key of sorted.filter((each) => each.startsWith(prefix))) {
        const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
        expected.add(end < 0 ? key : key.slice(0, end + 1));
      }
      for (const limit of [1, 2, 5, 100]) {
        const seen: string[] = [];
        let start: string | undefined;
        do {
          const page = await objects.browse(place(''), { prefix, delimiter, start, limit });
          seen.push(...page.objects.map(({ key }) => key), ...page.prefixes);
          start = page.next;
        } while (start !== undefined);
        const what = JSON.stringify({ prefix, delimiter, limit });
        assert.deepEqual(seen.toSorted(), [...expected].toSorted(), what);
      }
    }
  }
});

inWorld('of many objects that are renamed to one key at once, one is left', async (world) => {
  const { objects, store, place } = world;
  const keys = Array.from({ length: 8 }, (_, i) => `k${i}`);
  for (const key of keys) await objects.put(place(key), bodyOf(key));
  await Promise.all(keys.map((key) => objects.rename(place(key), 'target')));
  const { items } = await objects.list(place(''), { limit: 20 });
  assert.deepEqual(
    items.map(({ key }) => key),
    ['target'],
  );
  assert.equal((await storedNames(store)).length, 1);
  await assert.rejects(objects.rename(place('k0'), 'x'), { code: 'NOT_FOUND' });
  await assert.rejects(objects.rename(place('target'), 'target'), { code: 'INVALID' });
});

inWorld('a bucket is changed as a whole, and counts what it holds', async (world) => {
  const { buckets, objects, principal, place } = world;
  await objects.put(place('a'), bodyOf('123'));
  await objects.put(place('b'), bodyOf('4567'));
  assert.deepEqual(await buckets.measure(principal, 'bucket'), { objectCount: 2, lengthBytes: 7 });
  await buckets.create(principal, { name: 'other' });
  assert.deepEqual(await buckets.measure(principal, 'other'), { objectCount: 0, lengthBytes: 0 });
  const { etag } = await buckets.get(principal, 'bucket');
  const change = { name: 'renamed', metadata: { Any: 'ü' }, ifMatch: [etag] };
  const renamed = await buckets.update(principal, 'bucket', change);
  assert.deepEqual([renamed.name, renamed.metadata], ['renamed', { Any: 'ü' }]);
  assert.notEqual(renamed.etag, etag);
  await assert.rejects(buckets.update(principal, 'renamed', change), { code: 'PRECONDITION_FAILED' });
  await assert.rejects(buckets.update(principal, 'renamed', { name: 'other' }), { code: 'CONFLICT' });
  await assert.rejects(buckets.update(principal, 'bucket', {}), { code: 'NOT_FOUND' });
  await assert.rejects(buckets.delete(principal, 'other', ['stale']), { code: 'PRECONDITION_FAILED' });
  assert.equal((await objects.list({ principal, bucket: 'renamed' }, { limit: 5 })).items.length, 2);
});
