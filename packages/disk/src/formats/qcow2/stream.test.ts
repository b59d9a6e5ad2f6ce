import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import { assertSameBytes, openBytes, patternDisk, testFolder } from '../images.testkit.ts';
import { rawDisk } from '../raw/format.ts';
import { checkQcow2 } from './check.ts';
import { qcow2 } from './format.ts';
import { assertQemuReadsAs, assertReadsAs, type Content, contentDisk, contents } from './qcow2.testkit.ts';

async function planStream(
  disk: Disk,
  compression: 'zlib' | 'zstd',
  options: Readonly<Record<string, string>> = {},
): Promise<ImageStream> {
  const plan = await qcow2.plan?.(disk, { options, compression, seed: new Uint8Array(32), baseName: 'disk' });
  assert.equal(plan?.kind, 'stream');
  return plan as ImageStream;
}

/** The file of a stream; asserts that its chunks come in the order that streams promise. */
async function streamBytes(stream: ImageStream): Promise<Uint8Array> {
  const file = new Uint8Array(stream.maximumLengthBytes);
  let lengthBytes = stream.frontBytes;
  let frontBytes = 0;
  for await (const { offsetBytes, bytes } of stream.chunks({})) {
    assert.ok(bytes.length > 0);
    if (offsetBytes >= stream.frontBytes) {
      assert.equal(frontBytes, 0, 'the front comes last');
      assert.equal(offsetBytes, lengthBytes, 'each chunk begins where the one before ended');
      lengthBytes += bytes.length;
    } else {
      assert.equal(offsetBytes, frontBytes);
      frontBytes += bytes.length;
    }
    file.set(bytes, offsetBytes);
  }
  assert.equal(frontBytes, stream.frontBytes, 'the front is whole');
  return file.subarray(0, lengthBytes);
}

function sectors(bytes: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil(bytes.length / 512) * 512);
  padded.set(bytes);
  return padded;
}

const asked = fc.constantFrom(
  { compression: 'zlib' as const, options: { compat: '1.1', cluster_size: '65536' } },
  { compression: 'zlib' as const, options: { compat: '0.10', cluster_size: '65536' } },
  { compression: 'zlib' as const, options: { compat: '1.1', cluster_size: '512' } },
  { compression: 'zlib' as const, options: { compat: '1.1', cluster_size: '4096' } },
  { compression: 'zlib' as const, options: { compat: '1.1', cluster_size: '2097152' } },
  { compression: 'zstd' as const, options: { compat: '1.1', cluster_size: '65536' } },
  { compression: 'zstd' as const, options: { compat: '1.1', cluster_size: '512' } },
  { compression: 'zstd' as const, options: { compat: '1.1', cluster_size: '2097152' } },
);

test('a compressed file reads as its disk, for us and for qemu-img, and its check is clean', async (context) => {
  const folder = await testFolder(context);
  await fc.assert(
    fc.asyncProperty(contents, asked, async (content, { compression, options }) => {
      const { disk, bytes } = contentDisk(content);
      const stream = await planStream(disk, compression, options);
      const image = await streamBytes(stream);
      const what = JSON.stringify({ content, compression, options });
      assert.ok(image.length <= stream.maximumLengthBytes);
      assert.equal(image.length % Number(options.cluster_size), 0, 'the file ends at a cluster');
      await assertReadsAs(await openBytes(qcow2, image), sectors(bytes), what);
      const report = await checkQcow2(memorySource(image), { references: denyReferences });
      assert.deepEqual(report.findings, [], what);
      await assertQemuReadsAs(folder, image, bytes, what);
    }),
    { numRuns: 25 },
  );
});

const mixed: Content = {
  lengthBytes: 3_000_000,
  pieces: [
    { at: 0, length: 65536, kind: 'text' },
    { at: 65536, length: 65536, kind: 'noise' },
    { at: 131_072, length: 65536, kind: 'text' },
    { at: 262_144, length: 262_144, kind: 'zeros' },
    { at: 1_000_000, length: 1_500_000, kind: 'noise' },
    { at: 2_500_000, length: 100_000, kind: 'text' },
  ],
};

test('noise is stored as it is, text smaller, and clusters that are all zero not at all', async () => {
  const { disk, bytes } = contentDisk(mixed);
  for (const compression of ['zlib', 'zstd'] as const) {
    const stream = await planStream(disk, compression);
    const image = await openBytes(qcow2, await streamBytes(stream));
    const extents = await Array.fromAsync(image.extents(0, image.virtualSizeBytes));
    const kindAt = (offset: number) => {
      const extent = extents.find((e) => offset >= e.offsetBytes && offset < e.offsetBytes + e.lengthBytes);
      return extent?.compressed ? 'compressed' : extent?.kind;
    };
    assert.deepEqual([0, 65536, 131_072, 262_144, 1_500_000, 2_600_000, 2_900_000].map(kindAt), [
      'compressed',
      'data',
      'compressed',
      'hole',
      'data',
      'compressed',
      'hole',
    ]);
    await assertReadsAs(image, sectors(bytes), compression);
  }
});

