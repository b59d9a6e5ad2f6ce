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
import { bytesAt, cuts, le16, le32, le64, noise, text, u8 } from './fields.ts';
import { bent, bytesOf } from './image.ts';
import { cowdCases, seSparseCases } from './vmdk-esx.ts';
import { AT_END, descriptorText, SECTOR, sparseImage, type VmdkImage } from './vmdk-image.ts';
import { format, GRAIN, type Row, rows } from './vmdk-rows.ts';
import { recordCases, streamCases } from './vmdk-stream.ts';

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

export const vmdk: Family = { name: 'vmdk', cases };
