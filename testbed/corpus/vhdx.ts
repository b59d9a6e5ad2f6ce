import { type Expected, type Family, type HostileCase, MALFORMED, readsAs, refusedOrReads } from './case.ts';
import { bytesAt, cuts, le32, le64, u8 } from './fields.ts';
import { bent, type CorpusImage, imageOf, type Patch } from './image.ts';
import { fieldRows } from './vhdx-fields.ts';
import { vhdxHeader, vhdxImage, vhdxRegionTable } from './vhdx-image.ts';
import { logCases } from './vhdx-log.ts';

const format = 'vhdx';

const KIB = 1024;

const MIB = 2 ** 20;

function* crcCases(content: CorpusImage): Generator<HostileCase> {
  const good = vhdxImage();
  const same = readsAs(content);
  const list: readonly (readonly [string, readonly Patch[], Expected])[] = [
    ['CRC of header 1', [u8(64 * KIB + 2000, 1)], same],
    ['CRC of header 2', [u8(128 * KIB + 2000, 1)], same],
    ['CRC of both headers', [u8(64 * KIB + 2000, 1), u8(128 * KIB + 2000, 1)], MALFORMED],
    ['CRC of region table 1', [u8(192 * KIB + 2000, 1)], same],
    ['CRC of both region tables', [u8(192 * KIB + 2000, 1), u8(256 * KIB + 2000, 1)], MALFORMED],
    ['file identifier', [u8(0, 0)], MALFORMED],
    ['creator, which is not UTF-16', [bytesAt(8, new Uint8Array(504).fill(0xdc))], same],
    [
      'region tables that differ',
      [bytesAt(256 * KIB, vhdxRegionTable(le64(32, 5 * MIB)))],
      refusedOrReads(content, 'IMAGE_MALFORMED'),
    ],
    [
      'header 2 with the greatest sequence number',
      [bytesAt(128 * KIB, vhdxHeader(0, le64(8, 2n ** 64n - 1n)))],
      same,
    ],
  ];
  for (const [what, patches, expected] of list) {
    yield { name: `vhdx: damaged ${what}`, format, image: bent(good.image, ...patches), expected };
  }
}

function* cases(): Generator<HostileCase> {
  const good = vhdxImage();
  const same = readsAs(good.content);
  yield { name: 'vhdx: good, declared', format, image: good.image, expected: same };
  yield { name: 'vhdx: good, by its mark', image: good.image, expected: same };
  for (const [what, fields, expected] of fieldRows(same, good.content)) {
    yield { name: `vhdx: ${what}`, format, image: vhdxImage(fields).image, expected };
  }
  yield* crcCases(good.content);
  yield* logCases(good.content);
  yield* cuts('vhdx', good, { format });
  const fixed = vhdxImage({
    leaveAllocated: true,
    blocks: [
      [6, 0],
      [6, 1],
    ],
  });
  yield { name: 'vhdx: good, fixed', format, image: fixed.image, expected: readsAs(fixed.content) };
  const large = vhdxImage({ logicalSector: 4096 });
  yield {
    name: 'vhdx: good, sectors of 4096 bytes',
    format,
    image: large.image,
    expected: readsAs(large.content),
  };
  yield {
    name: 'vhdx: 64 TiB of nothing',
    format,
    image: vhdxImage({
      blocks: [],
      blockBytes: 256 * MIB,
      sizeBytes: 2 ** 46,
      region: [le32(40, 3 * MIB)],
      lengthBytes: 8 * MIB,
    }).image,
    expected: readsAs(imageOf(2 ** 46)),
  };
}

export const vhdx: Family = { name: 'vhdx', cases };
