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
  TRUNCATED,
  UNSUPPORTED,
} from './case.ts';
import { be16, be32, be64, bytesAt, cuts, noise, pattern, text, u8 } from './fields.ts';
import { bent, bytesOf, type CorpusImage, imageOf, type Patch, resized } from './image.ts';
import {
  type Cluster,
  packed,
  packedClusters,
  packedEntry,
  type Qcow2Image,
  qcow2Image,
} from './qcow2-image.ts';

const format = 'qcow2';
const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;

type Row = readonly [what: string, expected: Expected, ...patches: readonly Patch[]];

function* rows(good: Qcow2Image, list: readonly Row[]): Generator<HostileCase> {
  for (const [name, expected, ...patches] of list) {
    yield { name: `qcow2: ${name}`, format, image: bent(good.image, ...patches), expected };
  }
}

function headerRows({ l1, refcountTable }: Qcow2Image, same: Expected): Row[] {
  return [
    ['no mark', MALFORMED, u8(0, 0)],
    ['version 0', UNSUPPORTED, be32(4, 0)],
    ['version 4', UNSUPPORTED, be32(4, 4)],
    ['version 0xffffffff', UNSUPPORTED, be32(4, 0xffffffff)],
    ['l1_size 0', MALFORMED, be32(36, 0)],
    ['l1_size 0x7fffffff', LIMIT, be32(36, 0x7fffffff)],
    ['l1_size 0xffffffff', LIMIT, be32(36, 0xffffffff)],
    ['an L1 table of 32 MiB in a small file', TRUNCATED, be32(36, 4 * 2 ** 20)],
    ['an L1 table smaller than the size needs', MALFORMED, be64(24, 2n ** 40n)],
    ['size 2^53', LIMIT, be64(24, 2n ** 53n)],
    ['size 2^60', LIMIT, be64(24, 2n ** 60n)],
    ['size 2^63', LIMIT, be64(24, 2n ** 63n)],
    ['size 2^64 - 1', LIMIT, be64(24, 2n ** 64n - 1n)],
    ['size 64 TiB and a sector', LIMIT, be64(24, 2n ** 46n + 512n)],
    ['cluster_bits 0', MALFORMED, be32(20, 0)],
    ['cluster_bits 8', MALFORMED, be32(20, 8)],
    ['cluster_bits 22', MALFORMED, be32(20, 22)],
    ['cluster_bits 32', MALFORMED, be32(20, 32)],
    ['cluster_bits 64', MALFORMED, be32(20, 64)],
    ['cluster_bits 0xffffffff', MALFORMED, be32(20, 0xffffffff)],
    ['refcount table of 0 clusters', MALFORMED, be32(56, 0)],
    ['refcount table of 0xffffffff clusters', LIMIT, be32(56, 0xffffffff)],
    ['L1 table past the end', TRUNCATED, be64(40, 2n ** 40n)],
    ['L1 table at 2^63', LIMIT, be64(40, 2n ** 63n)],
    ['L1 table at 2^64 - 4096', LIMIT, be64(40, 2n ** 64n - 4096n)],
    ['L1 table unaligned', MALFORMED, be64(40, l1 + 8)],
    ['L1 table in the header', MALFORMED, be64(40, 0)],
    ['refcount table unaligned', MALFORMED, be64(48, refcountTable + 8)],
    ['header_length 0xfffffff8', MALFORMED, be32(100, 0xfffffff8)],
    ['header_length 0', MALFORMED, be32(100, 0)],
    ['header_length 96', MALFORMED, be32(100, 96)],
    ['header_length 103', MALFORMED, be32(100, 103)],
    ['incompatible bit 5', UNSUPPORTED, be64(72, 32)],
    ['incompatible bit 63', UNSUPPORTED, be64(72, COPIED)],
    ['the corrupt bit', MALFORMED, be64(72, 2)],
    ['an external data file without a name', REFERENCE, be64(72, 4)],
    ['the zstd bit with type 0', MALFORMED, be64(72, 8)],
    ['type 1 without the zstd bit', MALFORMED, u8(104, 1)],
    ['compression type 7', UNSUPPORTED, be64(72, 8), u8(104, 7)],
    ['extended L2 in clusters of 4 KiB', MALFORMED, be64(72, 16)],
    ['refcount_order 7', MALFORMED, be32(96, 7)],
    ['refcount_order 0xffffffff', MALFORMED, be32(96, 0xffffffff)],
    ['65537 snapshots', LIMIT, be32(60, 65537)],
    ['AES', UNSUPPORTED, be32(32, 1)],
    ['LUKS without its header', UNSUPPORTED, be32(32, 2)],
    ['crypt_method 3', UNSUPPORTED, be32(32, 3)],
    ['an extension of 0xfffffff0 bytes', MALFORMED, be32(112, 0x12345678), be32(116, 0xfffffff0)],
    [
      'an extension one byte longer than its cluster',
      MALFORMED,
      be32(112, 0x12345678),
      be32(116, 4096 - 119),
    ],
    ['a bitmaps extension of 8 bytes', MALFORMED, be64(88, 1), be32(112, 0x23852875), be32(116, 8)],
    [
      'the compatible and autoclear bits all set, no bitmaps',
      same,
      be64(80, 2n ** 64n - 1n),
      be64(88, 0xfffffffdn),
    ],
    ['backing name of 1024 bytes', MALFORMED, be64(8, 512), be32(16, 1024)],
    ['backing name of 0xffffffff bytes', MALFORMED, be64(8, 512), be32(16, 0xffffffff)],
    ['backing name past the first cluster', MALFORMED, be64(8, 4090), be32(16, 10)],
    ['backing name at 2^63', MALFORMED, be64(8, COPIED), be32(16, 10)],
    ['the refcount table names itself', same, be64(refcountTable, refcountTable)],
    ['the refcount table names places past the end', same, be64(refcountTable, 2n ** 50n)],
    ['the refcount block is all ones', same, bytesAt(refcountTable + 4096, new Uint8Array(4096).fill(255))],
  ];
}

