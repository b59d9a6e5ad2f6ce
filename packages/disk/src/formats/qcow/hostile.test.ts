import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { denyReferences } from '../../disk/reference-gate.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { memorySource } from '../../io/memory.ts';
import { assertSameBytes, testFolder } from '../images.testkit.ts';
import { checkQcow } from './check.ts';
import { qcow } from './format.ts';
import { qemuQcow, qemuRaw } from './qcow.testkit.ts';

const L1 = 48;
const references = denyReferences;

interface Image {
  readonly bytes: Buffer;
  readonly l2: number;
}

/** 4 MiB in clusters of 4 KiB, with data in the first 40 KiB. */
async function image(context: TestContext): Promise<Image> {
  const folder = await testFolder(context);
  const bytes = await readFile(await qemuQcow(join(folder, 'a.qcow'), '4m', ['write -P 1 0 40k']));
  return { bytes, l2: Number(bytes.readBigUInt64BE(L1)) };
}

async function readAll(bytes: Uint8Array): Promise<void> {
  const disk = await qcow.open(memorySource(bytes), { references });
  for await (const _ of disk.extents(0, disk.virtualSizeBytes));
  await disk.read(0, new Uint8Array(Math.min(disk.virtualSizeBytes, 2 ** 20)));
}

type Case = readonly [what: string, code: ImageErrorCode, change: (b: Buffer, image: Image) => unknown];

const cases: readonly Case[] = [
  ['no magic', 'IMAGE_MALFORMED', (b) => b.writeUInt8(0, 0)],
  ['version 2', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(2, 4)],
  ['a size of 1', 'IMAGE_MALFORMED', (b) => b.writeBigUInt64BE(1n, 24)],
  ['a size of 2^63', 'IMAGE_LIMIT', (b) => b.writeBigUInt64BE(2n ** 63n, 24)],
  ['a size above 64 TiB', 'IMAGE_LIMIT', (b) => b.writeBigUInt64BE(2n ** 46n + 512n, 24)],
  ['a size whose L1 table the file has not', 'IMAGE_TRUNCATED', (b) => b.writeBigUInt64BE(2n ** 45n, 24)],
  ['cluster_bits 8', 'IMAGE_MALFORMED', (b) => b.writeUInt8(8, 32)],
  ['cluster_bits 17', 'IMAGE_MALFORMED', (b) => b.writeUInt8(17, 32)],
  ['l2_bits 5', 'IMAGE_MALFORMED', (b) => b.writeUInt8(5, 33)],
  ['l2_bits 255', 'IMAGE_MALFORMED', (b) => b.writeUInt8(255, 33)],
  ['AES', 'IMAGE_UNSUPPORTED', (b) => b.writeUInt32BE(1, 36)],
  ['an L1 table in the header', 'IMAGE_MALFORMED', (b) => b.writeBigUInt64BE(40n, 40)],
  ['an L1 table beyond the end', 'IMAGE_TRUNCATED', (b) => b.writeBigUInt64BE(2n ** 40n, 40)],
  ['an L1 table at 2^63', 'IMAGE_LIMIT', (b) => b.writeBigUInt64BE(2n ** 63n, 40)],
  [
    'a backing name of 1024 bytes',
    'IMAGE_MALFORMED',
    (b) => {
      b.writeBigUInt64BE(512n, 8);
      b.writeUInt32BE(1024, 16);
    },
  ],
  [
    'a backing name beyond the end',
    'IMAGE_TRUNCATED',
    (b) => b.writeUInt32BE(1, b.writeBigUInt64BE(2n ** 40n, 8)),
  ],
  ['a backing file', 'IMAGE_REFERENCE', (b) => b.writeUInt32BE(5, b.writeBigUInt64BE(600n, 8))],
  ['a file of 47 bytes', 'IMAGE_TRUNCATED', (b) => b.subarray(0, 47)],
  ['an L2 table beyond the end', 'IMAGE_TRUNCATED', (b) => b.writeBigUInt64BE(2n ** 50n, L1)],
  ['an L2 table at 2^60', 'IMAGE_LIMIT', (b) => b.writeBigUInt64BE(2n ** 60n, L1)],
  [
    'an L2 table inside of a sector',
    'IMAGE_MALFORMED',
    (b, { l2 }) => b.writeBigUInt64BE(BigInt(l2 + 8), L1),
  ],
  [
    'an L2 table on the L1 table',
    'IMAGE_MALFORMED',
    (b) => {
      b.writeBigUInt64BE(512n, 40);
      b.writeBigUInt64BE(512n, 512);
    },
  ],
  [
    'data on the L1 table',
    'IMAGE_MALFORMED',
    (b, { l2 }) => {
      b.copy(b, 512, L1, L1 + 16);
      b.writeBigUInt64BE(512n, 40);
      b.writeBigUInt64BE(512n, l2);
    },
  ],
  ['data beyond the end', 'IMAGE_TRUNCATED', (b, { l2 }) => b.writeBigUInt64BE(2n ** 50n, l2)],
  ['data inside of a sector', 'IMAGE_MALFORMED', (b, { l2 }) => b.writeBigUInt64BE(8200n, l2)],
  [
    'a compressed cluster of no bytes',
    'IMAGE_MALFORMED',
    (b, { l2 }) => b.writeBigUInt64BE(2n ** 63n + 8192n, l2),
  ],
  [
    'a compressed cluster beyond the end',
    'IMAGE_TRUNCATED',
    (b, { l2 }) => b.writeBigUInt64BE(2n ** 63n + 2n ** 51n + 2n ** 40n, l2),
  ],
  [
    'a compressed cluster of garbage',
    'IMAGE_MALFORMED',
    (b, { l2 }) => b.writeBigUInt64BE(2n ** 63n + 100n * 2n ** 51n + 8192n, l2),
  ],
  ['a file cut in its data', 'IMAGE_TRUNCATED', (b, { l2 }) => b.subarray(0, l2 + 3 * 4096)],
];

