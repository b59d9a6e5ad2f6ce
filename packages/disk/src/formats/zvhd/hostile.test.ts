import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync, zstdCompressSync } from 'node:zlib';
import { TIB } from '../../bytes/numbers.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import type { ImageError, ImageErrorCode } from '../../errors.ts';
import { memorySource } from '../../io/memory.ts';
import { openBytes } from '../images.testkit.ts';
import { checkZvhd, checkZvhd2 } from './check.ts';
import { zvhd, zvhd2 } from './format.ts';
import { BLOCK_BYTES, blockContent, independentPayload, type ZvhdFields, zvhdFile } from './zvhd.testkit.ts';

/** Opens a file and reads all of its disk. */
async function readAll(file: Uint8Array, kind: 'zvhd' | 'zvhd2'): Promise<void> {
  const disk = await openBytes(kind === 'zvhd' ? zvhd : zvhd2, file);
  for await (const { offsetBytes, lengthBytes, kind: extent } of disk.extents(0, disk.virtualSizeBytes)) {
    if (extent === 'data') await disk.read(offsetBytes, new Uint8Array(Math.min(lengthBytes, 1000)));
  }
}

const headerCases: readonly (readonly [what: string, fields: ZvhdFields, code: ImageErrorCode])[] = [
  ['another mark', { magic: 'strxam' }, 'IMAGE_MALFORMED'],
  ['a wrong checksum', { checksum: 1 }, 'IMAGE_MALFORMED'],
  ['an unknown format version', { formatVersion: 0x00020000 }, 'IMAGE_UNSUPPORTED'],
  ['original size 0', { origSize: 0n }, 'IMAGE_MALFORMED'],
  ['original size 2^63', { origSize: 2n ** 63n }, 'IMAGE_LIMIT'],
  ['an original size above 64 TiB', { origSize: BigInt(64 * TIB) + 512n }, 'IMAGE_LIMIT'],
  ['current size 2^63', { currSize: 2n ** 63n }, 'IMAGE_LIMIT'],
];
const indexCases: typeof headerCases = [
  ['version 2', { zvhd2Version: 2 }, 'IMAGE_UNSUPPORTED'],
  ['version 0', { zvhd2Version: 0 }, 'IMAGE_UNSUPPORTED'],
  ['block size 0', { blockSize: 0, records: [] }, 'IMAGE_MALFORMED'],
  ['block size 3 MiB', { blockSize: 3 * 2 ** 20, records: [] }, 'IMAGE_MALFORMED'],
  ['block size 512 KiB', { blockSize: 2 ** 19, records: [] }, 'IMAGE_MALFORMED'],
  ['block size 64 MiB', { blockSize: 2 ** 26, records: [] }, 'IMAGE_LIMIT'],
  ['a wrong block count', { blockCount: 5 }, 'IMAGE_MALFORMED'],
  ['compression 2', { method: 2, records: [] }, 'IMAGE_UNSUPPORTED'],
  ['a last page about another disk', { last: { origSize: BigInt(3 * BLOCK_BYTES) } }, 'IMAGE_MALFORMED'],
  ['a last page of other compression', { last: { method: 0 } }, 'IMAGE_MALFORMED'],
  ['an index offset of 2^63', { last: { indexOffset: 2n ** 63n } }, 'IMAGE_LIMIT'],
  ['an index beyond the end', { last: { indexOffset: 2n ** 40n } }, 'IMAGE_MALFORMED'],
  ['an index over the header', { last: { indexOffset: 0n } }, 'IMAGE_MALFORMED'],
  ['an index that is longer than the file', { last: { indexBytes: 0xffffffff } }, 'IMAGE_MALFORMED'],
  ['an index that is too short', { last: { indexBytes: 16 } }, 'IMAGE_MALFORMED'],
  ['a bitmap beyond the end', { last: { bitmapOffset: 2n ** 40n } }, 'IMAGE_MALFORMED'],
  ['a bitmap that is too short', { last: { bitmapBytes: 0 } }, 'IMAGE_MALFORMED'],
  ['more records than blocks', { last: { nonZeroBlocks: 5 } }, 'IMAGE_MALFORMED'],
  ['more records than are named', { last: { nonZeroBlocks: 3 } }, 'IMAGE_MALFORMED'],
  ['fewer records than are named', { last: { nonZeroBlocks: 1 } }, 'IMAGE_MALFORMED'],
  [
    'fewer records than an index of all blocks names',
    { hasZeroEntries: true, last: { nonZeroBlocks: 1 } },
    'IMAGE_MALFORMED',
  ],
  ['a bit too few', { turnedBits: [2] }, 'IMAGE_MALFORMED'],
  ['a bit too many', { turnedBits: [3] }, 'IMAGE_MALFORMED'],
  ['two entries for one place', { entries: { 1: { offset: 4096n } } }, 'IMAGE_MALFORMED'],
  ['two entries for one block', { entries: { 1: { block: 0 } } }, 'IMAGE_MALFORMED'],
  ['entries out of order', { entries: { 0: { block: 3 } } }, 'IMAGE_MALFORMED'],
  ['a block beyond the disk', { entries: { 1: { block: 4 } } }, 'IMAGE_MALFORMED'],
  ['a record beyond the index', { entries: { 1: { offset: 2n ** 63n } } }, 'IMAGE_MALFORMED'],
  ['a record over the header', { entries: { 0: { offset: 0n } } }, 'IMAGE_MALFORMED'],
  ['a record off its page', { entries: { 1: { offset: 4096n * 18n + 8n } } }, 'IMAGE_MALFORMED'],
  ['a record without a length', { entries: { 1: { length: 0 } } }, 'IMAGE_MALFORMED'],
  ['a record that is longer than any', { entries: { 1: { length: 0xfffff000 } } }, 'IMAGE_MALFORMED'],
];

