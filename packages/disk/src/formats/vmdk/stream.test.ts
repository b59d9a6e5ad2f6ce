import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Progress } from '../../convert/progress.ts';
import type { Disk } from '../../disk/disk.ts';
import { GRAIN, noise, openBytes, pattern, planStream, readAt, sparseDisk, written } from './vmdk.testkit.ts';

const MIB = 1024 * 1024;

const disk = sparseDisk(
  200 * MIB + 512,
  new Map([
    [GRAIN, noise(5 * MIB)],
    [100 * MIB, pattern(10 * MIB)],
    [150 * MIB, noise(MIB)],
    [200 * MIB, noise(512)],
  ]),
);

test('chunks follow each other from the start, about 1 MiB each, and end below the promised length', async () => {
  const stream = await planStream(disk);
  assert.equal(stream.frontBytes, 0);
  let end = 0;
  const lengths: number[] = [];
  for await (const { offsetBytes, bytes } of stream.chunks({})) {
    assert.equal(offsetBytes, end);
    end += bytes.length;
    lengths.push(bytes.length);
  }
  assert.ok(lengths.slice(0, -1).every((length) => length >= MIB && length < 2.1 * MIB));
  assert.ok(end <= stream.maximumLengthBytes);
  assert.ok(stream.maximumLengthBytes < 17 * MIB);
});

test('a stream of bytes that do not compress stays below the promised length, and close to it', async () => {
  const full = sparseDisk(4 * MIB, new Map([[0, noise(4 * MIB)]]));
  const stream = await planStream(full);
  const file = await written(full, 'streamOptimized');
  assert.ok(file.length <= stream.maximumLengthBytes);
  assert.ok(file.length > stream.maximumLengthBytes - 64 * 512);
});

test('two runs of one plan give the same bytes', async () => {
  const stream = await planStream(disk);
  const read = async () =>
    Buffer.concat((await Array.fromAsync(stream.chunks({}))).map((chunk) => chunk.bytes));
  assert.ok((await read()).equals(await read()));
});

test('a run goes on from any checkpoint with the bytes of the first', async () => {
  const chunks: { offsetBytes: number; bytes: Uint8Array; checkpoint: Uint8Array | undefined }[] = [];
  for await (const { offsetBytes, bytes, checkpoint } of (await planStream(disk)).chunks({})) {
    chunks.push({ offsetBytes, bytes, checkpoint: checkpoint?.() });
  }
  const whole = Buffer.concat(chunks.map((chunk) => chunk.bytes));
  const checkpoints = chunks.filter((chunk) => chunk.checkpoint !== undefined);
  assert.ok(checkpoints.length >= 4);
  for (const { offsetBytes, bytes, checkpoint } of checkpoints) {
    const rest = await Array.fromAsync((await planStream(disk)).chunks({ resumeFrom: checkpoint }));
    assert.equal(rest[0]!.offsetBytes, offsetBytes + bytes.length);
    assert.ok(
      Buffer.concat(rest.map((chunk) => chunk.bytes)).equals(whole.subarray(offsetBytes + bytes.length)),
    );
  }
});

test('progress rises in the phase of compression to the whole disk', async () => {
  const seen: Progress[] = [];
  const stream = await planStream(disk);
  for await (const _ of stream.chunks({ onProgress: (progress) => seen.push(progress) }));
  const done = seen.map((progress) => progress.doneBytes);
  assert.deepEqual(
    done,
    done.toSorted((a, b) => a - b),
  );
  assert.equal(done.at(-1), disk.virtualSizeBytes);
  assert.ok(
    seen.every(({ phase, totalBytes }) => phase === 'compress' && totalBytes === disk.virtualSizeBytes),
  );
});

test('no more than a few MiB are read ahead of what was taken', async () => {
  let readBytes = 0;
  const full = sparseDisk(32 * MIB, new Map([[0, noise(32 * MIB)]]));
  const counted: Disk = {
    ...full,
    async read(offset, into) {
      readBytes += into.length;
      await full.read(offset, into);
    },
  };
  const stream = await planStream(counted);
  const chunks = stream.chunks({});
  await chunks.next();
  await chunks.return();
  assert.ok(readBytes > 0 && readBytes <= 6 * MIB);
});

test('an abort and a failing disk end the stream with their reason', async () => {
  const reason = new Error('enough');
  const aborting = new AbortController();
  const aborted = async () => {
    for await (const _ of (await planStream(disk)).chunks({ signal: aborting.signal }))
      aborting.abort(reason);
  };
  await assert.rejects(aborted, reason);
  const broken: Disk = { ...disk, read: () => Promise.reject(reason) };
  await assert.rejects(async () => Array.fromAsync((await planStream(broken)).chunks({})), reason);
});

test('grains of zeros inside data are left out of the file and read as holes', async () => {
  const zeros = sparseDisk(MIB, new Map([[0, new Uint8Array(MIB)]]));
  const read = await openBytes(await written(zeros, 'streamOptimized'));
  assert.deepEqual(await Array.fromAsync(read.extents(0, MIB)), [
    { offsetBytes: 0, lengthBytes: MIB, kind: 'hole' },
  ]);
  assert.deepEqual(await readAt(read, 0, MIB), new Uint8Array(MIB));
});
