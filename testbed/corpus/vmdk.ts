import zlib from 'node:zlib';
import {
  AMPLIFIED,
  type Expected,
  type Family,
  type HostileCase,
  LIMIT,
  MALFORMED,
  REFERENCE,
  readsAs,
  refusedOrReads,
  refusedWith,
  TRUNCATED,
  UNSUPPORTED,
} from './case.ts';
import { bytesAt, cuts, le16, le32, le64, noise, pattern, text, u8 } from './fields.ts';
import { bent, bytesOf, type CorpusImage, imageOf, joined, type Patch, resized } from './image.ts';
import {
  AT_END,
  descriptorText,
  grainRecord,
  marker,
  SECTOR,
  sparseImage,
  streamImage,
  usualGrains,
  type VmdkImage,
} from './vmdk-image.ts';

const format = 'vmdk';
const GRAIN = 4096;

type Row = readonly [what: string, expected: Expected, ...patches: readonly Patch[]];

function* rows(what: string, good: VmdkImage, list: readonly Row[]): Generator<HostileCase> {
  for (const [name, expected, ...patches] of list) {
    yield { name: `${what}: ${name}`, format, image: bent(good.image, ...patches), expected };
  }
}

function headerRows(same: Expected): Row[] {
  return [
    ['no mark', MALFORMED, u8(0, 0)],
    ['version 0', UNSUPPORTED, le32(4, 0)],
    ['version 4', UNSUPPORTED, le32(4, 4)],
    ['version 0xffffffff', UNSUPPORTED, le32(4, 0xffffffff)],
    ['version 2', same, le32(4, 2)],
    ['unknown incompatible flag 18', UNSUPPORTED, le32(8, 3 + 2 ** 18)],
    ['unknown incompatible flag 23', UNSUPPORTED, le32(8, 3 + 2 ** 23)],
    ['unknown incompatible flag 31', UNSUPPORTED, le32(8, 3 + 2 ** 31)],
    ['capacity 2^62', LIMIT, le64(12, 2n ** 62n)],
    ['capacity 2^64 - 1', LIMIT, le64(12, 2n ** 64n - 1n)],
    ['capacity 2^53', LIMIT, le64(12, 2n ** 53n)],
    ['capacity of 64 TiB and a sector', LIMIT, le64(12, 2n ** 37n + 1n)],
    [
      'capacity that needs a longer directory',
      refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
      le64(12, 2n ** 28n),
    ],
    ['grain 0', MALFORMED, le64(20, 0)],
    ['grain 3', MALFORMED, le64(20, 3)],
    ['grain 4', MALFORMED, le64(20, 4)],
    ['grain 2^22', MALFORMED, le64(20, 2n ** 22n)],
    ['grain 2^32', MALFORMED, le64(20, 2n ** 32n)],
    ['grain 2^63', refusedWith('IMAGE_LIMIT', 'IMAGE_MALFORMED'), le64(20, 2n ** 63n)],
    ['numGTEs 0', MALFORMED, le32(44, 0)],
    ['numGTEs 1', MALFORMED, le32(44, 1)],
    ['numGTEs 513', MALFORMED, le32(44, 513)],
    ['numGTEs 2^20', MALFORMED, le32(44, 2 ** 20)],
    ['gdOffset past the end', TRUNCATED, le64(56, 2n ** 33n)],
    ['gdOffset 2^60', refusedWith('IMAGE_LIMIT', 'IMAGE_TRUNCATED'), le64(56, 2n ** 60n)],
    ['gdOffset 0', MALFORMED, le64(56, 0)],
    ['gdOffset -1 without a footer', MALFORMED, le64(56, AT_END)],
    ['overHead past the end', TRUNCATED, le64(64, 2n ** 40n)],
    ['overHead 2^63', LIMIT, le64(64, 2n ** 63n)],
    ['descriptor of 2^30 sectors', LIMIT, le64(36, 2n ** 30n)],
    ['descriptor of 2^62 sectors', LIMIT, le64(36, 2n ** 62n)],
    ['descriptor past the end', TRUNCATED, le64(28, 2n ** 40n)],
    ['line ends that a transfer changed', MALFORMED, text(73, '\n \n\n')],
    ['compression 2', UNSUPPORTED, le16(77, 2)],
    ['compression that the flags deny', MALFORMED, le16(77, 1)],
    ['no descriptor, as a part of a split disk', UNSUPPORTED, le64(28, 0), le64(36, 0)],
    ['unclean shutdown', { ...same, warning: 'cleanly' }, u8(72, 1)],
  ];
}

