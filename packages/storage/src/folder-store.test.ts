import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ByteSource } from '@gantry/disk';
import fc from 'fast-check';
import { openFolderStore } from './folder-store.ts';
import type { ObjectStore } from './object-store.ts';
import { newStoredName } from './stored-names.ts';

async function makeStore(t: TestContext): Promise<{ store: ObjectStore; folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-store-'));
  t.after(() => rm(folder, { recursive: true }));
  return { store: await openFolderStore(folder), folder };
}

const pathIn = (folder: string, name: string) => join(folder, name.slice(0, 2), name);

async function* chunksOf(...chunks: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
}

async function readAll(source: ByteSource): Promise<Buffer> {
  const bytes = Buffer.alloc(source.lengthBytes);
  await source.read(0, bytes);
  return bytes;
}

/** Every file of the store, whole or not. */
async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

async function namesOf(store: ObjectStore): Promise<string[]> {
  return Array.fromAsync(store.names());
}

test('whatever chunks bytes arrive in, they are stored as one piece and read at any range', async (t) => {
  const { store } = await makeStore(t);
  const chunk = fc.oneof(fc.uint8Array({ maxLength: 50 }), fc.constant(new Uint8Array(700_000).fill(7)));
  await fc.assert(
    fc.asyncProperty(fc.array(chunk, { maxLength: 12 }), fc.nat(), fc.nat(), async (chunks, at, length) => {
      const bytes = Buffer.concat(chunks);
      const name = newStoredName();
      const result = await store.put(name, chunksOf(...chunks));
      assert.equal(result.lengthBytes, bytes.length);
      const source = await store.open([{ name, lengthBytes: bytes.length }]);
      const from = at % (bytes.length + 1);
      const into = Buffer.alloc(length % (bytes.length - from + 1));
      await source.read(from, into);
      assert.ok(into.equals(bytes.subarray(from, from + into.length)));
      await source.close();
    }),
    { numRuns: 50 },
  );
});

test('a thousand and more tiny chunks are stored in order', async (t) => {
  const { store } = await makeStore(t);
  const name = newStoredName();
  const bytes = Buffer.from(Array.from({ length: 5000 }, (_, i) => i % 256));
  await store.put(name, chunksOf(...Array.from(bytes, (byte) => Uint8Array.of(byte))));
  const source = await store.open([{ name, lengthBytes: bytes.length }]);
  assert.ok((await readAll(source)).equals(bytes));
  await source.close();
});

test('pieces are one source, whatever their lengths, however many are read at once', async (t) => {
  const { store } = await makeStore(t);
  const parts = Array.from({ length: 40 }, (_, i) => Buffer.alloc((i * 37) % 11, i));
  const pieces = [];
  for (const part of parts) {
    const name = newStoredName();
    pieces.push({ name, lengthBytes: (await store.put(name, chunksOf(part))).lengthBytes });
  }
  const bytes = Buffer.concat(parts);
  const source = await store.open(pieces);
  assert.equal(source.lengthBytes, bytes.length);
  const reads = [];
  for (let from = 0; from <= bytes.length; from += 3) {
    const into = Buffer.alloc(Math.min(30, bytes.length - from));
    reads.push(
      source.read(from, into).then(() => assert.ok(into.equals(bytes.subarray(from, from + into.length)))),
    );
  }
  await Promise.all(reads);
  await source.close();
});

test('bytes are not there before they are whole, and not after a failure', async (t) => {
  const { store, folder } = await makeStore(t);
  const name = newStoredName();
  const failing = async function* () {
    yield Buffer.alloc(3_000_000, 1);
    assert.deepEqual(await namesOf(store), []);
    await assert.rejects(store.open([{ name, lengthBytes: 3_000_000 }]), { code: 'STORE_NOT_FOUND' });
    throw Object.assign(new Error('the client went away'), { code: 'ECONNRESET' });
  };
  await assert.rejects(store.put(name, failing()), { message: 'the client went away', code: 'ECONNRESET' });
  assert.deepEqual(await filesIn(folder), []);
});

