import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import {
  assertExtentsTellTheTruth,
  assertSameBytes,
  diskBytes,
  openBytes,
  recordingSource,
} from '../images.testkit.ts';
import { probeFormat } from '../probe.ts';
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';
import { checkZvhd, checkZvhd2 } from './check.ts';
import { zvhd, zvhd2 } from './format.ts';
import { BLOCK_BYTES, blockContent, continuousPayloads, guestBytes, zvhdFile } from './zvhd.testkit.ts';

const GOLDEN_SHA256 = '48a6bf0b355695c58a09698468aa8e1fc49597e7b0773a81bfb163fba083d806';

async function golden(name: string): Promise<Uint8Array> {
  return new Uint8Array(gunzipSync(await readFile(new URL(`golden/${name}.gz`, import.meta.url))));
}

for (const format of [zvhd, zvhd2]) {
  test(`the reference driver's ${format.title} is known by its mark and read to the byte`, async () => {
    const file = await golden(`ref-small.${format.name}`);
    assert.equal((await probeFormat(memorySource(file))).name, format.name);
    const disk = await openBytes(format, file);
    assert.equal(disk.virtualSizeBytes, 9_438_720);
    assert.equal(disk.details.currentSizeBytes, 2 ** 30);
    assert.deepEqual(disk.warnings, []);
    const bytes = await diskBytes(disk);
    assert.equal(createHash('sha256').update(bytes).digest('hex'), GOLDEN_SHA256);
    await assertExtentsTellTheTruth(disk);
    await assertRunsTellTheTruth(disk);
    const extents = await Array.fromAsync(disk.extents(0, disk.virtualSizeBytes));
    assert.deepEqual(
      extents.map(({ kind, offsetBytes }) => [kind, offsetBytes / BLOCK_BYTES]),
      [
        ['data', 0],
        ['hole', 1],
        ['data', 2],
        ['hole', 3],
        ['data', 4],
      ],
    );
    const check = format === zvhd ? checkZvhd : checkZvhd2;
    assert.deepEqual((await check(memorySource(file), { references: denyReferences })).findings, []);
  });
}

test('any range of any form is the slice of the whole disk', async () => {
  const sizeBytes = 4 * BLOCK_BYTES - 1536;
  const blocks = [0, 2, 3];
  const payloads = await continuousPayloads(blocks.map((block) => blockContent(block)));
  const records = blocks.map((block, i) => ({ block, payload: payloads[i] ?? new Uint8Array(0) }));
  const origSize = BigInt(sizeBytes);
  const expected = guestBytes(blocks, sizeBytes);
  const independent = guestBytes([0, 2], sizeBytes);
  const forms = [
    [zvhd, zvhdFile({ kind: 'zvhd', origSize, records }), expected],
    [zvhd, zvhdFile({ kind: 'zvhd', origSize }), independent],
    [zvhd2, zvhdFile({ origSize, blockCount: 4 }), independent],
    [zvhd2, zvhdFile({ origSize, blockCount: 4, method: 0 }), independent],
    [zvhd2, zvhdFile({ origSize, blockCount: 4, hasZeroEntries: true }), independent],
  ] as const;
  for (const [format, file, whole] of forms) {
    const disk = await openBytes(format, file);
    assertSameBytes(await diskBytes(disk), whole);
    await assertExtentsTellTheTruth(disk);
    await assertRunsTellTheTruth(disk, 5000, sizeBytes - 7);
    await fc.assert(
      fc.asyncProperty(fc.nat(sizeBytes), fc.nat(3_000_000), async (from, length) => {
        const part = new Uint8Array(Math.min(length, sizeBytes - from)).fill(0x77);
        await disk.read(from, part);
        assertSameBytes(part, whole.subarray(from, from + part.length));
      }),
      { numRuns: 12 },
    );
  }
});