for (const [kind, cases] of [
  ['zvhd', headerCases],
  ['zvhd2', [...headerCases, ...indexCases]],
] as const) {
  for (const [what, fields, code] of cases) {
    test(`${what} in a ${kind} is refused with ${code} when it is opened`, async () => {
      const file = zvhdFile({ ...fields, kind });
      await assert.rejects(openBytes(kind === 'zvhd' ? zvhd : zvhd2, file), (error: ImageError) => {
        assert.equal(error.code, code, error.message);
        assert.ok(error.structure.startsWith('ZVHD'));
        return true;
      });
    });
  }
}

const plain = blockContent(0);
const deflated = Buffer.concat([Uint8Array.of(0x78, 0x9c), independentPayload('zvhd', plain)]);
const frame = independentPayload('zstd', plain);

const recordCases: readonly (readonly [
  what: string,
  records: (payload: Uint8Array) => NonNullable<ZvhdFields['records']>,
  code: ImageErrorCode,
])[] = [
  ['a record without a payload', () => [{ block: 0, payload: new Uint8Array(0) }], 'IMAGE_MALFORMED'],
  [
    'a payload that is longer than any',
    (payload) => [{ block: 0, payload, payloadLength: 0x7fffffff }],
    'IMAGE_LIMIT',
  ],
  ['a record without its end', (payload) => [{ block: 0, payload, end: 'enx\0' }], 'IMAGE_MALFORMED'],
  [
    'a record without its mark',
    (payload) => [{ block: 0, payload, magic: 'hwstream bh' }],
    'IMAGE_MALFORMED',
  ],
  ['noise in a payload', () => [{ block: 0, payload: new Uint8Array(5000).fill(0xee) }], 'IMAGE_MALFORMED'],
  [
    'a payload that is cut',
    (payload) => [{ block: 0, payload: payload.subarray(0, payload.length / 2) }],
    'IMAGE_MALFORMED',
  ],
];

