import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ByteSource, memorySource } from '@gantry/disk';
import { newStoredName, type ObjectStore, openFolderStore } from '@gantry/storage';
import type { Principal } from '../auth/tokens.ts';
import type { Database } from '../db/database.ts';
import { forEachEngine } from '../db/engines.testkit.ts';
import { makeTenancy, makeUser } from '../db/repositories/rows.testkit.ts';
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
