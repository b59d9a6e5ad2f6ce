import { type HostileCase, refusedOrReads, refusedWith, UNSUPPORTED } from './case.ts';
import { bytesAt, le32, le64, noise, text } from './fields.ts';
import { bent, type CorpusImage, imageOf, resized } from './image.ts';
import { SECTOR } from './vmdk-image.ts';
import { format, GRAIN, type Row } from './vmdk-rows.ts';

/** vmfsSparse: 64 KiB in grains of a sector, its one table with data of two. */
function cowdImage(): { image: CorpusImage; content: CorpusImage } {
  const data = [noise(SECTOR, 1), noise(SECTOR, 2)];
  const [directory, table] = [4, 8];
  const first = table + 32;
  return {
    image: imageOf(
      (first + 2) * SECTOR,
      text(0, 'COWD'),
      le32(4, 1),
      le32(8, 3),
      le32(12, 128),
      le32(16, 1),
      le32(20, directory),
      le32(24, 1),
      le32(28, first + 2),
      le32(directory * SECTOR, table),
      le32(table * SECTOR, first),
      le32(table * SECTOR + 127 * 4, first + 1),
      bytesAt(first * SECTOR, Buffer.concat(data)),
    ),
    content: imageOf(65536, bytesAt(0, data[0]!), bytesAt(127 * SECTOR, data[1]!)),
  };
}

export function* cowdCases(): Generator<HostileCase> {
  const good = cowdImage();
  const list: readonly Row[] = [
    ['good', refusedOrReads(good.content, 'IMAGE_UNSUPPORTED')],
    ['version 2', UNSUPPORTED, le32(4, 2)],
    [
      '0xffffffff sectors',
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_LIMIT', 'IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
      le32(12, 0xffffffff),
    ],
    ['grain 0', refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'), le32(16, 0)],
    [
      'grain 0xffffffff',
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED', 'IMAGE_LIMIT'),
      le32(16, 0xffffffff),
    ],
    ['directory past the end', refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_TRUNCATED'), le32(20, 0xffffff)],
    [
      'directory of 0xffffffff entries',
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_TRUNCATED', 'IMAGE_LIMIT', 'IMAGE_MALFORMED'),
      le32(24, 0xffffffff),
    ],
    ['directory of 0 entries', refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'), le32(24, 0)],
    ['table past the end', refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_TRUNCATED'), le32(4 * SECTOR, 0xffffff)],
    ['grain past the end', refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_TRUNCATED'), le32(8 * SECTOR, 0xffffff)],
    ['grain in the header', refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'), le32(8 * SECTOR, 1)],
  ];
  for (const [name, expected, ...patches] of list) {
    yield { name: `vmdk vmfsSparse: ${name}`, format, image: bent(good.image, ...patches), expected };
  }
  for (const lengthBytes of [3, 4, 16, 2048, 2050, 4096, 4098, 20480]) {
    yield {
      name: `vmdk vmfsSparse cut to ${lengthBytes} bytes`,
      format,
      image: resized(good.image, lengthBytes),
      expected: refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
    };
  }
}

/** seSparse: 64 KiB in grains of 4 KiB. */
function seSparseImage(): { image: CorpusImage; content: CorpusImage } {
  const data = [noise(GRAIN, 1), noise(GRAIN, 2)];
  const [volatile, directory, table, grains] = [1, 8, 72, 136];
  const pairs = [volatile, 1, 2, 1, 3, 1, directory, 64, table, 64, 200, 1, 201, 1, grains, 16];
  const stored = (index: number) => (3n << 60n) | (BigInt(index & 0xfff) << 48n) | BigInt(index >> 12);
  return {
    image: imageOf(
      (grains + 80) * SECTOR,
      le64(0, 0xcafebaben),
      le64(8, 0x0000000200000001n),
      le64(16, 128),
      le64(24, 8),
      le64(32, 64),
      ...pairs.map((value, index) => le64(80 + index * 8, value)),
      le64(volatile * SECTOR, 0xcafecafen),
      le64(directory * SECTOR, 0x1000000000000000n),
      le64(table * SECTOR, stored(0)),
      le64(table * SECTOR + 15 * 8, stored(1)),
      le64(table * SECTOR + 3 * 8, 1n << 60n),
      le64(table * SECTOR + 4 * 8, 2n << 60n),
      bytesAt(grains * SECTOR, Buffer.concat(data)),
    ),
    content: imageOf(65536, bytesAt(0, data[0]!), bytesAt(15 * GRAIN, data[1]!)),
  };
}

export function* seSparseCases(): Generator<HostileCase> {
  const good = seSparseImage();
  const any = refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED', 'IMAGE_LIMIT', 'IMAGE_TRUNCATED');
  const list: readonly Row[] = [
    ['good', refusedOrReads(good.content, 'IMAGE_UNSUPPORTED')],
    ['version 3', any, le64(8, 0x0000000300000001n)],
    ['capacity 2^63', any, le64(16, 2n ** 63n)],
    ['capacity 2^40', any, le64(16, 2n ** 40n)],
    ['grain 16', any, le64(24, 16)],
    ['grain 0', any, le64(24, 0)],
    ['table of 0 sectors', any, le64(32, 0)],
    ['flags', any, le64(40, 1)],
    ['reserved fields', any, le64(48, 1)],
    ['a journal to replay', any, le64(SECTOR + 24, 1)],
    ['volatile header past the end', any, le64(80, 2n ** 40n)],
    ['directory past the end', any, le64(80 + 6 * 8, 2n ** 40n)],
    ['directory of 2^60 sectors', any, le64(80 + 7 * 8, 2n ** 60n)],
    ['tables past the end', any, le64(80 + 8 * 8, 2n ** 40n)],
    ['grains past the end', any, le64(80 + 14 * 8, 2n ** 40n)],
    ['grains at 2^63', any, le64(80 + 14 * 8, 2n ** 63n)],
    ['a directory entry without its mark', any, le64(8 * SECTOR, 0x2000000000000000n)],
    ['a directory entry of table 0xffffffff', any, le64(8 * SECTOR, 0x10000000ffffffffn)],
    ['a table entry of type 15', any, le64(72 * SECTOR, 15n << 60n)],
    ['a grain past the end', any, le64(72 * SECTOR, (3n << 60n) | 0xffffffffffffn)],
  ];
  for (const [name, expected, ...patches] of list) {
    yield { name: `vmdk seSparse: ${name}`, format, image: bent(good.image, ...patches), expected };
  }
  for (const lengthBytes of [8, 200, 511, 513, 4096, 40000, 70_000]) {
    yield {
      name: `vmdk seSparse cut to ${lengthBytes} bytes`,
      format,
      image: resized(good.image, lengthBytes),
      expected: any,
    };
  }
}
