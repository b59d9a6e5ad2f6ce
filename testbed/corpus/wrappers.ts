import { execFileSync } from 'node:child_process';
import zlib from 'node:zlib';
import {
  type Expected,
  type Family,
  type HostileCase,
  LIMIT,
  MALFORMED,
  REFERENCE,
  readsAs,
  refusedOrReads,
  refusedWith,
  UNSUPPORTED,
} from './case.ts';
import { le32, noise, pattern, text, u8 } from './fields.ts';
import { bent, bytesOf, type CorpusImage, imageOf, imageOfBytes, joined, resized } from './image.ts';
import { qcow2Image } from './qcow2-image.ts';

const plain = Buffer.concat([noise(70_000, 1), pattern(30_000, 2)]);
const content = imageOfBytes(plain);
const same = readsAs(content);

interface Wrapper {
  readonly name: 'gzip' | 'zstd' | 'xz';
  pack(bytes: Uint8Array): Uint8Array;
  /** A whole file that unpacks to so many zeros. */
  zeros(lengthBytes: number): Uint8Array;
}

const wrappers: readonly Wrapper[] = [
  {
    name: 'gzip',
    pack: (bytes) => zlib.gzipSync(bytes),
    zeros: (length) => zlib.gzipSync(new Uint8Array(length)),
  },
  {
    name: 'zstd',
    pack: (bytes) =>
      zlib.zstdCompressSync(bytes, {
        params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 },
        pledgedSrcSize: bytes.length,
      }),
    zeros: (length) => zlib.zstdCompressSync(new Uint8Array(length), { pledgedSrcSize: length }),
  },
  // Node has no xz.
  { name: 'xz', pack: xz, zeros: (length) => xz(new Uint8Array(length)) },
];

function xz(bytes: Uint8Array): Uint8Array {
  return execFileSync('xz', ['-c', '-T1', '-0'], { input: bytes, maxBuffer: 2 ** 30 });
}

/** A mark in a place that the format keeps free or checks; the reader may be stricter than the format. */
const ANY: Expected = refusedOrReads(
  content,
  'IMAGE_MALFORMED',
  'IMAGE_UNSUPPORTED',
  'IMAGE_LIMIT',
  'IMAGE_TRUNCATED',
);
const CUT: Expected = refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED');

