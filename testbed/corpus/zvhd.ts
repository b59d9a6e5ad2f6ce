import zlib from 'node:zlib';
import {
  type Expected,
  type Family,
  type HostileCase,
  LIMIT,
  MALFORMED,
  readsAs,
  refusedOrReads,
  refusedWith,
  UNSUPPORTED,
} from './case.ts';
import { cuts, le32, le64, noise, text, u8 } from './fields.ts';
import { bent, imageOfBytes, joined, resized } from './image.ts';
import { type ZvhdFields, zlibBlock, zvhdImage } from './zvhd-image.ts';

const BLOCK = 2 * 2 ** 20;

type Row = readonly [what: string, fields: ZvhdFields, expected: Expected];

/** What both formats have. */
function commonRows(second: ZvhdFields['second']): Row[] {
  const good = zvhdImage({ second: second as 'zstd' });
  const { content } = good;
  const bomb =
    second === 'zstd'
      ? zlib.zstdCompressSync(new Uint8Array(2 ** 26))
      : zlibBlock(new Uint8Array(2 ** 26), true);
  const short = second === 'zstd' ? zlib.zstdCompressSync(noise(4096)) : zlibBlock(noise(4096), true);
  return [
    ['good', {}, readsAs(content)],
    ['no mark', { header: [u8(0, 0)] }, MALFORMED],
    ['another format version', { header: [le32(12, 0x00020000)] }, UNSUPPORTED],
    ['creator version 1.3', { header: [le32(32, 0x00010003)] }, readsAs(content)],
    ['size 0', { header: [le64(40, 0)] }, MALFORMED],
    ['size 2^63', { header: [le64(40, 2n ** 63n)] }, LIMIT],
    ['size 64 TiB and a sector', { header: [le64(40, 2n ** 46n + 512n)] }, LIMIT],
    ['a size that ends before its blocks', { header: [le64(40, BLOCK)] }, MALFORMED],
    [
      'a current size of 2^64 - 1',
      { header: [le64(48, 2n ** 64n - 1n)] },
      refusedOrReads(content, 'IMAGE_LIMIT', 'IMAGE_MALFORMED'),
    ],
    ['a last header of another size', { last: [le64(40, 2 * BLOCK)] }, MALFORMED],
    ['blocks in the wrong order', { numbers: [2, 0] }, MALFORMED],
    ['a block twice', { numbers: [0, 0] }, MALFORMED],
    ['a block beyond the disk', { numbers: [0, 3] }, MALFORMED],
    ['block 0xffffffff', { numbers: [0, 0xffffffff] }, MALFORMED],
    ['a record without its mark', { record: [text(0, 'x')] }, refusedWith('IMAGE_MALFORMED')],
    ['a record without its end', { record: [text(4092, 'x')] }, refusedWith('IMAGE_MALFORMED')],
    ['a payload of 0 bytes', { record: [le32(12, 0)] }, MALFORMED],
    [
      'a payload of 0xffffffff bytes',
      { record: [le32(12, 0xffffffff)] },
      refusedWith('IMAGE_LIMIT', 'IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
    ],
    [
      'a payload of 4 MiB',
      { record: [le32(12, 4 * 2 ** 20)] },
      refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
    ],
    ['a payload that unpacks to 64 MiB', { payload: bomb }, MALFORMED],
    ['a payload that unpacks to 4 KiB', { payload: short }, MALFORMED],
    ['a payload of noise', { payload: noise(3000) }, MALFORMED],
  ];
}

const secondRows: readonly Row[] = [
  ['version 2', { header: [u8(87, 2)] }, UNSUPPORTED],
  ['block size 0', { header: [le32(88, 0)] }, MALFORMED],
  ['block size 3 MiB', { header: [le32(88, 3 * 2 ** 20)] }, MALFORMED],
  ['block size 64 MiB', { header: [le32(88, 2 ** 26)] }, refusedWith('IMAGE_LIMIT', 'IMAGE_MALFORMED')],
  ['block size 2^31', { header: [le32(88, 2 ** 31)] }, refusedWith('IMAGE_LIMIT', 'IMAGE_MALFORMED')],
  ['a block count that does not fit', { header: [le32(92, 4)] }, MALFORMED],
  ['compression 2', { header: [u8(141, 2)] }, UNSUPPORTED],
  ['an index past the end', { last: [le64(96, 2n ** 40n)] }, MALFORMED],
  ['an index at 2^63', { last: [le64(96, 2n ** 63n)] }, refusedWith('IMAGE_LIMIT', 'IMAGE_MALFORMED')],
  ['an index of 0xffffffff bytes', { last: [le32(112, 0xffffffff)] }, MALFORMED],
  ['a bitmap of 0 bytes', { last: [le32(116, 0)] }, MALFORMED],
  ['0xffffffff records', { last: [le32(136, 0xffffffff)] }, MALFORMED],
  ['one record less', { last: [le32(136, 1)] }, MALFORMED],
  ['an index that names the header', { index: [le64(0, 0)] }, MALFORMED],
  ['an index that names one record twice', { index: [le64(16, 4096)] }, MALFORMED],
  ['an index that names a place inside a record', { index: [le64(0, 4100)] }, MALFORMED],
  ['an index that names itself', { index: [le64(16, 20480)] }, MALFORMED],
  ['an index that names 2^63', { index: [le64(0, 2n ** 63n)] }, MALFORMED],
  ['an index of a record of 0 bytes', { index: [le32(12, 0)] }, MALFORMED],
  ['an index of a record of 0xfffff000 bytes', { index: [le32(12, 0xfffff000)] }, MALFORMED],
  ['an index that says another block', { index: [le32(8, 1)] }, MALFORMED],
  ['a bitmap that says more', { bitmap: [u8(0, 0b111)] }, MALFORMED],
  ['a bitmap that says less', { bitmap: [u8(0, 0b001)] }, MALFORMED],
];

function* cases(): Generator<HostileCase> {
  for (const second of [undefined, 'zstd', 'zlib'] as const) {
    const format = second === undefined ? 'zvhd' : 'zvhd2';
    const what = second === undefined ? 'zvhd' : `zvhd2 ${second}`;
    const base = second === undefined ? {} : { second };
    const good = zvhdImage(base);
    const same = readsAs(good.content);
    yield { name: `${what}: good, by its mark`, image: good.image, expected: same };
    for (const [name, fields, expected] of [
      ...commonRows(second),
      ...(second === undefined ? [] : secondRows),
    ]) {
      yield {
        name: `${what}: ${name}`,
        format,
        image: zvhdImage({ ...base, ...fields }).image,
        expected,
        // A record's own bytes are seen by who reads its block.
        onlyWhole:
          fields.record !== undefined || fields.payload !== undefined || fields.numbers !== undefined,
        at: [0, 2 * BLOCK],
      };
    }
    yield {
      name: `${what}: a wrong checksum`,
      format,
      image: bent(good.image, u8(40, 9)),
      expected: MALFORMED,
    };
    yield {
      name: `${what}: something behind its end`,
      format,
      image: joined(good.image, imageOfBytes(noise(4096))),
      expected: refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
      ...(second !== undefined && { forward: same }),
    };
    yield {
      name: `${what}: another record where the header behind the records should be`,
      format,
      image: bent(good.image, text((good.records[1] ?? 0) + 4096, 'hwstream bg\0')),
      expected:
        second === undefined
          ? refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED')
          : refusedOrReads(good.content, 'IMAGE_MALFORMED'),
    };
    yield* cuts(what, good, {
      format,
      expected: refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
      onlyWhole: false,
    });
    yield {
      name: `${what}: cut to its first header and its last`,
      format,
      image: joined(resized(good.image, 4096), resized(good.image, 4096)),
      expected: refusedOrReads(
        { lengthBytes: good.content.lengthBytes, patches: [] },
        'IMAGE_MALFORMED',
        'IMAGE_TRUNCATED',
      ),
    };
  }
}

export const zvhd: Family = { name: 'zvhd', cases };