function tableRows(good: Qcow2Image): Row[] {
  const { l1, refcountTable, refcountBlock, entry, data, image, content } = good;
  const l2 = good.l2.get(0) ?? 0;
  const dataAt = (cluster: number) => BigInt(data.get(cluster) ?? 0);
  return [
    ['L2 table unaligned', MALFORMED, be64(l1, l2 + 512)],
    ['L2 table past the end', TRUNCATED, be64(l1, 2n ** 50n)],
    ['L2 table at the end', TRUNCATED, be64(l1, image.lengthBytes)],
    ['L2 table is the L1 table', MALFORMED, be64(l1, l1)],
    ['L2 table is the header', MALFORMED, be64(l1, COPIED)],
    ['L2 table is the refcount table', MALFORMED, be64(l1, refcountTable)],
    ['reserved bit 60 of an L1 entry', MALFORMED, be64(l1, COPIED | (1n << 60n) | BigInt(l2))],
    ['reserved bit 3 of an L1 entry', MALFORMED, be64(l1, COPIED | BigInt(l2 + 8))],
    ['data in the header', MALFORMED, be64(entry(0), COPIED)],
    ['data in the L1 table', MALFORMED, be64(entry(0), l1)],
    ['data in the refcount table', MALFORMED, be64(entry(0), refcountTable)],
    ['data unaligned', MALFORMED, be64(entry(1), dataAt(1) + 512n)],
    ['data past the end', TRUNCATED, be64(entry(1), 2n ** 50n)],
    ['data at the end', TRUNCATED, be64(entry(15), image.lengthBytes)],
    ['reserved bit 61 of an L2 entry', MALFORMED, be64(entry(1), COPIED | (1n << 61n) | dataAt(1))],
    ['reserved bit 56 of an L2 entry', MALFORMED, be64(entry(1), COPIED | (1n << 56n) | dataAt(1))],
    ['reserved bit 1 of an L2 entry', MALFORMED, be64(entry(1), COPIED | dataAt(1) | 2n)],
    ['compressed past the end', TRUNCATED, be64(entry(1), COMPRESSED | (2n ** 50n))],
    ['compressed at 2^57', MALFORMED, be64(entry(1), COMPRESSED | (2n ** 57n))],
    ['compressed and COPIED', MALFORMED, be64(entry(1), COPIED | COMPRESSED | dataAt(1))],
    ['compressed garbage', MALFORMED, be64(entry(1), packedEntry(Number(dataAt(0)), 4096, 12))],
    [
      'compressed in the last byte of the file',
      MALFORMED,
      be64(entry(1), COMPRESSED | BigInt(image.lengthBytes - 1)),
    ],
    ['compressed data in the header', MALFORMED, be64(entry(1), packedEntry(4, 500, 12))],
    ['data in its own L2 table', MALFORMED, be64(entry(0), COPIED | BigInt(l2))],
    [
      'two clusters at one place',
      refusedOrReads(bent(content, bytesAt(4096, bytesOf(content).subarray(0, 4096))), 'IMAGE_MALFORMED'),
      be64(entry(1), COPIED | dataAt(0)),
    ],
    // Refcounts are not needed to read, so a reader may not know where their blocks are.
    [
      'data in the refcount block',
      refusedOrReads(
        bent(content, bytesAt(0, bytesOf(image).subarray(refcountBlock, refcountBlock + 4096))),
        'IMAGE_MALFORMED',
      ),
      be64(entry(0), COPIED | BigInt(refcountBlock)),
    ],
  ];
}

