import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { GIB, MIB, TIB } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Format } from '../format.ts';
import {
  assertSameBytes,
  diskBytes,
  openBytes,
  patternDisk,
  type Runs,
  testFolder,
  tool,
} from '../images.testkit.ts';
import { zvhd, zvhd2 } from './format.ts';
import { assertStrict, BLOCK_BYTES, streamBytes } from './zvhd.testkit.ts';

const SIZE = 9 * MIB + 512;
const RUNS: Runs = [
  [700_000, MIB],
  [4 * MIB, 100],
  [9 * MIB, 512],
];

/** A disk with noise in one block, which no compressor makes shorter. */
function noisyDisk(): Disk {
  const disk = patternDisk(SIZE, [...RUNS.slice(0, 2), [6 * MIB, 2 * MIB], ...RUNS.slice(2)]);
  const noise = new Uint8Array(2 * MIB);
  let state = 42;
  for (let i = 0; i < noise.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    noise[i] = state >>> 24;
  }
  return {
    ...disk,
    async read(offset, into) {
      await disk.read(offset, into);
      const from = Math.max(offset, 6 * MIB);
      const to = Math.min(offset + into.length, 8 * MIB);
      if (from < to) into.set(noise.subarray(from - 6 * MIB, to - 6 * MIB), from - offset);
    },
  };
}

/** A disk that compresses to about half, with a hole in it. */
function denseDisk(sizeBytes: number): Disk {
  return {
    ...patternDisk(sizeBytes, [
      [0, 5 * MIB],
      [8 * MIB, sizeBytes - 8 * MIB],
    ]),
    async read(offset, into) {
      for (let i = 0; i < into.length; i++) {
        const mixed = Math.imul((offset + i) ^ ((offset + i) >>> 15), 0x2c1b3c6d);
        into[i] = Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39) >>> 28;
      }
    },
  };
}

async function plan(format: Format, disk: Disk, options: Record<string, string> = {}): Promise<ImageStream> {
  const made = await format.plan?.(disk, { options, seed: new Uint8Array(32), baseName: 'disk' });
  assert.equal(made?.kind, 'stream');
  return made as ImageStream;
}

const forms = [
  ['ZVHD', zvhd, {}, 'zlib'],
  ['ZVHD2', zvhd2, {}, 'zstd'],
  ['ZVHD2 zlib', zvhd2, { compression: 'zlib' }, 'zlib'],
] as const;

for (const [name, format, options, method] of forms) {
  const kind = format === zvhd ? 'zvhd' : 'zvhd2';

  test(`a written ${name} holds to every rule, is read again and has no findings`, async () => {
    for (const disk of [patternDisk(SIZE, RUNS), patternDisk(512, []), noisyDisk()]) {
      const file = await streamBytes(await plan(format, disk, options));
      assertStrict(file, kind, method, disk.virtualSizeBytes);
      const again = await openBytes(format, file);
      assert.deepEqual(again.warnings, []);
      assertSameBytes(await diskBytes(again), await diskBytes(disk));
      const report = await format.check?.(memorySource(file), { references: denyReferences });
      assert.deepEqual(report?.findings, []);
    }
  });

  test(`a ${name} goes on from any checkpoint with the same bytes`, async () => {
    const disk = denseDisk(15 * MIB + 512);
    const stream = await plan(format, disk, options);
    const whole = await streamBytes(stream);
    let resumed = 0;
    for await (const { offsetBytes, bytes, checkpoint } of stream.chunks({})) {
      if (checkpoint === undefined) continue;
      const rest = await streamBytes(stream, checkpoint());
      assertSameBytes(rest, whole.subarray(offsetBytes + bytes.length));
      resumed++;
    }
    assert.ok(resumed > 0);
  });

  test(`another seed changes the uuid of a ${name} and nothing else`, async () => {
    const disk = patternDisk(SIZE, RUNS);
    const one = await streamBytes(await plan(format, disk, options));
    const request = { options, seed: new Uint8Array(32).fill(1), baseName: 'disk' };
    const two = await streamBytes((await format.plan?.(disk, request)) as ImageStream);
    assert.deepEqual(assertStrict(one, kind, method, SIZE), assertStrict(two, kind, method, SIZE));
    assert.notDeepEqual(one.subarray(64, 84), two.subarray(64, 84));
    assert.equal(one.length, two.length);
  });
}

