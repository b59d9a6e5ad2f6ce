import assert from 'node:assert/strict';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { testFolder, tool } from '../formats/images.testkit.ts';
import type { ByteRange, ByteSource } from './byte-source.ts';
import { memorySink, memorySource } from './memory.ts';
import { useAccelerator } from './node-accelerator.ts';
import { fileDescriptorOf, fileSink, fileSource, sinkDescriptorOf } from './node-file.ts';

const KIB = 1024;
const GIB = 1024 ** 3;

useAccelerator('required');

/** A file with 64 KiB of data at each of these offsets. */
async function sparseSource(
  context: TestContext,
  lengthBytes: number,
  offsets: readonly number[],
): Promise<{ path: string; source: ByteSource }> {
  const path = join(await testFolder(context), 'image.raw');
  const file: FileHandle = await open(path, 'w');
  for (const offset of offsets) await file.write(new Uint8Array(64 * KIB).fill(1), 0, 64 * KIB, offset);
  await file.truncate(lengthBytes);
  await file.close();
  const source = await fileSource(path);
  context.after(() => source.close());
  return { path, source };
}

async function rangesOf(source: ByteSource, from = 0, to = source.lengthBytes): Promise<ByteRange[]> {
  const ranges: ByteRange[] = [];
  for await (const range of source.allocatedRanges?.(from, to) ?? []) ranges.push(range);
  return ranges;
}

test('a sparse file tells where its data is, clipped to what is asked for', async (context) => {
  const { path, source } = await sparseSource(context, 3 * GIB, [256 * KIB, GIB, 2 * GIB]);
  const ranges = await rangesOf(source);
  const script = `
import os, sys
fd, at = os.open(sys.argv[1], os.O_RDONLY), 0
try:
    while True:
        start = os.lseek(fd, at, os.SEEK_DATA)
        at = os.lseek(fd, start, os.SEEK_HOLE)
        print(start, at - start)
except OSError: pass`;
  const seen = (await tool('python3', '-c', script, path)).trim().split('\n');
  assert.deepEqual(
    ranges.map((range) => `${range.offsetBytes} ${range.lengthBytes}`),
    seen,
  );
  assert.deepEqual(await rangesOf(source, GIB + 1000, GIB + 9000), [
    { offsetBytes: GIB + 1000, lengthBytes: 8000 },
  ]);
  assert.deepEqual(await rangesOf(source, 600 * KIB, GIB), []);
  assert.deepEqual(await rangesOf(source, 5000, 5000), []);
  const last = await rangesOf(source, GIB + 4000, 3 * GIB);
  assert.deepEqual(
    last.map((range) => range.offsetBytes),
    [GIB + 4000, 2 * GIB],
  );
});

test('a file of very many ranges lets other work in between, and can be left at any', async (context) => {
  const offsets = Array.from({ length: 5000 }, (_, i) => i * 128 * KIB);
  const { source } = await sparseSource(context, 5000 * 128 * KIB, offsets);
  let turns = 0;
  const count = () => {
    turns++;
    pending = setImmediate(count);
  };
  let pending = setImmediate(count);
  const ranges = await rangesOf(source);
  clearImmediate(pending);
  assert.equal(ranges.length, 5000);
  assert.ok(turns > 0);
  const stop = new AbortController();
  await assert.rejects(
    async () => {
      for await (const { offsetBytes } of source.allocatedRanges?.(0, GIB, stop.signal) ?? [])
        if (offsetBytes > GIB / 4) stop.abort(new Error('enough'));
    },
    { message: 'enough' },
  );
});

test('without the accelerator nothing is known about holes', async (context) => {
  useAccelerator('off');
  context.after(() => useAccelerator('required'));
  const { source } = await sparseSource(context, GIB, [0]);
  assert.equal(source.allocatedRanges, undefined);
});

test('a source and a sink that are files have a descriptor while they are open', async (context) => {
  const folder = await testFolder(context);
  const sink = await fileSink(join(folder, 'image'));
  assert.equal(typeof sinkDescriptorOf(sink), 'number');
  await sink.finish(10);
  assert.equal(sinkDescriptorOf(sink), undefined);
  const source = await fileSource(join(folder, 'image'));
  assert.equal(typeof fileDescriptorOf(source), 'number');
  await source.close();
  assert.equal(fileDescriptorOf(source), undefined);
  assert.equal(fileDescriptorOf(memorySource(new Uint8Array(4))), undefined);
  assert.equal(sinkDescriptorOf(memorySink()), undefined);
});