function tableRows({
  directory,
  redundantDirectory = 0,
  entry,
  grains,
  image,
  content,
  tables,
}: VmdkImage): Row[] {
  const same = readsAs(content);
  const grain = (index: number) => (grains.get(index) ?? 0) / SECTOR;
  const end = image.lengthBytes / SECTOR;
  const table = (tables[0] ?? 0) / SECTOR;
  return [
    ['grain table in the descriptor', MALFORMED, le32(directory, 1)],
    ['grain table is the directory', MALFORMED, le32(directory, directory / SECTOR)],
    ['grain table past the end', TRUNCATED, le32(directory, 0xffffffff)],
    ['grain table at the end', TRUNCATED, le32(directory, end)],
    ['redundant directory past the end', { ...same, warning: 'redundant' }, le64(48, 2n ** 40n)],
    ['redundant directory at 2^63', refusedOrReads(content, 'IMAGE_LIMIT'), le64(48, 2n ** 63n)],
    ['redundant directory names nothing', { ...same, warning: 'redundant' }, le32(redundantDirectory, 0)],
    ['grain in the header', MALFORMED, le32(entry(1), 1)],
    ['grain in its own table', MALFORMED, le32(entry(1), table)],
    ['grain on the end of its table', MALFORMED, le32(entry(1), table + 3)],
    ['grain in the directory', MALFORMED, le32(entry(1), directory / SECTOR)],
    ['grain past the end', TRUNCATED, le32(entry(1), 0xffffffff)],
    ['grain at the end', TRUNCATED, le32(entry(1), end)],
    ['grain half past the end', TRUNCATED, le32(entry(1), end - 4)],
    [
      'two grains at one place',
      refusedOrReads(bent(content, bytesAt(GRAIN, bytesOf(content).subarray(0, GRAIN))), 'IMAGE_MALFORMED'),
      le32(entry(1), grain(0)),
    ],
    [
      'a grain that begins in the middle of another',
      refusedOrReads(
        bent(
          content,
          bytesAt(GRAIN, bytesOf(image).subarray((grain(0) + 4) * SECTOR, (grain(0) + 12) * SECTOR)),
        ),
        'IMAGE_MALFORMED',
      ),
      le32(entry(1), grain(0) + 4),
    ],
    // Without flag 2 an entry of 1 is the descriptor's sector, which no grain is.
    ['a zero grain entry without its flag', MALFORMED, le32(entry(1), 1)],
    [
      'a zero grain entry with its flag',
      readsAs(bent(content, bytesAt(GRAIN, new Uint8Array(GRAIN)))),
      le32(8, 7),
      le32(entry(1), 1),
    ],
  ];
}

/** Records of a stream that are not what their table says. */
function* recordCases(): Generator<HostileCase> {
  const plain = pattern(GRAIN, 2);
  const first = [0, grainRecord(0, noise(GRAIN, 1))] as const;
  const last = [2, grainRecord(2, noise(GRAIN, 3))] as const;
  const grains = new Map([
    [0, noise(GRAIN, 1)],
    [1, plain],
    [2, noise(GRAIN, 3)],
  ]);
  const changed = (record: Uint8Array, ...patches: readonly Patch[]) =>
    bytesOf(bent(imageOf(record.length, bytesAt(0, record)), ...patches));
  const good = grainRecord(1, plain);
  const sum = 12 + zlib.deflateSync(plain).length - 4;
  const list: readonly (readonly [string, Expected | undefined, Uint8Array])[] = [
    ['good', undefined, good],
    ['that belongs elsewhere', MALFORMED, changed(good, le64(0, 16))],
    ['of sector 2^63', MALFORMED, changed(good, le64(0, 2n ** 63n))],
    // In a stream a record of size 0 is a marker.
    ['of size 0', MALFORMED, changed(good, le32(8, 0))],
    [
      'of size 0xffffffff',
      refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED', 'IMAGE_LIMIT'),
      changed(good, le32(8, 0xffffffff)),
    ],
    ['that runs into the next', MALFORMED, changed(good, le32(8, 4000))],
    ['cut short', MALFORMED, changed(good, le32(8, 20))],
    ['that inflates to 64 MiB', MALFORMED, grainRecord(1, plain, zlib.deflateSync(new Uint8Array(2 ** 26)))],
    ['that inflates to a byte more', MALFORMED, grainRecord(1, plain, zlib.deflateSync(noise(GRAIN + 1)))],
    ['that inflates to a byte less', MALFORMED, grainRecord(1, plain, zlib.deflateSync(noise(GRAIN - 1)))],
    ['that inflates to nothing', MALFORMED, grainRecord(1, plain, zlib.deflateSync(new Uint8Array(0)))],
    ['of raw deflate', MALFORMED, grainRecord(1, plain, zlib.deflateRawSync(plain))],
    ['of gzip', MALFORMED, grainRecord(1, plain, zlib.gzipSync(plain))],
    ['that is not compressed', MALFORMED, grainRecord(1, plain, noise(GRAIN))],
    ['with a wrong check sum', MALFORMED, changed(good, le32(sum, 0x12345678))],
    [
      'that asks for a dictionary',
      MALFORMED,
      grainRecord(1, plain, zlib.deflateSync(plain, { dictionary: Buffer.from('x') })),
    ],
  ];
  for (const tablesFirst of [false, true]) {
    for (const [what, expected, record] of list) {
      const made = streamImage({ tablesFirst, grains, records: [first, [1, record], last] });
      yield {
        name: `vmdk stream, ${tablesFirst ? 'tables first' : 'with a footer'}: a record ${what}`,
        format,
        image: made.image,
        expected: expected ?? readsAs(made.content),
        onlyWhole: true,
      };
    }
  }
}