test("Python's zlib reads all payloads of a written ZVHD as the one stream that they are", async (t) => {
  const folder = await testFolder(t);
  const disk = noisyDisk();
  const payloads = assertStrict(await streamBytes(await plan(zvhd, disk)), 'zvhd', 'zlib', SIZE);
  await writeFile(join(folder, 'stream'), Buffer.concat([...payloads.values()]));
  const program = `
import sys, zlib
stream = zlib.decompressobj()
plain = stream.decompress(open(sys.argv[1], 'rb').read())
assert not stream.eof and not stream.unused_data
open(sys.argv[2], 'wb').write(plain)
`;
  await tool('python3', '-c', program, join(folder, 'stream'), join(folder, 'plain'));
  const plain = await readFile(join(folder, 'plain'));
  assert.equal(plain.length, payloads.size * BLOCK_BYTES, 'every block is whole');
  const expected = new Uint8Array(5 * BLOCK_BYTES);
  expected.set(await diskBytes(disk));
  for (const [i, block] of [...payloads.keys()].entries()) {
    const part = plain.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
    assertSameBytes(part, expected.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES));
  }
});

test('the zstd program reads every payload of a written ZVHD2', async (t) => {
  const folder = await testFolder(t);
  const disk = noisyDisk();
  const payloads = assertStrict(await streamBytes(await plan(zvhd2, disk)), 'zvhd2', 'zstd', SIZE);
  const expected = new Uint8Array(5 * BLOCK_BYTES);
  expected.set(await diskBytes(disk));
  for (const [block, payload] of payloads) {
    const path = join(folder, `${block}.zst`);
    await writeFile(path, payload);
    await tool('zstd', '-q', '-d', path);
    const plain = await readFile(join(folder, `${block}`));
    assertSameBytes(plain, expected.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES));
  }
});

test('a disk of many blocks has its index and bitmap in several segments', async () => {
  const disk = patternDisk(80 * GIB, [
    [0, 512],
    [70 * GIB, 4 * MIB],
  ]);
  const file = await streamBytes(await plan(zvhd2, disk));
  assertStrict(file, 'zvhd2', 'zstd', 80 * GIB);
  const again = await openBytes(zvhd2, file);
  const data = (await Array.fromAsync(again.extents(0, 80 * GIB))).filter(({ kind }) => kind === 'data');
  assert.deepEqual(
    data.map(({ offsetBytes }) => offsetBytes),
    [0, 70 * GIB, 70 * GIB + BLOCK_BYTES],
  );
});

test('sizes are rounded up to a sector; an empty disk and one above 64 TiB are refused', async () => {
  const odd = patternDisk(BLOCK_BYTES + 1, [[BLOCK_BYTES, 1]]);
  assert.equal(
    (await openBytes(zvhd, await streamBytes(await plan(zvhd, odd)))).virtualSizeBytes,
    BLOCK_BYTES + 512,
  );
  for (const format of [zvhd, zvhd2]) {
    await assert.rejects(plan(format, patternDisk(0, [])), { code: 'IMAGE_LIMIT' });
    await assert.rejects(plan(format, patternDisk(64 * TIB + 1, [])), { code: 'IMAGE_LIMIT' });
  }
});

test('the compression is asked for in one way or the other, not in two that differ', async () => {
  const disk = patternDisk(512, [[0, 512]]);
  const request = { seed: new Uint8Array(32), baseName: 'disk' };
  const zlib = await zvhd2.plan?.(disk, { ...request, options: {}, compression: 'zlib' });
  assertStrict(await streamBytes(zlib as ImageStream), 'zvhd2', 'zlib', 512);
  const both = { ...request, options: { compression: 'zlib' }, compression: 'zstd' } as const;
  await assert.rejects(async () => zvhd2.plan?.(disk, both), { code: 'IMAGE_OPTION' });
  await assert.rejects(plan(zvhd2, disk, { compression: 'lzma' }), { code: 'IMAGE_OPTION' });
});
