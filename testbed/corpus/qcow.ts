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
import {
  be32,
  be64,
  bytesAt,
  cuts,
  type GoodImage,
  noise,
  pattern,
  type Structure,
  text,
  u8,
} from './fields.ts';
import { bent, bytesOf, imageOf, type Patch, resized } from './image.ts';

const format = 'qcow';
const CLUSTER = 4096;
const L1 = 48;
const L2 = 4096;
const FIRST = 8192;
const COMPRESSED = 1n << 63n;

interface QcowImage extends GoodImage {
  readonly data: ReadonlyMap<number, number>;
}

function packedEntry(hostBytes: number, lengthBytes: number): bigint {
  return COMPRESSED | (BigInt(lengthBytes) << 51n) | BigInt(hostBytes);
}

/** Sixteen clusters of 4 KiB below one L2 table, five of them with data, of which one is compressed. */
export function qcowImage(backing?: string): QcowImage {
  const patches: Patch[] = [
    text(0, 'QFI\xfb'),
    be32(4, 1),
    be64(24, 16 * CLUSTER),
    u8(32, 12),
    u8(33, 9),
    be64(40, L1),
    be64(L1, L2),
  ];
  if (backing !== undefined) patches.push(be64(8, 512), be32(16, backing.length), text(512, backing));
  const content: Patch[] = [];
  const data = new Map<number, number>();
  const structures: Structure[] = [
    { name: 'header', offsetBytes: 0, lengthBytes: 48 },
    { name: 'L1 table', offsetBytes: L1, lengthBytes: 8 },
    { name: 'L2 table', offsetBytes: L2, lengthBytes: CLUSTER },
  ];
  let at = FIRST;
  for (const cluster of [0, 1, 2, 7, 15]) {
    const isPacked = cluster === 1;
    const plain = isPacked ? pattern(CLUSTER, cluster + 1) : noise(CLUSTER, cluster + 1);
    const stored = isPacked ? zlib.deflateRawSync(plain, { windowBits: 12 }) : plain;
    data.set(cluster, at);
    patches.push(bytesAt(at, stored), be64(L2 + cluster * 8, isPacked ? packedEntry(at, stored.length) : at));
    content.push(bytesAt(cluster * CLUSTER, plain));
    structures.push({
      name: `${isPacked ? 'compressed' : 'data'} cluster ${cluster}`,
      offsetBytes: at,
      lengthBytes: isPacked ? stored.length - 4 : CLUSTER,
      isData: true,
    });
    at += Math.ceil(stored.length / CLUSTER) * CLUSTER;
  }
  return { image: imageOf(at, ...patches), content: imageOf(16 * CLUSTER, ...content), structures, data };
}

type Row = readonly [what: string, expected: Expected, ...patches: readonly Patch[]];