function* streamCases(): Generator<HostileCase> {
  const good = streamImage();
  const { image, content, footer = 0, directory, entry, grains } = good;
  const same = readsAs(content);
  yield { name: 'vmdk stream: good', image, expected: same };
  yield* rows('vmdk stream', good, [
    ['a footer of another capacity', MALFORMED, le64(footer + 12, 64)],
    ['a footer of another grain', MALFORMED, le64(footer + 20, 16)],
    ['a footer without a directory', MALFORMED, le64(footer + 56, AT_END)],
    [
      'a footer whose directory lies past the end',
      refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
      le64(footer + 56, 2n ** 31n),
    ],
    ['a footer without its mark', MALFORMED, u8(footer, 0)],
    ['a footer without its marker', MALFORMED, le32(footer - SECTOR + 12, 2)],
    ['a footer marker of 2^60 sectors', MALFORMED, le64(footer - SECTOR, 2n ** 60n)],
    ['a footer of version 4', UNSUPPORTED, le32(footer + 4, 4)],
    ['no end of the stream', MALFORMED, u8(image.lengthBytes - 8, 1)],
    ['a compressed grain of 2^21 sectors', LIMIT, le64(20, 2n ** 21n), le64(footer + 20, 2n ** 21n)],
    ['compression without markers', UNSUPPORTED, le32(8, 0x10001), le32(footer + 8, 0x10001)],
    [
      'a grain table that is a grain',
      refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
      le32(directory, (grains.get(0) ?? 0) / SECTOR),
    ],
    ['two grains at one record', MALFORMED, le32(entry(1), (grains.get(0) ?? 0) / SECTOR)],
    [
      'a grain at the end of the stream',
      refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
      le32(entry(1), image.lengthBytes / SECTOR - 1),
    ],
    ['a grain in the header', MALFORMED, le32(entry(1), 1)],
  ]);
  yield* cuts('vmdk stream', good, { format, expected: refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED') });
  const front = streamImage({ tablesFirst: true });
  yield { name: 'vmdk stream, tables first: good', image: front.image, expected: readsAs(front.content) };
  for (const hostile of cuts('vmdk stream, tables first', front, { format })) {
    // qemu-img writes no end of the stream.
    const atEnd = hostile.name.includes('end of the stream');
    yield atEnd
      ? { ...hostile, expected: refusedOrReads(front.content, 'IMAGE_TRUNCATED', 'IMAGE_MALFORMED') }
      : hostile;
  }
  yield* markerCases(good);
  yield {
    name: 'vmdk stream: something behind the end of the stream',
    format,
    image: joined(image, imageOf(SECTOR, u8(3, 7))),
    expected: MALFORMED,
    forward: same,
  };
}

/** Markers in the middle of a stream that a reader who walks them could go wrong at. */
function* markerCases(good: VmdkImage): Generator<HostileCase> {
  const plain = usualGrains();
  const between = (sectorCount: number | bigint, type: number, bytes = 0) =>
    bytesOf(imageOf(SECTOR + bytes, ...marker(0, sectorCount, type)));
  const list: readonly (readonly [string, Uint8Array])[] = [
    ['a progress marker', between(0, 4)],
    ['a marker of type 5', between(0, 5)],
    ['a marker of type 0xffffffff', between(0, 0xffffffff)],
    ['a grain table marker of 0 sectors', between(0, 1)],
    ['a grain table marker of 2^60 sectors', between(2n ** 60n, 1)],
    ['a grain table marker of 2^64 - 1 sectors', between(2n ** 64n - 1n, 1)],
    ['a directory marker of 2^32 sectors', between(2n ** 32n, 2)],
    ['a second footer', between(1, 3, SECTOR)],
    ['an early end of the stream', between(0, 0)],
  ];
  for (const [what, bytes] of list) {
    const records = [...plain].map(([grain, bytes]) => [grain, grainRecord(grain, bytes)] as const);
    const [first = [0, bytes] as const, ...others] = records;
    const made = streamImage({ records: [[first[0], Buffer.concat([first[1], bytes])], ...others] });
    yield {
      name: `vmdk stream: ${what} between the grains`,
      format,
      image: made.image,
      // The tables do not lead to it.
      expected: readsAs(good.content),
      forward: refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED', 'IMAGE_LIMIT', 'IMAGE_UNSUPPORTED'),
    };
  }
}

/** Embedded descriptors that name other files, or make no sense. */
function* embeddedCases(): Generator<HostileCase> {
  const good = sparseImage();
  const line = 'RW 128 SPARSE "disk.vmdk"';
  const list: readonly (readonly [string, Expected, string])[] = [
    ['a second extent', REFERENCE, descriptorText('monolithicSparse', [line, line])],
    [
      'an extent in /etc/passwd',
      REFERENCE,
      descriptorText('monolithicSparse', ['RW 128 FLAT "/etc/passwd" 0']),
    ],
    [
      'a parent',
      REFERENCE,
      descriptorText('monolithicSparse', [line], 'parentFileNameHint="/etc/passwd"').replace(
        'parentCID=ffffffff',
        'parentCID=00000001',
      ),
    ],
    [
      'a parentCID that is none',
      MALFORMED,
      descriptorText('monolithicSparse', [line]).replace('parentCID=ffffffff', 'parentCID=none'),
    ],
    ['an extent of -8 sectors', MALFORMED, descriptorText('monolithicSparse', ['RW -8 SPARSE "disk.vmdk"'])],
    [
      'an extent of 2^64 - 1 sectors',
      LIMIT,
      descriptorText('monolithicSparse', ['RW 18446744073709551615 SPARSE "disk.vmdk"']),
    ],
    [
      'an extent of 10^300 sectors',
      LIMIT,
      descriptorText('monolithicSparse', [`RW 1${'0'.repeat(300)} SPARSE "disk.vmdk"`]),
    ],
    [
      'another createType',
      { ...readsAs(good.content), warning: 'streamOptimized' },
      descriptorText('streamOptimized', [line]),
    ],
    [
      'a key twice',
      { ...readsAs(good.content), warning: 'more than once' },
      `${descriptorText('monolithicSparse', [line])}CID=1\n`,
    ],
    [
      'one line of 10 KiB',
      readsAs(good.content),
      `${descriptorText('monolithicSparse', [line])}#${'='.repeat(9000)}\n`,
    ],
    [
      'an unknown encoding',
      readsAs(good.content),
      descriptorText('monolithicSparse', [line], 'encoding="no-such"'),
    ],
    [
      'UTF-16 as its encoding',
      refusedOrReads(good.content, 'IMAGE_MALFORMED'),
      descriptorText('monolithicSparse', [line], 'encoding="utf-16le"'),
    ],
  ];
  for (const [what, expected, descriptor] of list) {
    yield {
      name: `vmdk: an embedded descriptor with ${what}`,
      format,
      image: sparseImage({ descriptor }).image,
      expected,
    };
  }
}

function* cases(): Generator<HostileCase> {
  const good = sparseImage();
  const same = readsAs(good.content);
  yield { name: 'vmdk: good, declared', format, image: good.image, expected: same };
  yield { name: 'vmdk: good, by its mark', image: good.image, expected: same };
  yield* rows('vmdk', good, headerRows(same));
  yield* rows('vmdk', good, tableRows(good));
  for (const hostile of cuts('vmdk', good, { format })) yield hostile;
  const large = sparseImage({
    sizeBytes: 5 * 2 ** 20,
    grains: new Map([
      [0, noise(GRAIN)],
      [600, noise(GRAIN, 2)],
    ]),
  });
  yield {
    name: 'vmdk: good, three grain tables',
    format,
    image: large.image,
    expected: readsAs(large.content),
  };
  yield* rows('vmdk', large, [
    [
      'two directory entries name one table',
      MALFORMED,
      le32(large.directory + 4, (large.tables[0] ?? 0) / SECTOR),
    ],
    [
      'a table that overlaps another',
      MALFORMED,
      le32(large.directory + 4, (large.tables[0] ?? 0) / SECTOR + 1),
    ],
  ]);
  yield {
    name: 'vmdk: all entries of three tables name one grain',
    format,
    image: bent(
      large.image,
      ...large.tables.map((at) => ({
        ...le32(at, (large.grains.get(0) ?? 0) / SECTOR),
        count: 512,
      })),
    ),
    expected: AMPLIFIED,
    onlyWhole: true,
  };
  yield* embeddedCases();
  yield* recordCases();
  yield* streamCases();
  yield* cowdCases();
  yield* seSparseCases();
}

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

function* cowdCases(): Generator<HostileCase> {
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

function* seSparseCases(): Generator<HostileCase> {
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

export const vmdk: Family = { name: 'vmdk', cases };