test('an abort ends a put that waits for its next chunk', async (t) => {
  const { store, folder } = await makeStore(t);
  const waiting = Promise.withResolvers<void>();
  const stuck = async function* () {
    yield Buffer.from('some');
    waiting.resolve();
    await new Promise(() => {});
  };
  const ending = new AbortController();
  const put = store.put(newStoredName(), stuck(), { signal: ending.signal });
  await waiting.promise;
  ending.abort(new Error('no longer wanted'));
  await assert.rejects(put, /no longer wanted/);
  assert.deepEqual(await filesIn(folder), []);
});

test('what a crash left half written is removed when the store is opened', async (t) => {
  const { store, folder } = await makeStore(t);
  const name = newStoredName();
  await store.put(name, chunksOf('whole'));
  // A process of its own, killed in the middle of a put.
  const script = `
    import { openFolderStore, newStoredName } from ${JSON.stringify(import.meta.resolve('./index.ts'))};
    const store = await openFolderStore(${JSON.stringify(folder)});
    await store.put(newStoredName(), (async function* () {
      for (let i = 0; i < 8; i++) yield Buffer.alloc(1_000_000);
      console.log('half');
      await new Promise((resolve) => setTimeout(resolve, 2 ** 30));
    })());`;
  const child = spawn(process.execPath, ['--conditions=source', '--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.equal((await filesIn(folder)).length, 2);

  const again = await openFolderStore(folder);
  assert.deepEqual(await filesIn(folder), [name]);
  const source = await again.open([{ name, lengthBytes: 5 }]);
  assert.equal((await readAll(source)).toString(), 'whole');
  await source.close();
});

test('a disk that fills up is STORE_FULL, nothing stays behind, and the store goes on', async (t) => {
  const { folder } = await makeStore(t);
  // A file system of 4 MiB that is gone with the process: needs no rights beyond a user's own.
  const script = `
    import assert from 'node:assert/strict';
    import { readdir } from 'node:fs/promises';
    import { openFolderStore, newStoredName } from ${JSON.stringify(import.meta.resolve('./index.ts'))};
    const store = await openFolderStore(${JSON.stringify(folder)});
    const megabytes = async function* (count) {
      for (let i = 0; i < count; i++) yield Buffer.alloc(1_000_000, i);
    };
    await store.put(newStoredName(), megabytes(2));
    await assert.rejects(store.put(newStoredName(), megabytes(8)), { code: 'STORE_FULL' });
    let asked = false;
    const unasked = (async function* () { asked = true; })();
    await assert.rejects(store.put(newStoredName(), unasked, { expectedBytes: 8e6 }), { code: 'STORE_FULL' });
    assert.equal(asked, false);
    assert.equal((await Array.fromAsync(store.names())).length, 1);
    assert.deepEqual(await readdir(${JSON.stringify(join(folder, 'incoming'))}), []);
    await store.put(newStoredName(), megabytes(1));
    console.log('went on');`;
  const child = spawn(
    'unshare',
    [
      '--map-root-user',
      '--mount',
      'sh',
      '-c',
      'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"',
      folder,
      process.execPath,
      '--conditions=source',
      '--input-type=module',
      '--eval',
      script,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const output = await Array.fromAsync(child.stdout.setEncoding('utf8'));
  assert.equal(output.join(''), 'went on\n');
});

test('a source stays whole after its pieces are deleted, and they go when it is closed', async (t) => {
  const { store, folder } = await makeStore(t);
  const pieces = [];
  for (const part of ['one', 'three', 'two']) {
    const name = newStoredName();
    await store.put(name, chunksOf(part));
    pieces.push({ name, lengthBytes: part.length });
  }
  const first = await store.open(pieces);
  const second = await store.open(pieces.slice(1));
  await store.delete(pieces.map((piece) => piece.name));
  assert.deepEqual(await namesOf(store), []);
  await assert.rejects(store.open(pieces), { code: 'STORE_NOT_FOUND' });
  assert.equal((await readAll(first)).toString(), 'onethreetwo');
  await first.close();
  await first.close();
  assert.equal((await readAll(second)).toString(), 'threetwo');
  await second.close();
  assert.deepEqual(await filesIn(folder), []);
  await assert.rejects(store.open(pieces), { code: 'STORE_NOT_FOUND' });
});

test('a file whose length is not what was stored is STORE_CORRUPT', async (t) => {
  const { store, folder } = await makeStore(t);
  const name = newStoredName();
  await store.put(name, chunksOf('whole'));
  await truncate(pathIn(folder, name), 4);
  await assert.rejects(store.open([{ name, lengthBytes: 5 }]), { code: 'STORE_CORRUPT' });
});

test('the names are those of whole pieces, and deleting one that is not there is fine', async (t) => {
  const { store, folder } = await makeStore(t);
  const names = Array.from({ length: 20 }, newStoredName);
  for (const name of names) await store.put(name, chunksOf('x'));
  await writeFile(join(folder, names[0]!.slice(0, 2), 'README'), 'not a stored name');
  assert.deepEqual((await namesOf(store)).toSorted(), names.toSorted());
  await store.delete([newStoredName(), ...names.slice(1)]);
  assert.deepEqual(await namesOf(store), names.slice(0, 1));
});

test('files are for the owner only, and a name of another shape never becomes a path', async (t) => {
  const { store, folder } = await makeStore(t);
  const name = newStoredName();
  await store.put(name, chunksOf('secret'));
  assert.equal((await stat(pathIn(folder, name))).mode & 0o777, 0o600);
  assert.equal(await readFile(pathIn(folder, name), 'utf8'), 'secret');
  for (const bad of ['../../etc/passwd', '', name.toUpperCase(), `${name}0`]) {
    await assert.rejects(store.put(bad, chunksOf('x')), RangeError);
    await assert.rejects(store.delete([bad]), RangeError);
  }
});

test('progress counts the bytes that arrived', async (t) => {
  const { store } = await makeStore(t);
  const seen: number[] = [];
  await store.put(newStoredName(), chunksOf('ab', 'c', ''), { onBytes: (doneBytes) => seen.push(doneBytes) });
  assert.deepEqual(seen, [2, 3, 3]);
});

test('an empty source has no bytes', async (t) => {
  const { store } = await makeStore(t);
  const source = await store.open([]);
  assert.equal(source.lengthBytes, 0);
  await source.read(0, new Uint8Array(0));
  await source.close();
});

test('a folder that cannot be used is told as it is', async (t) => {
  const { folder } = await makeStore(t);
  await writeFile(join(folder, 'file'), '');
  await assert.rejects(openFolderStore(join(folder, 'file', 'objects')), { name: 'StoreError' });
  await mkdir(join(folder, 'sub'));
  await chmod(join(folder, 'sub'), 0o700);
  assert.ok((await (await openFolderStore(join(folder, 'sub'))).freeBytes()) > 0);
});

test('a copy keeps its bytes when the piece that it was made of is deleted', async (t) => {
  const { store } = await makeStore(t);
  const bytes = Buffer.from('some bytes');
  const [first, second] = [newStoredName(), newStoredName()];
  await store.put(first, chunksOf(bytes));
  const piece = { name: first, lengthBytes: bytes.length };
  await store.copy(piece, second);
  await store.delete([first]);
  const source = await store.open([{ name: second, lengthBytes: bytes.length }]);
  assert.ok((await readAll(source)).equals(bytes));
  await source.close();
  assert.deepEqual(await namesOf(store), [second]);
  await assert.rejects(store.copy(piece, newStoredName()), { code: 'STORE_NOT_FOUND' });
  await store.delete([second]);
  assert.deepEqual(await namesOf(store), []);
});