test('two runs give the same file, however slowly the disk answers', async () => {
  const { disk } = contentDisk(mixed);
  let turn = 0;
  const uneven: Disk = {
    ...disk,
    async read(offset, into) {
      for (let wait = (turn++ * 7) % 5; wait > 0; wait--) await new Promise((done) => setImmediate(done));
      await disk.read(offset, into);
    },
  };
  const stream = await planStream(disk, 'zlib', { cluster_size: '4096' });
  const first = await streamBytes(stream);
  assertSameBytes(await streamBytes(stream), first);
  assertSameBytes(await streamBytes(await planStream(uneven, 'zlib', { cluster_size: '4096' })), first);
});

test('a compressed file of 20 TiB with little data is small', async () => {
  const TIB = 2 ** 40;
  const disk = patternDisk(20 * TIB, [
    [0, 70_000],
    [20 * TIB - 1000, 1000],
  ]);
  const stream = await planStream(disk, 'zstd');
  const image = await openBytes(qcow2, await streamBytes(stream));
  const tail = new Uint8Array(1000);
  await image.read(20 * TIB - 1000, tail);
  const expected = new Uint8Array(1000);
  await disk.read(20 * TIB - 1000, expected);
  assertSameBytes(tail, expected);
});

test('progress rises to the size of the disk', async () => {
  const { disk } = contentDisk(mixed);
  const done: number[] = [];
  const onProgress = ({
    phase,
    doneBytes,
    totalBytes,
  }: {
    phase: string;
    doneBytes: number;
    totalBytes: number;
  }) => {
    assert.deepEqual([phase, totalBytes], ['compress', mixed.lengthBytes]);
    done.push(doneBytes);
  };
  for await (const _ of (await planStream(disk, 'zlib')).chunks({ onProgress }));
  assert.deepEqual(
    done,
    done.toSorted((a, b) => a - b),
  );
  assert.equal(done.at(-1), mixed.lengthBytes);
});

test('what repeats at a distance above 4 KiB is found with the wide window, and qemu reads both', async (context) => {
  const folder = await testFolder(context);
  const bytes = new Uint8Array(2 ** 20);
  let state = 9;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = i % 65536 < 20_000 ? state >>> 24 : (bytes[i - 20_000] ?? 0);
  }
  const disk = rawDisk(memorySource(bytes));
  const lengths: number[] = [];
  for (const deflate_window of ['12', '15']) {
    const image = await streamBytes(await planStream(disk, 'zlib', { deflate_window }));
    await assertQemuReadsAs(folder, image, bytes, deflate_window);
    lengths.push(image.length);
  }
  assert.ok((lengths[1] ?? 0) < (lengths[0] ?? 0) * 0.6, lengths.join());
});

test('a disk that arrives is compressed in one walk', async () => {
  const { disk, bytes } = contentDisk(mixed);
  let walks = 0;
  const arriving: Disk = {
    ...disk,
    sequential: true,
    extents(from, to, signal) {
      walks++;
      return disk.extents(from, to, signal);
    },
  };
  const stream = await planStream(arriving, 'zstd');
  assert.equal(walks, 0);
  const image = await streamBytes(stream);
  assert.equal(walks, 1);
  await assertReadsAs(await openBytes(qcow2, image), sectors(bytes), 'an arriving disk');
});

test('compression has no subclusters and no backing file', async () => {
  for (const options of [
    { extended_l2: 'on' },
    { backing_file: 'a', backing_fmt: 'raw', backing_holes: 'backing' },
  ]) {
    await assert.rejects(planStream(patternDisk(512, []), 'zlib', options), { code: 'IMAGE_OPTION' });
  }
  await assert.rejects(planStream(patternDisk(512, []), 'zstd', { deflate_window: '12' }), {
    code: 'IMAGE_OPTION',
  });
});

test('version 2 knows no zstd', async () => {
  await assert.rejects(planStream(patternDisk(512, []), 'zstd', { compat: '0.10' }), {
    code: 'IMAGE_OPTION',
  });
});

test('an aborted stream throws the reason', async () => {
  const { disk } = contentDisk(mixed);
  const reason = new Error('enough');
  const stream = await planStream(disk, 'zlib');
  await assert.rejects(Array.fromAsync(stream.chunks({ signal: AbortSignal.abort(reason) })), reason);
});