test('blocks of 1 MiB and of 32 MiB are read', async () => {
  for (const blockSize of [2 ** 20, 2 ** 25]) {
    const disk = await openBytes(zvhd2, zvhdFile({ blockSize, origSize: BigInt(3 * blockSize) }));
    const part = new Uint8Array(5000);
    await disk.read(2 * blockSize - 1000, part);
    assertSameBytes(part.subarray(1000), blockContent(2, blockSize).subarray(0, 4000));
    assert.ok(part.subarray(0, 1000).every((byte) => byte === 0));
  }
});

test('opening a ZVHD reads both ends, and its records are found as they are asked for', async () => {
  const source = recordingSource(zvhdFile({ kind: 'zvhd' }));
  const disk = await zvhd.open(source, { references: denyReferences });
  assert.ok(source.reads.every(([at]) => at === 0 || at === source.lengthBytes - 4096));
  source.reads.length = 0;
  await disk.read(0, new Uint8Array(100));
  assert.deepEqual(
    source.reads.map(([, length]) => length <= 48 || length % 4096 === 0),
    [true, true],
  );
});

test('a block is decompressed once for reads of parts of it', async () => {
  const source = recordingSource(zvhdFile());
  const disk = await zvhd2.open(source, { references: denyReferences });
  source.reads.length = 0;
  const part = () => new Uint8Array(BLOCK_BYTES / 4);
  await Promise.all([0, 1, 2, 3].map((i) => disk.read((i * BLOCK_BYTES) / 4, part())));
  await disk.read(1000, part());
  assert.equal(source.reads.length, 1);
});

async function longContinuous(count: number): Promise<Uint8Array> {
  const blocks = Array.from({ length: count }, (_, block) => block);
  const payloads = await continuousPayloads(blocks.map((block) => blockContent(block)));
  const records = blocks.map((block) => ({ block, payload: payloads[block] ?? new Uint8Array(0) }));
  return zvhdFile({ kind: 'zvhd', origSize: BigInt(count * BLOCK_BYTES), records });
}

test('one continuous stream is read forward in one go, and back to its front a limited number of times', async () => {
  const count = 21;
  const source = recordingSource(await longContinuous(count));
  const disk = await zvhd.open(source, { references: denyReferences });
  const read = async (block: number) => {
    const part = new Uint8Array(1000);
    await disk.read(block * BLOCK_BYTES + 70_000, part);
    assertSameBytes(part, blockContent(block).subarray(70_000, 71_000), `block ${block}`);
  };
  for (const block of [0, 1]) await read(block);
  await Promise.all(Array.from({ length: 8 }, (_, i) => read(2 + i)));
  for (let block = 10; block < count; block++) await read(block);
  // A head and a record for each, the two headers, and what the walk looks at behind the last.
  assert.ok(source.reads.length <= 2 * count + 6, `${source.reads.length} reads`);
  await assert.rejects(
    async () => {
      for (let round = 0; round < 20; round++) {
        for (const block of [2, 14, 15, 16, 17, 18, 19, 20]) await read(block);
      }
    },
    { code: 'IMAGE_NOT_SEQUENTIAL' },
  );
});

test('an older and an unknown driver are told, and so are odd sizes', async () => {
  const warningsOf = async (fields: Parameters<typeof zvhdFile>[0]) =>
    (await openBytes(zvhd2, zvhdFile(fields))).warnings.length;
  assert.deepEqual(
    [
      await warningsOf({}),
      await warningsOf({ creatorVersion: 0x00010003 }),
      await warningsOf({ creatorVersion: 0x00010005 }),
      await warningsOf({ currSize: 5n }),
      await warningsOf({ origSize: BigInt(4 * BLOCK_BYTES - 1), blockCount: 4 }),
    ],
    [0, 1, 1, 1, 1],
  );
});

test('an aborted read throws the reason', async () => {
  const disk = await openBytes(zvhd2, zvhdFile());
  const reason = new Error('enough');
  await assert.rejects(disk.read(0, new Uint8Array(10), AbortSignal.abort(reason)), reason);
});