/** Compressed clusters whose data is not what it should be. */
function* packedCases(zstd: boolean): Generator<HostileCase> {
  const name = zstd ? 'zstd' : 'zlib';
  const good = qcow2Image({ clusters: packedClusters(4096), zstd });
  const at = good.data.get(1) ?? 0;
  const replaced = (plain: Uint8Array) => {
    const stored = packed(plain, zstd);
    const end = Math.ceil(good.image.lengthBytes / 4096) * 4096;
    return bent(
      resized(good.image, end + Math.ceil(stored.length / 4096) * 4096),
      bytesAt(end, stored),
      be64(good.entry(1), packedEntry(end, stored.length, 12)),
    );
  };
  const list: [string, CorpusImage, Expected][] = [
    ['good compressed clusters', good.image, readsAs(good.content)],
    ['compressed data of another length: one byte less', replaced(pattern(4095, 2)), MALFORMED],
    ['compressed data of another length: one byte more', replaced(pattern(4097, 2)), MALFORMED],
    ['compressed data of another length: nothing', replaced(new Uint8Array(0)), MALFORMED],
    ['a bomb of 64 MiB in one compressed cluster', replaced(new Uint8Array(2 ** 26)), MALFORMED],
    ['compressed data damaged at its start', bent(good.image, bytesAt(at, noise(6, 9))), MALFORMED],
    [
      'compressed data with its sectors one too few',
      bent(
        good.image,
        bytesAt(good.image.lengthBytes, packed(noise(4096, 77), zstd)),
        be64(good.entry(1), packedEntry(good.image.lengthBytes, 512, 12)),
      ),
      MALFORMED,
    ],
    [
      'compressed data all of whose sectors are claimed, up to 8 KiB',
      bent(good.image, be64(good.entry(1), packedEntry(at, 8192 - (at % 512), 12))),
      readsAs(good.content),
    ],
    [
      'a compressed cluster cut in its middle',
      resized(good.image, (good.data.get(15) ?? 0) + 3),
      refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
    ],
  ];
  for (const [what, image, expected] of list) {
    yield { name: `qcow2 ${name}: ${what}`, format, image, expected };
  }
  if (!zstd) return;
  const frames = Buffer.concat(
    [0, 1, 2, 3].map((part) => packed(pattern(4096, 2).subarray(part * 1024, (part + 1) * 1024), true)),
  );
  const end = good.image.lengthBytes;
  yield {
    name: 'qcow2 zstd: a cluster of several frames',
    format,
    image: bent(
      resized(good.image, end + 4096),
      bytesAt(end, frames),
      be64(good.entry(1), packedEntry(end, frames.length, 12)),
    ),
    expected: readsAs(good.content),
  };
  const many = Buffer.concat(Array.from({ length: 400 }, () => packed(Uint8Array.of(1), true)));
  yield {
    name: 'qcow2 zstd: a cluster of 400 frames of a byte',
    format,
    image: bent(
      resized(good.image, end + 8192),
      bytesAt(end, many),
      be64(good.entry(1), packedEntry(end, many.length, 12)),
    ),
    expected: MALFORMED,
  };
  const skippable = Buffer.concat([Buffer.from('502a4d18ffffffff', 'hex'), packed(pattern(4096, 2), true)]);
  yield {
    name: 'qcow2 zstd: a skippable frame that is longer than the file',
    format,
    image: bent(
      resized(good.image, end + 4096),
      bytesAt(end, skippable),
      be64(good.entry(1), packedEntry(end, skippable.length, 12)),
    ),
    expected: MALFORMED,
  };
}

const NAMES = [
  '/etc/passwd',
  '../../../../etc/passwd',
  'file:///etc/passwd',
  'json:{"driver":"file","filename":"/etc/passwd"}',
  'json:{"file":{"driver":"host_device","filename":"/dev/sda"}}',
  'nbd://127.0.0.1:10809',
  'http://169.254.169.254/latest/meta-data/',
  'fd:0',
  '/proc/self/fd/0',
  '/dev/zero',
  'a.qcow2',
  '',
  '\0',
  'name\0/etc/passwd',
];

