import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import {
  appendFile,
  chmod,
  mkdir,
  readdir,
  readFile,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { StoreError } from '../errors.ts';
import { testFolder } from '../formats/images.testkit.ts';
import type { ByteSource } from './byte-source.ts';
import { memorySource } from './memory.ts';
import { fileSink, fileSource, requireUnchanged, storeError } from './node-file.ts';

const run = promisify(execFile);

async function sourceOf(
  context: TestContext,
  content: Uint8Array,
): Promise<{ path: string; source: ByteSource }> {
  const path = join(await testFolder(context), 'image.raw');
  await writeFile(path, content);
  const source = await fileSource(path);
  context.after(() => source.close());
  return { path, source };
}

/** The system keeps nothing from root: such a test runs as nobody then. */
async function withoutPrivileges(work: () => Promise<void>): Promise<void> {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(65534);
  try {
    await work();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 31) % 251);

test('a file is read at any offset, to its last byte', async (context) => {
  const content = pattern(100_001);
  const { source } = await sourceOf(context, content);
  assert.equal(source.lengthBytes, content.length);
  for (const [offset, length] of [
    [0, 1],
    [99_999, 2],
    [100_001, 0],
    [4097, 90_000],
  ] as const) {
    const into = new Uint8Array(length);
    await source.read(offset, into);
    assert.deepEqual(into, content.subarray(offset, offset + length));
  }
});

test('an aborted read throws the reason', async (context) => {
  const { source } = await sourceOf(context, pattern(10));
  const reason = new Error('enough');
  await assert.rejects(source.read(0, new Uint8Array(1), AbortSignal.abort(reason)), reason);
});

test('a file that does not exist, a folder and a pipe are refused', async (context) => {
  const folder = await testFolder(context);
  await assert.rejects(fileSource(join(folder, 'absent')), { code: 'STORE_NOT_FOUND' });
  await assert.rejects(fileSource(join(folder, 'absent', 'child')), { code: 'STORE_NOT_FOUND' });
  await assert.rejects(fileSource(folder), { code: 'STORE_IO' });
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  await assert.rejects(fileSource(pipe), { code: 'STORE_IO' });
});

test('a file that may not be read and a folder that may not be written are STORE_DENIED', async (context) => {
  const folder = await testFolder(context);
  await chmod(folder, 0o711);
  const secret = join(folder, 'secret');
  await writeFile(secret, 'x');
  await chmod(secret, 0);
  const closed = join(folder, 'closed');
  await mkdir(closed, { mode: 0o555 });
  await withoutPrivileges(async () => {
    await assert.rejects(fileSource(secret), { code: 'STORE_DENIED', where: secret });
    await assert.rejects(fileSink(join(closed, 'image')), { code: 'STORE_DENIED' });
  });
});

test('a file that grows while it is open keeps the length it had', async (context) => {
  const { path, source } = await sourceOf(context, pattern(1000));
  await appendFile(path, pattern(1000));
  const into = new Uint8Array(1000);
  await source.read(0, into);
  assert.equal(source.lengthBytes, 1000);
  assert.deepEqual(into, pattern(1000));
  await assert.rejects(requireUnchanged(source), { code: 'STORE_CHANGED', where: path });
});

test('a file that becomes shorter while it is read is STORE_CHANGED', async (context) => {
  const { path, source } = await sourceOf(context, pattern(1000));
  await truncate(path, 500);
  await source.read(0, new Uint8Array(500));
  await assert.rejects(source.read(400, new Uint8Array(200)), { code: 'STORE_CHANGED', where: path });
});

test('a file is unchanged until its content is written again', async (context) => {
  const { path, source } = await sourceOf(context, pattern(1000));
  await requireUnchanged(source);
  await utimes(path, new Date(), new Date(Date.now() + 1000));
  await assert.rejects(requireUnchanged(source), { code: 'STORE_CHANGED' });
  await requireUnchanged(memorySource(new Uint8Array(1)));
});

test('a sink shows its file only when it is finished, with the exact length', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'image.raw');
  await writeFile(path, 'before');
  const sink = await fileSink(path);
  await sink.write(10, pattern(20));
  await sink.write(2, pattern(3));
  assert.equal(await readFile(path, 'utf8'), 'before');
  await sink.finish(100);
  const expected = new Uint8Array(100);
  expected.set(pattern(20), 10);
  expected.set(pattern(3), 2);
  assert.deepEqual(new Uint8Array(await readFile(path)), expected);
  assert.deepEqual(await readdir(folder), ['image.raw']);
  await sink.abort();
  assert.deepEqual(await readdir(folder), ['image.raw']);
});