test('a hostile header or table is refused with the code of what is wrong', async (context) => {
  const made = await image(context);
  for (const [what, code, change] of cases) {
    const copy = Buffer.from(made.bytes);
    const changed = change(copy, made);
    await assert.rejects(readAll(Buffer.isBuffer(changed) ? changed : copy), { code }, what);
  }
});

test('a small file cannot show a large disk full of data, nor be walked for ever', async (context) => {
  const { bytes, l2 } = await image(context);
  const data = bytes.readBigUInt64BE(l2);
  const shared = Buffer.from(bytes);
  for (let i = 0; i < 512; i++) shared.writeBigUInt64BE(data, l2 + i * 8);
  await assert.rejects(readAll(shared), { code: 'IMAGE_LIMIT' });
  // 256 GiB in an L1 table of a MiB, whose entries all name one empty L2 table.
  const entryCount = 2 ** 17;
  const start = Math.ceil(bytes.length / 4096) * 4096;
  const bomb = Buffer.concat([bytes, Buffer.alloc(start - bytes.length + 4096 + entryCount * 8)]);
  for (let i = 0; i < entryCount; i++) bomb.writeBigUInt64BE(BigInt(start), start + 4096 + i * 8);
  bomb.writeBigUInt64BE(BigInt(start + 4096), 40);
  bomb.writeBigUInt64BE(BigInt(entryCount) * 2n ** 21n, 24);
  await assert.rejects(readAll(bomb), { code: 'IMAGE_LIMIT' });
});

test('a damaged image ends in an image error or reads as qemu reads it', async (context) => {
  const folder = await testFolder(context);
  const made = await image(context);
  const change = fc.record({
    where: fc.nat({ max: 2 }),
    at: fc.nat({ max: 100 }),
    value: fc.nat({ max: 255 }),
  });
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(change, async ({ where, at, value }) => {
      const copy = Buffer.from(made.bytes);
      copy[([0, L1, made.l2][where] ?? 0) + at] = value;
      const source = memorySource(copy);
      await checkQcow(source, { references }).catch((error) => assert.ok(error instanceof ImageError));
      const bytes = await qcow
        .open(source, { references })
        .then(async (disk) => {
          const whole = new Uint8Array(Math.min(disk.virtualSizeBytes, 2 ** 23));
          await disk.read(0, whole);
          return whole;
        })
        .catch((error) => void assert.ok(error instanceof ImageError, String(error)));
      if (bytes === undefined || bytes.length === 2 ** 23 || bytes.length % 512 !== 0) return;
      await writeFile(join(folder, 'damaged'), copy);
      const expected = await qemuRaw(join(folder, 'damaged')).catch(() => undefined);
      if (expected === undefined) return;
      compared++;
      assertSameBytes(bytes, expected, JSON.stringify({ where, at, value }));
    }),
    { numRuns: 100 },
  );
  assert.ok(compared > 5);
});
