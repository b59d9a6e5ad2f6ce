import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOf } from '../../bytes/fields.ts';
import { GIB, MIB, TIB } from '../../bytes/numbers.ts';
import type { ImageError, ImageErrorCode } from '../../errors.ts';
import { openBytes } from '../images.testkit.ts';
import { vhd } from './format.ts';
import { fixedVhd, UNUSED, type VhdFields, vhdFile } from './vhd.testkit.ts';

const cases: readonly (readonly [what: string, fields: VhdFields, code: ImageErrorCode])[] = [
  ['an unknown file format version', { version: 0x00020000 }, 'IMAGE_UNSUPPORTED'],
  ['type 0', { type: 0 }, 'IMAGE_MALFORMED'],
  ['type 9', { type: 9 }, 'IMAGE_MALFORMED'],
  ['a differencing disk', { type: 4, parentName: 'parent.vhd' }, 'IMAGE_REFERENCE'],
  ['current size 0', { currentSize: 0n }, 'IMAGE_MALFORMED'],
  ['current size 2^62', { currentSize: 2n ** 62n }, 'IMAGE_LIMIT'],
  ['current size 2^63', { currentSize: 2n ** 63n }, 'IMAGE_LIMIT'],
  ['current size above 2 TiB', { currentSize: BigInt(2 * TIB + 512) }, 'IMAGE_LIMIT'],
  ['current size 2^40 with a small table', { currentSize: 2n ** 40n }, 'IMAGE_MALFORMED'],
  ['original size 2^63', { originalSize: 2n ** 63n }, 'IMAGE_LIMIT'],
  ['data offset 0', { dataOffset: 0n }, 'IMAGE_MALFORMED'],
  ['a dynamic disk without a data offset', { dataOffset: 2n ** 64n - 1n }, 'IMAGE_MALFORMED'],
  ['data offset 2^63', { dataOffset: 2n ** 63n }, 'IMAGE_LIMIT'],
  ['a data offset beyond the end of the file', { dataOffset: 2n ** 40n }, 'IMAGE_TRUNCATED'],
  ['no header at the data offset', { headerCookie: 'cxsparsf' }, 'IMAGE_MALFORMED'],
  ['an unknown header version', { headerVersion: 0x00020000 }, 'IMAGE_UNSUPPORTED'],
  ['block size 0', { blockSize: 0, currentSize: 512n }, 'IMAGE_MALFORMED'],
  ['block size 3 MiB', { blockSize: 3 * MIB }, 'IMAGE_MALFORMED'],
  ['block size 256', { blockSize: 256 }, 'IMAGE_MALFORMED'],
  ['2^32 - 1 table entries', { maxTableEntries: 0xffffffff }, 'IMAGE_LIMIT'],
  ['a table that is too small', { maxTableEntries: 3 }, 'IMAGE_MALFORMED'],
  ['a table beyond the end of the file', { tableOffset: 2n ** 40n }, 'IMAGE_TRUNCATED'],
  ['a table that is longer than the file', { maxTableEntries: 4_000_000 }, 'IMAGE_TRUNCATED'],
  ['a table above 16 MiB', { maxTableEntries: 4_194_305 }, 'IMAGE_LIMIT'],
  ['table offset 2^64 - 1', { tableOffset: 2n ** 64n - 1n }, 'IMAGE_LIMIT'],
  ['a table over the footer copy', { tableOffset: 256n }, 'IMAGE_MALFORMED'],
  ['a table over the header', { tableOffset: 1024n }, 'IMAGE_MALFORMED'],
  ['a block beyond the end of the file', { table: [0, 1, 0x7fffffff], storedBlocks: 2 }, 'IMAGE_TRUNCATED'],
  ['a block over the footer', { table: [0, 1, 2], storedBlocks: 2 }, 'IMAGE_TRUNCATED'],
  ['a block in the last sector number', { table: [0, 0xfffffffe] }, 'IMAGE_TRUNCATED'],
  ['two blocks at one place', { table: [0, 1, 0], storedBlocks: 2 }, 'IMAGE_MALFORMED'],
  ['blocks over each other', { table: [0, 1, 100], storedBlocks: 2 }, 'IMAGE_MALFORMED'],
];

for (const [what, fields, code] of cases) {
  test(`${what} is refused with ${code}`, async () => {
    await assert.rejects(openBytes(vhd, vhdFile(fields)), (error: ImageError) => {
      assert.equal(error.code, code);
      assert.ok(error.structure.startsWith('VHD '));
      return true;
    });
  });
}

