import { AMPLIFIED, type HostileCase, readsAs, refusedOrReads, refusedWith } from './case.ts';
import { be32, be64, bytesAt, noise, pattern } from './fields.ts';
import { bent, type CorpusImage, imageOf, type Patch, resized } from './image.ts';
import { type Cluster, packed, packedEntry, qcow2Image } from './qcow2-image.ts';

const MIB = 2 ** 20;

const TIB = 2 ** 40;

const COPIED = 1n << 63n;

/** A qcow2 of so many L2 tables whose every entry is `entry`; clusters of 64 KiB unless said otherwise. */
function sharedQcow2(
  tableCount: number,
  {
    clusterBits = 16,
    zstd = false,
    data,
    entry,
  }: {
    clusterBits?: number;
    zstd?: boolean;
    data: Uint8Array;
    /** Of the data's place. */
    entry: (hostBytes: number) => bigint;
  },
): CorpusImage {
  const clusterBytes = 2 ** clusterBits;
  const sizeBytes = tableCount * (clusterBytes / 8) * clusterBytes;
  const good = qcow2Image({ clusterBits, zstd, sizeBytes, clusters: new Map() });
  const tables = good.image.lengthBytes;
  const host = tables + tableCount * clusterBytes;
  const patches: Patch[] = [];
  for (let index = 0; index < tableCount; index++) {
    const at = tables + index * clusterBytes;
    patches.push(be64(good.l1 + index * 8, COPIED | BigInt(at)));
    patches.push({ ...be64(at, entry(host)), count: clusterBytes / 8 });
  }
  const end = Math.ceil((host + data.length) / clusterBytes) * clusterBytes;
  return resized(bent(good.image, ...patches, bytesAt(host, data)), end);
}