for (const kind of ['zvhd', 'zvhd2'] as const) {
  for (const [what, records, code] of recordCases) {
    test(`${what} in a ${kind} is refused with ${code} when it is read`, async () => {
      const file = zvhdFile({ kind, records: records(kind === 'zvhd' ? deflated : frame) });
      await assert.rejects(readAll(file, kind), { code });
    });
  }

  test(`a ${kind} block that grows beyond its size, or does not reach it, is refused`, async () => {
    for (const bytes of [new Uint8Array(64 * 2 ** 20), new Uint8Array(BLOCK_BYTES - 1), new Uint8Array(1)]) {
      const flushed = Buffer.concat([Uint8Array.of(0x78, 0x9c), deflateRawSync(bytes, { finishFlush: 3 })]);
      const payload = kind === 'zvhd' ? flushed : zstdCompressSync(bytes);
      const file = zvhdFile({ kind, records: [{ block: 0, payload: new Uint8Array(payload) }] });
      await assert.rejects(readAll(file, kind), { code: 'IMAGE_MALFORMED' });
    }
  });

  test(`a ${kind} that is cut at any boundary is refused, never read short`, async () => {
    const file = zvhdFile({ kind });
    const pages = file.length / 4096;
    const cuts = [0, 100, 511, 4095, 4096, 4097, 8192, 20_000, file.length - 4097, file.length - 4096];
    for (let page = 2; page < Math.min(pages, 40); page += 3) cuts.push(page * 4096);
    for (const length of [...cuts, file.length - 4095, file.length - 1]) {
      await assert.rejects(
        readAll(file.slice(0, length), kind),
        { code: 'IMAGE_TRUNCATED' },
        `${length} bytes`,
      );
    }
  });

  test(`any ${kind} of noise is refused or read, with no other failure, and its check ends`, async () => {
    let state = 12345;
    const noise = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >>> 8;
    };
    const good = zvhdFile({ kind });
    for (let run = 0; run < 150; run++) {
      const file = good.slice();
      const places = [4096 + (noise() % 64), noise() % file.length, file.length - 1 - (noise() % 20_000)];
      for (const at of places) file[at] = noise();
      await readAll(file, kind).catch((error) => assert.equal(error.name, 'ImageError', String(error)));
      const check = kind === 'zvhd' ? checkZvhd : checkZvhd2;
      const report = await check(memorySource(file), { references: denyReferences }).catch((error) => {
        assert.equal(error.name, 'ImageError', String(error));
      });
      if (report) assert.equal(report.leakCount, 0);
    }
  });
}

test('records of a ZVHD that are out of order, twice or beyond the disk are refused when they are met', async () => {
  const record = (block: number) => ({ block, payload: independentPayload('zvhd', blockContent(block)) });
  for (const blocks of [
    [0, 2, 1],
    [0, 2, 2],
    [0, 4],
    [0, 0xffffffff],
  ]) {
    const [, ...rest] = blocks.map(record);
    const file = zvhdFile({ kind: 'zvhd', records: [{ block: 0, payload: deflated }, ...rest] });
    await assert.rejects(readAll(file, 'zvhd'), { code: 'IMAGE_MALFORMED' });
  }
});

test('what follows the end of a ZVHD, and another header in it, are refused', async () => {
  const file = zvhdFile({ kind: 'zvhd' });
  const twice = Buffer.concat([file, file.subarray(4096)]);
  await assert.rejects(readAll(twice, 'zvhd'), { code: 'IMAGE_MALFORMED' });
  const other = zvhdFile({ kind: 'zvhd', origSize: BigInt(3 * BLOCK_BYTES) });
  const mixed = Buffer.concat([file.subarray(0, -4096), other.subarray(-4096)]);
  await assert.rejects(readAll(mixed, 'zvhd'), { code: 'IMAGE_MALFORMED' });
});

test('a zlib stream without its header, or with a dictionary, is refused', async () => {
  for (const header of [
    [0x78, 0x9d],
    [0x77, 0x85],
    [0x78, 0xbb],
  ]) {
    const payload = Buffer.concat([Uint8Array.from(header), deflated.subarray(2)]);
    const file = zvhdFile({ kind: 'zvhd', records: [{ block: 0, payload }] });
    await assert.rejects(readAll(file, 'zvhd'), { code: 'IMAGE_MALFORMED' });
  }
});

test('a file that is longer than its places can name is refused', async () => {
  const file = memorySource(zvhdFile());
  const endless = { ...file, lengthBytes: 2 ** 45 };
  await assert.rejects(zvhd2.open(endless, { references: denyReferences }), { code: 'IMAGE_LIMIT' });
});