test('a block over the footer copy, the header or the table is refused', async () => {
  for (const sector of [0, 1, 3]) {
    const file = vhdFile();
    viewOf(file).setUint32(1536, sector);
    await assert.rejects(openBytes(vhd, file), { code: 'IMAGE_MALFORMED' }, `sector ${sector}`);
  }
});

test('damage that only a checksum shows is refused', async () => {
  const footers = vhdFile();
  footers[30] = (footers[30] ?? 0) ^ 1;
  footers[footers.length - 512 + 30] = (footers[footers.length - 512 + 30] ?? 0) ^ 1;
  await assert.rejects(openBytes(vhd, footers), { code: 'IMAGE_MALFORMED' });
  const header = vhdFile();
  header[512 + 1000] = 1;
  await assert.rejects(openBytes(vhd, header), { code: 'IMAGE_MALFORMED' });
  const fixed = fixedVhd(new Uint8Array(4096));
  fixed[fixed.length - 1] = 1;
  await assert.rejects(openBytes(vhd, fixed), { code: 'IMAGE_MALFORMED' });
});

test('a declared fixed image without a footer is refused, even when the guest wrote one at byte 0', async () => {
  await assert.rejects(openBytes(vhd, new Uint8Array(4096)), { code: 'IMAGE_MALFORMED' });
  const guest = new Uint8Array(4096);
  guest.set(fixedVhd(new Uint8Array(0), { currentSize: 4096n }));
  await assert.rejects(openBytes(vhd, guest), { code: 'IMAGE_MALFORMED' });
});

test('a fixed disk that is larger than its file is refused, as is one above 64 TiB', async () => {
  const disk = new Uint8Array(4096);
  await assert.rejects(openBytes(vhd, fixedVhd(disk, { currentSize: 4608n })), { code: 'IMAGE_TRUNCATED' });
  const huge = fixedVhd(disk, { currentSize: BigInt(64 * TIB + 512) });
  await assert.rejects(openBytes(vhd, huge), { code: 'IMAGE_LIMIT' });
});

test('a table with more entries than the disk needs is read, and nothing is taken from the rest', async () => {
  const file = vhdFile({ table: [0, UNUSED, 0x7fffffff, 0], currentSize: 100_000n, storedBlocks: 1 });
  const disk = await openBytes(vhd, file);
  await disk.read(0, new Uint8Array(100_000));
});

test('a file that is cut anywhere is refused, never read short', async () => {
  const file = vhdFile({ table: [0, 1] });
  for (const length of [0, 100, 511, 512, 1000, 1535, 1536, 1543, 8192, 9000, file.length - 513 - 100]) {
    await assert.rejects(
      openBytes(vhd, file.slice(0, length)),
      ({ code }) => code === 'IMAGE_TRUNCATED' || code === 'IMAGE_MALFORMED',
      `${length} bytes`,
    );
  }
});

test('any headers of noise are refused or read, with no other failure', async () => {
  let state = 12345;
  const noise = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  for (let run = 0; run < 2000; run++) {
    const random = (choices: readonly number[]) => choices[noise() % choices.length] ?? 0;
    const file = vhdFile({
      type: random([2, 3, 3, 3, 4]),
      dataOffset: BigInt(random([512, 512, 512, noise()])),
      currentSize: BigInt(random([512, 100_000, noise(), GIB])),
      tableOffset: BigInt(random([1536, 1536, noise() % 150_000])),
      maxTableEntries: random([4, 4, 5, noise()]),
      blockSize: random([65536, 65536, 512, 2 ** (noise() % 32)]),
      table: [noise() % 3, random([UNUSED, noise()]), noise() % 200, UNUSED],
      storedBlocks: 2,
    });
    await openBytes(vhd, file).then(
      (disk) => disk.read(0, new Uint8Array(Math.min(disk.virtualSizeBytes, MIB))),
      (error) => assert.equal(error.name, 'ImageError', String(error)),
    );
  }
});

test('a locator that is too long or beyond the file is refused', async () => {
  const locators = [['W2ru', 'parent.vhd']] as const;
  const long = vhdFile({ type: 4, locators, locatorLength: 2 ** 31 });
  await assert.rejects(openBytes(vhd, long), { code: 'IMAGE_LIMIT' });
  const short = vhdFile({ type: 4, locators, locatorLength: 60000, table: [UNUSED] });
  await assert.rejects(openBytes(vhd, short), { code: 'IMAGE_TRUNCATED' });
});
