import zlib from 'node:zlib';
import {
  type Expected,
  type HostileCase,
  LIMIT,
  MALFORMED,
  readsAs,
  refusedOrReads,
  refusedWith,
  UNSUPPORTED,
} from './case.ts';
import { bytesAt, cuts, le32, le64, noise, pattern, u8 } from './fields.ts';
import { bent, bytesOf, imageOf, joined, type Patch, resized } from './image.ts';
import {
  AT_END,
  grainRecord,
  marker,
  SECTOR,
  streamImage,
  usualGrains,
  type VmdkImage,
} from './vmdk-image.ts';
import { format, GRAIN, rows } from './vmdk-rows.ts';

/** Records of a stream that are not what their table says. */
export function* recordCases(): Generator<HostileCase> {
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

export function* streamCases(): Generator<HostileCase> {
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
  // The zeros behind the last record, and the sector of zeros behind that, are nobody's data.
  for (const missingBytes of [1, 511, 513, 700, 1023]) {
    yield {
      name: `vmdk stream, tables first: ${missingBytes} bytes of its end are missing`,
      format,
      image: resized(front.image, front.image.lengthBytes - missingBytes),
      expected: refusedOrReads(front.content, 'IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
      onlyWhole: true,
    };
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