test('a sink that finishes shorter than it was written cuts the rest', async (context) => {
  const path = join(await testFolder(context), 'image.raw');
  const sink = await fileSink(path);
  await sink.write(0, pattern(100));
  await sink.finish(40);
  assert.deepEqual(new Uint8Array(await readFile(path)), pattern(40));
});

test('an aborted sink leaves nothing, and what stood there before stays', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'image.raw');
  await writeFile(path, 'before');
  const sink = await fileSink(path);
  await sink.write(0, pattern(100));
  await sink.abort();
  await sink.abort();
  assert.deepEqual(await readdir(folder), ['image.raw']);
  assert.equal(await readFile(path, 'utf8'), 'before');
});

test('a private file stays private when it is replaced', async (context) => {
  const path = join(await testFolder(context), 'image.raw');
  await writeFile(path, 'before', { mode: 0o600 });
  const sink = await fileSink(path);
  await sink.finish(1);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('a finished file is inspected before it has its name, and never gets it when that fails', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'image.raw');
  await writeFile(path, 'before');
  const seen: string[] = [];
  const inspect = async (partial: string) => {
    seen.push(`${(await stat(partial)).size} ${await readFile(path, 'utf8')}`);
    if (seen.length === 2) throw new Error('not good');
  };
  await (await fileSink(path, { inspect })).finish(7);
  assert.equal((await stat(path)).size, 7);
  await writeFile(path, 'before');
  const sink = await fileSink(path, { inspect });
  await assert.rejects(sink.finish(8), /not good/);
  await sink.abort();
  assert.deepEqual(seen, ['7 before', '8 before']);
  assert.equal(await readFile(path, 'utf8'), 'before');
  assert.deepEqual(await readdir(folder), ['image.raw']);
});

test('a sink over a folder or a device is refused before anything is written', async (context) => {
  const folder = await testFolder(context);
  await assert.rejects(fileSink(folder), { code: 'STORE_EXISTS', where: folder });
  await assert.rejects(fileSink('/dev/null'), { code: 'STORE_EXISTS', where: '/dev/null' });
  await assert.rejects(fileSink(join(folder, 'absent', 'image')), { code: 'STORE_NOT_FOUND' });
  assert.deepEqual(await readdir(folder), []);
});

test('a file that may not grow further is STORE_FULL, and abort leaves nothing', async (context) => {
  const folder = await testFolder(context);
  const program = `
    import { fileSink } from ${JSON.stringify(import.meta.resolve('./node-file.ts'))};
    const sink = await fileSink(process.argv[1]);
    try {
      for (let i = 0; i < 10; i++) await sink.write(i * 65536, new Uint8Array(65536).fill(1));
    } catch (error) {
      await sink.abort();
      console.log(error.code);
    }`;
  const child = [
    '--fsize=262144',
    process.execPath,
    '--input-type=module',
    '-e',
    program,
    join(folder, 'image'),
  ];
  assert.equal((await run('prlimit', child)).stdout, 'STORE_FULL\n');
  assert.deepEqual(await readdir(folder), []);
});

test('a full disk is STORE_FULL', async () => {
  await assert.rejects(
    writeFile('/dev/full', 'x').catch((error) => {
      throw storeError(error, '/dev/full');
    }),
    { code: 'STORE_FULL', where: '/dev/full' },
  );
});

test('only failures of system calls become store errors', () => {
  const mine = new StoreError('STORE_CORRUPT', 'wrong hash', { where: 'block' });
  for (const error of [mine, new TypeError('ours'), AbortSignal.abort().reason, 'text', undefined]) {
    assert.equal(storeError(error, 'x'), error);
  }
});