function* referenceCases(): Generator<HostileCase> {
  const size = 64 * 1024;
  for (const name of NAMES) {
    const good = qcow2Image({ backing: { name } });
    // An offset with a length of 0 names nothing: qemu does not look at it.
    yield {
      name: `qcow2: backing file ${JSON.stringify(name)}`,
      format,
      image: good.image,
      expected: name === '' ? refusedWith('IMAGE_REFERENCE', 'IMAGE_MALFORMED') : REFERENCE,
    };
    const data = qcow2Image({ extensions: [[0x44415441, Buffer.from(name)]] });
    yield {
      name: `qcow2: external data file ${JSON.stringify(name)}`,
      format,
      image: bent(data.image, be64(72, 4)),
      expected: REFERENCE,
    };
  }
  const itself = qcow2Image({ backing: { name: 'a.qcow2', format: 'qcow2' } });
  yield {
    name: 'qcow2: backing file is the image itself, supplied as a file of its own',
    format,
    image: itself.image,
    files: { 'a.qcow2': { image: 'itself' } },
    expected: refusedWith('IMAGE_REFERENCE', 'IMAGE_LIMIT'),
  };
  const raw = qcow2Image({ backing: { name: 'base', format: 'raw' }, sizeBytes: size });
  const inner = qcow2Image();
  const under = imageOf(size, { offsetBytes: 0, bytes: Uint8Array.of(7), count: size });
  yield {
    name: 'qcow2: a raw backing file in which the guest wrote a qcow2 header stays raw',
    format,
    image: raw.image,
    files: { base: { image: resized(inner.image, size) } },
    expected: readsAs({
      lengthBytes: size,
      patches: [
        ...resized(inner.image, size).patches,
        // The zero flag hides what is below.
        { offsetBytes: 9 * 4096, bytes: new Uint8Array(4096) },
        ...raw.content.patches,
      ],
    }),
  };
  yield {
    name: 'qcow2: a backing file of one byte below a larger disk',
    format,
    image: raw.image,
    files: { base: { image: imageOf(1, u8(0, 0x77)) } },
    expected: readsAs(raw.content),
  };
  yield {
    name: 'qcow2: a backing file longer than the disk',
    format,
    image: raw.image,
    files: {
      base: { image: imageOf(2 * size, { offsetBytes: 0, bytes: Uint8Array.of(7), count: 2 * size }) },
    },
    expected: readsAs({
      lengthBytes: size,
      patches: [
        ...under.patches,
        { offsetBytes: 9 * 4096, bytes: new Uint8Array(4096) },
        ...raw.content.patches,
      ],
    }),
  };
  yield {
    name: 'qcow2: a backing file of 2^52 bytes',
    format,
    image: raw.image,
    files: { base: { image: imageOf(2 ** 52) } },
    expected: readsAs(raw.content),
  };
}

/** A snapshot that shares all clusters with the present state, one entry in the table. */
function* snapshotCases(): Generator<HostileCase> {
  const good = qcow2Image();
  const end = good.image.lengthBytes;
  const l1 = end + good.clusterBytes;
  const id = '1';
  const entry = (changes: readonly Patch[] = []) =>
    bent(
      resized(good.image, l1 + good.clusterBytes),
      be32(60, 1),
      be64(64, end),
      be64(end, l1),
      be32(end + 8, 1),
      be16(end + 12, id.length),
      be16(end + 14, 4),
      be32(end + 36, 16),
      be64(end + 48, 65536),
      text(end + 56, `${id}name`),
      be64(l1, BigInt(good.l2.get(0) ?? 0)),
      ...changes,
    );
  const list: readonly [string, readonly Patch[], Expected][] = [
    ['good', [], readsAs(good.content)],
    ['whose L1 table has 0xffffffff entries', [be32(end + 8, 0xffffffff)], LIMIT],
    ['whose L1 table lies past the end', [be64(end, 2n ** 45n)], TRUNCATED],
    ['whose L1 table is unaligned', [be64(end, l1 + 8)], MALFORMED],
    [
      'with extra data of 0xffffffff bytes',
      [be32(end + 36, 0xffffffff)],
      refusedWith('IMAGE_LIMIT', 'IMAGE_TRUNCATED'),
    ],
    ['of a disk of 2^60 bytes', [be64(end + 48, 2n ** 60n)], LIMIT],
    ['of a disk larger than its L1 table', [be64(end + 48, 2n ** 40n)], MALFORMED],
  ];
  for (const [what, changes, expected] of list) {
    yield {
      name: `qcow2: the snapshot opened, ${what}`,
      format,
      image: entry(changes),
      snapshot: id,
      expected,
    };
    yield {
      name: `qcow2: the present state beside a snapshot ${what}`,
      format,
      image: entry(changes),
      expected: readsAs(good.content),
    };
  }
  yield {
    name: 'qcow2: a snapshot that does not exist',
    format,
    image: entry(),
    snapshot: 'other',
    expected: refusedWith('IMAGE_OPTION'),
  };
  yield {
    name: 'qcow2: 65536 snapshots in a small file',
    format,
    image: entry([be32(60, 65536)]),
    snapshot: 'other',
    expected: refusedWith('IMAGE_TRUNCATED', 'IMAGE_LIMIT', 'IMAGE_MALFORMED', 'IMAGE_OPTION'),
  };
}

