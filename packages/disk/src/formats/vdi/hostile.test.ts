import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB, TIB } from '../../bytes/numbers.ts';
import type { ImageError, ImageErrorCode } from '../../errors.ts';
import { openBytes } from '../images.testkit.ts';
import { vdi } from './format.ts';
import { FREE, oldVdiFile, type VdiFields, vdiFile, ZERO } from './vdi.testkit.ts';

const cases: readonly (readonly [what: string, fields: VdiFields, code: ImageErrorCode])[] = [
  ['no signature', { signature: 0xbeda1080 }, 'IMAGE_MALFORMED'],
  ['the unknown version 0.3', { version: 3 }, 'IMAGE_UNSUPPORTED'],
  ['an unknown minor version', { version: 0x00010002 }, 'IMAGE_UNSUPPORTED'],
  ['a short header', { cbHeader: 383 }, 'IMAGE_MALFORMED'],
  ['a header over the map', { cbHeader: 500 }, 'IMAGE_MALFORMED'],
  ['a huge header', { cbHeader: 0xffffffff }, 'IMAGE_MALFORMED'],
  ['type 0', { type: 0 }, 'IMAGE_MALFORMED'],
  ['type 5', { type: 5 }, 'IMAGE_MALFORMED'],
  ['an undo image without a parent', { type: 3 }, 'IMAGE_UNSUPPORTED'],
  ['an undo image with a parent', { type: 3, uuidLinkage: 0x33 }, 'IMAGE_REFERENCE'],
  ['a differencing image without a parent', { type: 4 }, 'IMAGE_UNSUPPORTED'],
  ['a differencing image with a parent', { type: 4, uuidLinkage: 0x33 }, 'IMAGE_REFERENCE'],
  ['a base image with a parent', { type: 1, uuidLinkage: 0x33 }, 'IMAGE_REFERENCE'],
  ['unknown flags', { flags: 2 }, 'IMAGE_UNSUPPORTED'],
  ['size 0', { cbDisk: 0n }, 'IMAGE_MALFORMED'],
  ['size 2^63', { cbDisk: 2n ** 63n }, 'IMAGE_LIMIT'],
  ['size above 64 TiB', { cbDisk: BigInt(64 * TIB) + 512n }, 'IMAGE_LIMIT'],
  ['block size 0', { cbBlock: 0 }, 'IMAGE_MALFORMED'],
  ['block size 3 MiB', { cbBlock: 3 * MIB }, 'IMAGE_MALFORMED'],
  ['block size 4 KiB', { cbBlock: 4096 }, 'IMAGE_UNSUPPORTED'],
  ['block size 2^31', { cbBlock: 2 ** 31 }, 'IMAGE_LIMIT'],
  ['extra bytes that are no power of two', { cbBlockExtra: 513 }, 'IMAGE_MALFORMED'],
  ['more extra bytes than data', { cbBlockExtra: 262144 }, 'IMAGE_LIMIT'],
  ['2^32 - 1 blocks', { cBlocks: 0xffffffff }, 'IMAGE_LIMIT'],
  ['too few blocks', { cBlocks: 1 }, 'IMAGE_MALFORMED'],
  ['a map beyond the data offset', { cBlocks: 200 }, 'IMAGE_MALFORMED'],
  ['a map beyond the end of the file', { offBlocks: 0x7fffff00, offData: 0x7fffffff }, 'IMAGE_TRUNCATED'],
  ['a data offset beyond the end of the file', { offData: 0xfffffe00 }, 'IMAGE_TRUNCATED'],
  ['data before the end of the map', { offData: 520 }, 'IMAGE_MALFORMED'],
  ['more allocated blocks than blocks', { cBlocksAllocated: 99 }, 'IMAGE_MALFORMED'],
  ['a position that does not exist', { map: [0, 4, FREE, FREE], storedBlocks: 2 }, 'IMAGE_MALFORMED'],
  ['the last position below the marks', { map: [0xfffffffd, ZERO] }, 'IMAGE_MALFORMED'],
  ['a position twice', { map: [0, 1, 0, FREE], storedBlocks: 2 }, 'IMAGE_MALFORMED'],
  ['a block beyond the end of the file', { map: [0, 3, FREE, FREE], storedBlocks: 2 }, 'IMAGE_TRUNCATED'],
];

for (const [what, fields, code] of cases) {
  test(`${what} is refused with ${code}`, async () => {
    await assert.rejects(openBytes(vdi, vdiFile(fields)), (error: ImageError) => {
      assert.equal(error.code, code);
      assert.ok(error.structure.startsWith('VDI '));
      return true;
    });
  });
}

test('a file that is cut anywhere is refused, never read short', async () => {
  const file = vdiFile({ map: [0, 1] });
  for (const length of [0, 63, 71, 72, 200, 455, 456, 471, 472, 512, 519, 1023, 1024, file.length - 1]) {
    await assert.rejects(
      openBytes(vdi, file.slice(0, length)),
      { code: 'IMAGE_TRUNCATED' },
      `${length} bytes`,
    );
  }
});

test('any header of noise is refused or read, with no other failure', async () => {
  let state = 12345;
  const noise = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  for (let run = 0; run < 2000; run++) {
    const file = vdiFile();
    for (let i = 0; i < 3; i++) file[72 + (noise() % 460)] = noise() >>> 24;
    await openBytes(vdi, file).then(
      (disk) => disk.read(0, new Uint8Array(Math.min(disk.virtualSizeBytes, MIB))),
      (error) => assert.equal(error.name, 'ImageError', String(error)),
    );
  }
});

const oldCases: readonly (readonly [what: string, fields: VdiFields, code: ImageErrorCode])[] = [
  ['type 5', { type: 5 }, 'IMAGE_MALFORMED'],
  ['unknown flags', { flags: 2 }, 'IMAGE_UNSUPPORTED'],
  ['size 0', { cbDisk: 0n }, 'IMAGE_MALFORMED'],
  ['size 2^63', { cbDisk: 2n ** 63n }, 'IMAGE_LIMIT'],
  ['2^32 - 1 blocks', { cBlocks: 0xffffffff }, 'IMAGE_LIMIT'],
  ['a map beyond the end of the file', { cBlocks: 2 ** 24 }, 'IMAGE_TRUNCATED'],
  ['more allocated blocks than blocks', { cBlocksAllocated: 99 }, 'IMAGE_MALFORMED'],
  ['a position twice', { map: [0, 1, 0, FREE], storedBlocks: 2 }, 'IMAGE_MALFORMED'],
  ['a differencing image without a parent', { type: 4 }, 'IMAGE_UNSUPPORTED'],
];

for (const [what, fields, code] of oldCases) {
  test(`${what} in a file of version 0.2 is refused with ${code}`, async () => {
    await assert.rejects(openBytes(vdi, oldVdiFile(fields)), { code });
  });
}
