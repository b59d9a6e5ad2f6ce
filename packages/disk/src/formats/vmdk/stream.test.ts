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

for (const tables of ['end', 'front']) {
  test(`chunks follow each other, about 1 MiB each, below the promised length (tables=${tables})`, async () => {
    const stream = await planStream(disk, { tables });
    assert.equal(stream.frontBytes > 0, tables === 'front');
    let end = stream.frontBytes;
    let lengthBytes = 0;
    const lengths: number[] = [];
    for await (const { offsetBytes, bytes } of stream.chunks({})) {
      if (offsetBytes === 0) end = 0;
      assert.equal(offsetBytes, end);
      end += bytes.length;
      lengthBytes = Math.max(lengthBytes, end);
      lengths.push(bytes.length);
    }
    assert.ok(lengths.slice(0, -2).every((length) => length >= MIB && length < 2.1 * MIB));
    if (stream.frontBytes > 0) assert.equal(end, stream.frontBytes, 'the front comes last, and whole');
    assert.ok(lengthBytes <= stream.maximumLengthBytes);
    assert.ok(stream.maximumLengthBytes < 17 * MIB);
  });

  test(`a stream of bytes that do not compress comes close to the promised length (tables=${tables})`, async () => {
    const full = sparseDisk(4 * MIB, new Map([[0, noise(4 * MIB)]]));
    const stream = await planStream(full, { tables });
    const file = await written(full, 'streamOptimized', { tables });
    assert.ok(file.length <= stream.maximumLengthBytes);
    assert.ok(file.length > stream.maximumLengthBytes - 64 * 512);
  });
}

test('a disk that arrives is not walked for its bound, which is that of a full one', async () => {
  const arriving: Disk = { ...disk, sequential: true, extents: () => assert.fail('seen only once') };
  const { maximumLengthBytes } = await planStream(arriving);
  assert.ok(maximumLengthBytes > 200 * MIB && maximumLengthBytes < 203 * MIB);
});

test('two runs of one plan give the same bytes', async () => {
  const stream = await planStream(disk);
  const read = async () =>
    Buffer.concat(await Array.fromAsync(stream.chunks({}), (chunk) => chunk.bytes.slice()));
  assert.ok((await read()).equals(await read()));
});

for (const tables of ['end', 'front']) {
  test(`a run goes on from any checkpoint with the bytes of the first (tables=${tables})`, async () => {
    const run = async (resumeFrom?: Uint8Array) => {
      const parts: { offsetBytes: number; bytes: Uint8Array; checkpoint: Uint8Array | undefined }[] = [];
      const stream = await planStream(disk, { tables });
      for await (const { offsetBytes, bytes, checkpoint } of stream.chunks({ resumeFrom })) {
        parts.push({ offsetBytes, bytes: bytes.slice(), checkpoint: checkpoint?.() });
      }
      return parts;
    };
    const chunks = await run();
    assert.ok(chunks.filter(({ checkpoint }) => checkpoint !== undefined).length >= 4);
    for (const [i, { checkpoint }] of chunks.entries()) {
      if (checkpoint === undefined) continue;
      const rest = await run(checkpoint);
      const wanted = chunks.slice(i + 1);
      assert.deepEqual(
        rest.map(({ offsetBytes }) => offsetBytes),
        wanted.map(({ offsetBytes }) => offsetBytes),
      );
      const bytesOf = (parts: typeof chunks) => Buffer.concat(parts.map(({ bytes }) => bytes));
      assert.ok(bytesOf(rest).equals(bytesOf(wanted)));
    }
  });
}

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

test('what is read ahead of what was taken is bounded', async () => {
  let readBytes = 0;
  const full = sparseDisk(128 * MIB, new Map([[0, noise(128 * MIB)]]));
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
  assert.ok(readBytes > 0 && readBytes <= 64 * MIB, `${readBytes} bytes`);
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