function rows({ image, content, data }: QcowImage): Row[] {
  const at = (cluster: number) => data.get(cluster) ?? 0;
  const end = image.lengthBytes;
  return [
    ['no mark', MALFORMED, u8(0, 0)],
    ['size 0', MALFORMED, be64(24, 0)],
    ['size 1', MALFORMED, be64(24, 1)],
    ['size 2^53', LIMIT, be64(24, 2n ** 53n)],
    ['size 2^63', LIMIT, be64(24, 2n ** 63n)],
    ['size 2^64 - 1', LIMIT, be64(24, 2n ** 64n - 1n)],
    ['size 64 TiB and a sector', LIMIT, be64(24, 2n ** 46n + 512n)],
    ['size 2^45 with a short file', TRUNCATED, be64(24, 2n ** 45n)],
    ['cluster_bits 8', MALFORMED, u8(32, 8)],
    ['cluster_bits 17', MALFORMED, u8(32, 17)],
    ['cluster_bits 255', MALFORMED, u8(32, 255)],
    ['l2_bits 5', MALFORMED, u8(33, 5)],
    ['l2_bits 14', MALFORMED, u8(33, 14)],
    ['AES', UNSUPPORTED, be32(36, 1)],
    ['crypt_method 2', UNSUPPORTED, be32(36, 2)],
    ['L1 table in the header', MALFORMED, be64(40, 0)],
    ['L1 table past the end', TRUNCATED, be64(40, 2n ** 40n)],
    ['L1 table at 2^63', LIMIT, be64(40, 2n ** 63n)],
    ['L2 table in the header', MALFORMED, be64(L1, 0x18)],
    ['L2 table past the end', TRUNCATED, be64(L1, 2n ** 40n)],
    [
      'L2 table at 2^62',
      refusedWith('IMAGE_LIMIT', 'IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
      be64(L1, 2n ** 62n),
    ],
    ['L2 table unaligned', MALFORMED, be64(L1, L2 + 8)],
    ['data past the end', TRUNCATED, be64(L2 + 16, 2n ** 40n)],
    ['data at the end', TRUNCATED, be64(L2 + 16, end)],
    ['data unaligned', MALFORMED, be64(L2 + 16, at(2) + 8)],
    [
      'data at 2^62',
      refusedWith('IMAGE_LIMIT', 'IMAGE_MALFORMED', 'IMAGE_TRUNCATED'),
      be64(L2 + 16, 2n ** 62n),
    ],
    [
      'two clusters at one place',
      refusedOrReads(
        bent(content, bytesAt(2 * CLUSTER, bytesOf(content).subarray(0, CLUSTER))),
        'IMAGE_MALFORMED',
        'IMAGE_LIMIT',
      ),
      be64(L2 + 16, at(0)),
    ],
    ['compressed data of 0 bytes', MALFORMED, be64(L2 + 8, packedEntry(at(1), 0))],
    ['compressed data past the end', TRUNCATED, be64(L2 + 8, packedEntry(end - 10, 20))],
    ['compressed data at 2^50', TRUNCATED, be64(L2 + 8, packedEntry(2 ** 50, 20))],
    ['compressed data cut short', MALFORMED, be64(L2 + 8, packedEntry(at(1), 10))],
    ['compressed garbage', MALFORMED, be64(L2 + 8, packedEntry(at(0), 4000))],
    ['backing name of 1024 bytes', MALFORMED, be64(8, 512), be32(16, 1024)],
    ['backing name past the end', TRUNCATED, be64(8, 2n ** 40n), be32(16, 10)],
    ['backing name at 2^63', LIMIT, be64(8, 2n ** 63n), be32(16, 10)],
  ];
}

function* cases(): Generator<HostileCase> {
  const good = qcowImage();
  const same = readsAs(good.content);
  yield { name: 'qcow: good, declared', format, image: good.image, expected: same };
  yield { name: 'qcow: good, by its mark', image: good.image, expected: same };
  for (const [name, expected, ...patches] of rows(good)) {
    yield { name: `qcow: ${name}`, format, image: bent(good.image, ...patches), expected };
  }
  yield* cuts('qcow', good, { format });
  for (const name of ['/etc/passwd', '../secret', 'nbd://127.0.0.1', 'qcow', 'json:{"driver":"null-co"}']) {
    yield {
      name: `qcow: backing file ${JSON.stringify(name)}`,
      format,
      image: qcowImage(name).image,
      expected: REFERENCE,
    };
  }
  yield {
    name: 'qcow: backing file is the image itself, supplied as a file of its own',
    format,
    image: qcowImage('qcow').image,
    files: { qcow: { image: 'itself' } },
    expected: refusedWith('IMAGE_REFERENCE', 'IMAGE_LIMIT'),
  };
  // Tables of 64 KiB under an L1 table of 4096 entries that all name one.
  const shared = bent(
    resized(good.image, 2 * 2 ** 20),
    be64(24, 4096n * 8192n * 65536n),
    u8(32, 16),
    u8(33, 13),
    be64(40, 65536),
    { ...be64(65536, 2 * 65536), count: 4096 },
    { ...be64(2 * 65536, 4 * 65536), count: 8192 },
  );
  yield {
    name: 'qcow bomb: 2 TiB of one cluster',
    format,
    image: shared,
    expected: AMPLIFIED,
    onlyWhole: true,
  };
  const blob = zlib.deflateRawSync(new Uint8Array(65536).fill(1), { windowBits: 12 });
  const tableCount = 2;
  const packedShared = bent(
    resized(good.image, 5 * 65536),
    be64(24, tableCount * 8192 * 65536),
    u8(32, 16),
    u8(33, 13),
    be64(40, 65536),
    ...Array.from({ length: tableCount }, (_, index) => be64(65536 + index * 8, (2 + index) * 65536)),
    {
      offsetBytes: 2 * 65536,
      bytes: be64(0, COMPRESSED | (BigInt(blob.length) << 47n) | BigInt(4 * 65536)).bytes,
      count: tableCount * 8192,
    },
    bytesAt(4 * 65536, blob),
  );
  yield {
    name: 'qcow bomb: 1 GiB of one compressed cluster in 320 KiB',
    format,
    image: packedShared,
    expected: AMPLIFIED,
    onlyWhole: true,
  };
}

export const qcow: Family = { name: 'qcow', cases };