function* extendedCases(): Generator<HostileCase> {
  const clusters = new Map<number, Cluster>([
    [0, { plain: noise(16384, 1) }],
    [1, { plain: pattern(16384, 2) }],
    [3, 'zero'],
  ]);
  const good = qcow2Image({ clusterBits: 14, extendedL2: true, sizeBytes: 5 * 16384 + 512, clusters });
  const list: readonly Row[] = [
    ['good extended L2', readsAs(good.content)],
    ['subclusters allocated and zero', MALFORMED, be32(good.entry(0) + 8, 1)],
    [
      'a compressed cluster with subclusters',
      MALFORMED,
      be64(good.entry(0), COMPRESSED | BigInt(good.data.get(0) ?? 0)),
    ],
    ['allocated subclusters at offset 0', MALFORMED, be64(good.entry(0), COPIED)],
    [
      'the zero flag of plain L2 entries',
      MALFORMED,
      be64(good.entry(0), COPIED | BigInt(good.data.get(0) ?? 0) | 1n),
    ],
    ['allocated subclusters past the end', TRUNCATED, be64(good.entry(0), COPIED | (2n ** 50n))],
  ];
  yield* rows(good, list);
  yield* cuts('qcow2 with extended L2', good, { format });
}

function* cases(): Generator<HostileCase> {
  const good = qcow2Image();
  const same = readsAs(good.content);
  yield { name: 'qcow2: good, declared', format, image: good.image, expected: same };
  yield { name: 'qcow2: good, by its mark', image: good.image, expected: same };
  yield* rows(good, headerRows(good, same));
  yield {
    name: 'qcow2: the dirty bit',
    format,
    image: bent(good.image, be64(72, 1)),
    expected: readsAs(good.content, 'dirty'),
  };
  yield* rows(good, tableRows(good));
  yield* cuts('qcow2', good, { format });
  const old = qcow2Image({ version: 2 });
  yield { name: 'qcow2: good version 2', format, image: old.image, expected: readsAs(old.content) };
  yield* rows(old, [
    ['version 2 with a zero flag', MALFORMED, be64(old.entry(5), 1)],
    ['version 2 with an L1 table past the end', TRUNCATED, be64(40, 2n ** 40n)],
  ]);
  yield* cuts('qcow2 version 2', old, { format });
  const short = qcow2Image({ headerLength: 104 });
  yield {
    name: 'qcow2: good, header of 104 bytes',
    format,
    image: short.image,
    expected: readsAs(short.content),
  };
  const tiny = qcow2Image({ clusterBits: 9, sizeBytes: 100 * 512 + 100, clusters: manyTables() });
  yield {
    name: 'qcow2: good, clusters of 512 bytes',
    format,
    image: tiny.image,
    expected: readsAs(tiny.content),
  };
  yield* cuts('qcow2 with clusters of 512 bytes', tiny, { format });
  yield* rows(tiny, [
    ['two L1 entries name one L2 table', MALFORMED, be64(tiny.l1 + 8, COPIED | BigInt(tiny.l2.get(0) ?? 0))],
    [
      'an L2 table is the data of another',
      MALFORMED,
      be64(tiny.l1 + 8, COPIED | BigInt(tiny.data.get(0) ?? 0)),
    ],
  ]);
  for (const zstd of [false, true]) {
    yield* packedCases(zstd);
    yield* cuts(`qcow2 ${zstd ? 'zstd' : 'zlib'}`, qcow2Image({ clusters: packedClusters(4096), zstd }), {
      format,
      // The first cluster that is met may be one that begins before the end and one that begins behind it.
      expected: refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED'),
    });
  }
  yield* referenceCases();
  yield* snapshotCases();
  yield* extendedCases();
}

/** Data under two L1 entries of clusters of 512 bytes. */
function manyTables(): Map<number, Cluster> {
  return new Map<number, Cluster>(
    [0, 1, 63, 64, 99, 100].map((cluster) => [cluster, { plain: noise(512, cluster + 1) }]),
  );
}

export const qcow2: Family = { name: 'qcow2', cases };