export function* qcow2Bombs(): Generator<HostileCase> {
  const one = (name: string, image: CorpusImage, more: Partial<HostileCase> = {}): HostileCase => ({
    name: `qcow2 bomb: ${name}`,
    format: 'qcow2',
    image,
    expected: AMPLIFIED,
    onlyWhole: true,
    ...more,
  });
  const good = qcow2Image({
    clusterBits: 16,
    sizeBytes: 4 * TIB,
    clusters: new Map<number, Cluster>([[0, { plain: noise(65536) }]]),
  });
  const l2 = good.l2.get(0) ?? 0;
  yield one(
    '384 KiB that show 4 TiB: one L2 table under all L1 entries, one cluster in all of its entries',
    bent(
      good.image,
      { ...be64(good.l1, COPIED | BigInt(l2)), count: 8192 },
      { ...be64(l2, COPIED | BigInt(good.data.get(0) ?? 0)), count: 8192 },
    ),
  );
  const cluster = noise(65536);
  const plainEntry = (host: number) => COPIED | BigInt(host);
  yield one(
    '16 L2 tables all of whose entries name one cluster',
    sharedQcow2(16, { data: cluster, entry: plainEntry }),
  );
  yield one(
    '16 L2 tables whose entries name two clusters in turns',
    bent(sharedQcow2(16, { data: noise(131072), entry: plainEntry }), ...inTurns(16)),
  );
  yield one(
    'one L2 table of 2 MiB all of whose entries name one cluster',
    sharedQcow2(1, { clusterBits: 21, data: new Uint8Array(2 * MIB).fill(1), entry: plainEntry }),
  );
  const blob = packed(pattern(65536));
  yield one(
    '16 L2 tables all of whose entries name one compressed cluster',
    sharedQcow2(16, { data: blob, entry: (host) => packedEntry(host, blob.length, 16) }),
  );
  const large = packed(new Uint8Array(128 * 1024));
  yield one(
    'one L2 table of 128 KiB all of whose entries name 128 KiB of compressed zeros',
    sharedQcow2(1, { clusterBits: 17, data: large, entry: (host) => packedEntry(host, large.length, 17) }),
  );
  // Entries of 8 bytes for frames of 14: sharing one frame makes it no smaller by much.
  const frame = packed(pattern(65536), true);
  yield one(
    'an L2 table all of whose entries name one zstd frame',
    sharedQcow2(1, { zstd: true, data: frame, entry: (host) => packedEntry(host, frame.length, 16) }),
    {
      expected: refusedOrReads(
        imageOf(512 * MIB, { offsetBytes: 0, bytes: pattern(65536), count: 8192 }),
        'IMAGE_LIMIT',
        'IMAGE_MALFORMED',
      ),
    },
  );
  yield one('compressed clusters that begin five bytes apart and overlap', staggered(8));
  const l1 = resized(qcow2Image({ clusterBits: 9, sizeBytes: 512, clusters: new Map() }).image, 17 * MIB);
  yield one(
    'an L1 table of 16 MiB, all of it empty',
    bent(l1, be64(24, 2 * MIB * 64 * 512), be32(36, 2 * MIB)),
    { expected: readsAs(imageOf(2 * MIB * 64 * 512)) },
  );
  const empty = qcow2Image({ clusterBits: 16, sizeBytes: 64 * TIB, clusters: new Map() });
  yield one('64 TiB of nothing', empty.image, { expected: readsAs(empty.content) });
  yield one('a backing chain of 200 images', chainImage(0), {
    files: Object.fromEntries(
      Array.from({ length: 200 }, (_, index) => [`f${index + 1}`, { image: chainImage(index + 1) }]),
    ),
    expected: refusedWith('IMAGE_LIMIT', 'IMAGE_REFERENCE'),
    onlyWhole: false,
  });
  // Magic, no content size, a window of 2^30 bytes (RFC 8878, 3.1.1.1.2), one last RLE block.
  const window = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 20 << 3, 0x03, 0x80, 0x00, 7]);
  const framed = qcow2Image({
    zstd: true,
    clusters: new Map<number, Cluster>([[0, { packed: pattern(4096) }]]),
  });
  yield one(
    'a zstd frame that asks for a window of 1 GiB',
    bent(framed.image, bytesAt(framed.data.get(0) ?? 0, window)),
    {
      expected: refusedOrReads(
        imageOf(65536, { offsetBytes: 0, bytes: Uint8Array.of(7), count: 4096 }),
        'IMAGE_MALFORMED',
        'IMAGE_LIMIT',
      ),
    },
  );
}

/** Every second entry of the tables names the second of two clusters. */
function inTurns(tableCount: number): Patch[] {
  const tables = 4 * 65536;
  const host = tables + tableCount * 65536;
  return Array.from({ length: tableCount }, (_, index) => ({
    offsetBytes: tables + index * 65536,
    bytes: Buffer.concat([
      be64(0, COPIED | BigInt(host)).bytes,
      be64(0, COPIED | BigInt(host + 65536)).bytes,
    ]),
    count: 4096,
  }));
}

/**
 * Empty stored blocks of deflate, five bytes each, before one cluster's data: a compressed cluster may begin at any
 * of them, and no two entries are equal.
 */
function staggered(tableCount: number): CorpusImage {
  const blockCount = 8192;
  const blob = Buffer.concat([
    Buffer.alloc(blockCount * 5, Buffer.from('000000ffff', 'hex')),
    packed(pattern(65536)),
  ]);
  const image = sharedQcow2(tableCount, { data: blob, entry: () => 0n });
  const tables = 4 * 65536;
  const host = tables + tableCount * 65536;
  const entries = Buffer.alloc(65536);
  for (let index = 0; index < 8192; index++) {
    const at = host + (index % blockCount) * 5;
    entries.writeBigUInt64BE(packedEntry(at, host + blob.length - at, 16), index * 8);
  }
  return bent(
    image,
    ...Array.from({ length: tableCount }, (_, index) => bytesAt(tables + index * 65536, entries)),
  );
}

function chainImage(index: number): CorpusImage {
  return qcow2Image({ backing: { name: `f${index + 1}`, format: 'qcow2' }, clusters: new Map() }).image;
}