function* commonCases({ name, pack, zeros }: Wrapper): Generator<HostileCase> {
  const good = imageOfBytes(pack(plain));
  const end = good.lengthBytes;
  const one = (
    what: string,
    image: CorpusImage,
    expected: Expected,
    more: Partial<HostileCase> = {},
  ): HostileCase => ({
    name: `${name}: ${what}`,
    image,
    expected,
    ...more,
  });
  yield one('good, by its mark', good, same);
  yield one('good, declared', good, same, { format: name });
  yield one(
    'two files, one after the other',
    joined(imageOfBytes(pack(plain.subarray(0, 50_000))), imageOfBytes(pack(plain.subarray(50_000)))),
    same,
  );
  yield one('of nothing', imageOfBytes(pack(new Uint8Array(0))), readsAs(imageOf(0)));
  // gzip ignores it, with a warning; the others refuse it.
  yield one(
    'garbage behind the end',
    joined(good, imageOfBytes(noise(1000))),
    refusedOrReads(content, 'IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED', 'IMAGE_TRUNCATED'),
  );
  yield one(
    'zeros behind the end',
    joined(good, imageOf(1024)),
    refusedOrReads(content, 'IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
  );
  yield one('compressed twice', imageOfBytes(pack(pack(plain))), UNSUPPORTED);
  for (const lengthBytes of [
    6,
    7,
    10,
    11,
    12,
    13,
    18,
    19,
    24,
    30,
    1000,
    50_000,
    end - 30,
    end - 13,
    end - 9,
    end - 8,
    end - 5,
    end - 4,
    end - 1,
  ]) {
    yield one(`cut to ${lengthBytes} bytes`, resized(good, lengthBytes), CUT, { onlyWhole: true });
  }
  for (const at of [8, 14, 20, 100, 40_000, end - 40, end - 9, end - 6, end - 1]) {
    const byte = bytesOf(good)[at] ?? 0;
    yield one(`byte ${at} damaged`, bent(good, u8(at, byte ^ 0x11)), ANY, { onlyWhole: true });
  }
  const inner = qcow2Image();
  yield one('a qcow2 inside', imageOfBytes(pack(bytesOf(inner.image))), readsAs(inner.content));
  yield one(
    'a qcow2 inside that names a backing file',
    imageOfBytes(pack(bytesOf(qcow2Image({ backing: { name: '/etc/passwd' } }).image))),
    REFERENCE,
  );
  yield one(
    'a qcow2 inside that is cut',
    imageOfBytes(pack(bytesOf(resized(inner.image, 12_000)))),
    refusedWith('IMAGE_TRUNCATED'),
  );
  yield one(
    'a descriptor inside that names /etc/passwd',
    imageOfBytes(
      pack(
        Buffer.from(
          '# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/passwd" 0\n',
        ),
      ),
    ),
    REFERENCE,
  );
  const large = 16 * 2 ** 20;
  yield one('16 MiB of zeros', imageOfBytes(zeros(large)), readsAs(imageOf(large)));
}

function* gzipCases(): Generator<HostileCase> {
  const good = zlib.gzipSync(plain);
  const list: readonly (readonly [string, CorpusImage, Expected])[] = [
    ['method 7', bent(imageOfBytes(good), u8(2, 7)), refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED')],
    [
      'reserved flags',
      bent(imageOfBytes(good), u8(3, 0xe0)),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_UNSUPPORTED'),
    ],
    [
      'a name without an end',
      imageOfBytes(Buffer.concat([Buffer.from('1f8b0808000000000003', 'hex'), Buffer.alloc(200_000, 'a')])),
      CUT,
    ],
    [
      'an extra field longer than the file',
      imageOfBytes(Buffer.concat([Buffer.from('1f8b0804000000000003ffff', 'hex'), Buffer.from('short')])),
      CUT,
    ],
    ['a wrong length at its end', bent(imageOfBytes(good), le32(good.length - 4, 5)), MALFORMED],
    ['a wrong CRC', bent(imageOfBytes(good), le32(good.length - 8, 5)), MALFORMED],
    ['a name that is a path', imageOfBytes(withName(good, '../../etc/passwd')), same],
  ];
  for (const [what, image, expected] of list)
    yield { name: `gzip: ${what}`, image, format: 'gzip', expected, onlyWhole: true };
  const member = zlib.gzipSync(new Uint8Array(0));
  yield {
    name: 'gzip: 200000 empty members',
    format: 'gzip',
    image: {
      lengthBytes: member.length * 200_000,
      patches: [{ offsetBytes: 0, bytes: member, count: 200_000 }],
    },
    expected: refusedOrReads(imageOf(0), 'IMAGE_LIMIT', 'IMAGE_MALFORMED'),
  };
}

function withName(file: Uint8Array, name: string): Uint8Array {
  const head = Buffer.from(file.subarray(0, 10));
  head[3] = 8;
  return Buffer.concat([head, Buffer.from(`${name}\0`), file.subarray(10)]);
}

function* zstdCases(): Generator<HostileCase> {
  const rle = (count: number, blockBytes: number) => {
    const blocks = Buffer.alloc(count * 4);
    for (let index = 0; index < count; index++) {
      blocks.writeUIntLE((blockBytes << 3) | 2 | (index === count - 1 ? 1 : 0), index * 4, 3);
    }
    return blocks;
  };
  const frame = (header: readonly number[], body: Uint8Array) =>
    imageOfBytes(Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, ...header]), body]));
  const list: readonly (readonly [string, CorpusImage, Expected])[] = [
    [
      'a window of 2 GiB',
      frame([0, 21 << 3], rle(1, 4096)),
      refusedOrReads(imageOf(4096), 'IMAGE_LIMIT', 'IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    [
      'a window of 3.75 TiB',
      frame([0, 0xff], rle(1, 4096)),
      refusedWith('IMAGE_LIMIT', 'IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    ['a content of 2^63 bytes', frame([0xc0, 10 << 3, 0, 0, 0, 0, 0, 0, 0, 0x80], rle(1, 4096)), LIMIT],
    [
      'a content of 2^64 - 1 bytes',
      frame([0xc0, 10 << 3, 255, 255, 255, 255, 255, 255, 255, 255], rle(1, 4096)),
      LIMIT,
    ],
    [
      'a content of 65 TiB',
      frame([0xc0, 10 << 3, 0, 0, 0, 0, 0, 65, 0, 0], rle(1, 4096)),
      refusedWith('IMAGE_LIMIT', 'IMAGE_MALFORMED'),
    ],
    ['a content of more than there is', frame([0x80, 10 << 3, 0, 0, 1, 0], rle(1, 4096)), MALFORMED],
    ['a content of less than there is', frame([0x80, 10 << 3, 0, 1, 0, 0], rle(1, 4096)), MALFORMED],
    [
      'a dictionary',
      frame([0x03, 10 << 3, 1, 2, 3, 4], rle(1, 4096)),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    [
      'the reserved bit',
      frame([0x08, 10 << 3], rle(1, 4096)),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    ['the reserved type of block', frame([0, 10 << 3], Buffer.from([0x07, 0, 0])), MALFORMED],
    ['a block above 128 KiB', frame([0, 10 << 3], rle(1, 2 ** 20)), MALFORMED],
    ['a block longer than the file', frame([0, 10 << 3], Buffer.from([0x01, 0xff, 0])), CUT],
    [
      'a skippable frame of 4 GiB',
      imageOf(100, le32(0, 0x184d2a50), le32(4, 0xffffffff)),
      refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
    ],
    [
      'skippable frames only',
      {
        lengthBytes: 8000,
        patches: [{ offsetBytes: 0, bytes: Buffer.from('502a4d1800000000', 'hex'), count: 1000 }],
      },
      refusedOrReads(imageOf(0), 'IMAGE_TRUNCATED', 'IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
    [
      '64 MiB of zeros in 2 KiB',
      frame([0, 10 << 3], rle(512, 131_072)),
      refusedOrReads(imageOf(64 * 2 ** 20), 'IMAGE_LIMIT', 'IMAGE_MALFORMED'),
    ],
    [
      'a million empty blocks',
      frame([0, 10 << 3], Buffer.concat([Buffer.alloc(3 * 2 ** 20), Buffer.from([1, 0, 0])])),
      refusedOrReads(imageOf(0), 'IMAGE_LIMIT', 'IMAGE_MALFORMED'),
    ],
  ];
  for (const [what, image, expected] of list)
    yield { name: `zstd: ${what}`, format: 'zstd', image, expected, onlyWhole: true };
}

function* xzCases(): Generator<HostileCase> {
  const good = xz(plain);
  const end = good.length;
  const list: readonly (readonly [string, CorpusImage, Expected])[] = [
    [
      'a wrong version',
      bent(imageOfBytes(good), u8(6, 1)),
      refusedWith('IMAGE_UNSUPPORTED', 'IMAGE_MALFORMED'),
    ],
    ['a wrong CRC of its flags', bent(imageOfBytes(good), le32(8, 5)), MALFORMED],
    [
      'a footer without its mark',
      bent(imageOfBytes(good), text(end - 2, 'XX')),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
    ],
    [
      'a backward size of 16 GiB',
      bent(imageOfBytes(good), le32(end - 8, 0xffffffff)),
      refusedWith('IMAGE_MALFORMED', 'IMAGE_LIMIT', 'IMAGE_TRUNCATED'),
    ],
    ['a block header of 1024 bytes', bent(imageOfBytes(good), u8(12, 0xff)), MALFORMED],
    [
      'padding of 3 bytes',
      joined(imageOfBytes(good), imageOf(3)),
      refusedOrReads(content, 'IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
    ],
    ['padding of 4 bytes', joined(imageOfBytes(good), imageOf(4)), same],
    [
      'padding of 16 MiB',
      joined(imageOfBytes(good), imageOf(2 ** 24)),
      refusedOrReads(content, 'IMAGE_MALFORMED', 'IMAGE_LIMIT'),
    ],
  ];
  for (const [what, image, expected] of list)
    yield { name: `xz: ${what}`, format: 'xz', image, expected, onlyWhole: true };
}

function* cases(): Generator<HostileCase> {
  for (const wrapper of wrappers) yield* commonCases(wrapper);
  yield* gzipCases();
  yield* zstdCases();
  yield* xzCases();
}

export const wrapped: Family = { name: 'wrappers', cases };
