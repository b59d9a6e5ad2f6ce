import {
  AMPLIFIED,
  type Family,
  type HostileCase,
  LIMIT,
  MALFORMED,
  readsAs,
  refusedOrReads,
  refusedWith,
} from './case.ts';
import { be32, be64, bytesAt, le32, le64, noise, pattern, text } from './fields.ts';
import { bent, bytesOf, type CorpusImage, imageOf, type Patch, resized } from './image.ts';
import { type Cluster, packed, packedEntry, qcow2Image } from './qcow2-image.ts';
import { vdiImage } from './vdi.ts';
import { vhdFooter } from './vhd.ts';
import { vhdxImage } from './vhdx-image.ts';
import { descriptorText, headerPatches, SECTOR } from './vmdk-image.ts';

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

function* qcow2Bombs(): Generator<HostileCase> {
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

/** monolithicSparse with tables all of whose entries name one grain of 1 MiB. */
function sharedVmdk(tableCount: number): CorpusImage {
  const grainSectors = 2048;
  const directorySector = 21;
  const tablesSector = directorySector + Math.ceil((tableCount * 4) / SECTOR);
  const grain = Math.ceil((tablesSector + tableCount * 4) / grainSectors) * grainSectors;
  const capacitySectors = tableCount * 512 * grainSectors;
  const patches = [
    ...headerPatches(0, { flags: 1, capacitySectors, directorySector, overheadSectors: grain }),
    le64(20, grainSectors),
    text(SECTOR, descriptorText('monolithicSparse', [`RW ${capacitySectors} SPARSE "disk.vmdk"`])),
    { ...le32(tablesSector * SECTOR, grain), count: tableCount * 512 },
    bytesAt(grain * SECTOR, noise(grainSectors * SECTOR)),
  ];
  for (let index = 0; index < tableCount; index++) {
    patches.push(le32(directorySector * SECTOR + index * 4, tablesSector + index * 4));
  }
  return imageOf((grain + grainSectors) * SECTOR, ...patches);
}

/** monolithicSparse with a directory all of whose entries name one table, and all of that one grain. */
function sharedTable(entryCount: number): CorpusImage {
  const directorySectors = entryCount / 128;
  const tableSector = 21 + directorySectors;
  const grain = Math.ceil((tableSector + 4) / 128) * 128;
  const capacitySectors = entryCount * 512 * 128;
  return imageOf(
    (grain + 128) * SECTOR,
    ...headerPatches(0, { flags: 1, capacitySectors, directorySector: 21, overheadSectors: grain }),
    le64(20, 128),
    text(SECTOR, descriptorText('monolithicSparse', [`RW ${capacitySectors} SPARSE "disk.vmdk"`])),
    { ...le32(21 * SECTOR, tableSector), count: entryCount },
    { ...le32(tableSector * SECTOR, grain), count: 512 },
    bytesAt(grain * SECTOR, noise(128 * SECTOR)),
  );
}

/** A VHD of many blocks: its table alone is long. */
function longVhd(entryCount: number, entry: number): CorpusImage {
  const blockBytes = 128 * 1024;
  const footer = vhdFooter({ type: 3, sizeBytes: entryCount * blockBytes, dataOffset: 512 });
  const header = new Uint8Array(1024);
  const view = new DataView(header.buffer);
  header.set(Buffer.from('cxsparse'));
  view.setBigUint64(8, 2n ** 64n - 1n);
  view.setBigUint64(16, 1536n);
  view.setUint32(24, 0x00010000);
  view.setUint32(28, entryCount);
  view.setUint32(32, blockBytes);
  view.setUint32(36, 0xffffffff - header.reduce((sum, byte) => sum + byte, 0));
  const data = Math.ceil((1536 + entryCount * 4) / 512) * 512;
  return imageOf(
    data + 512 + blockBytes + 512,
    bytesAt(0, footer),
    bytesAt(512, header),
    { ...be32(1536, entry === 0 ? data / 512 : entry), count: entryCount },
    { offsetBytes: data, bytes: Uint8Array.of(255), count: 512 + blockBytes },
    bytesAt(data + 512 + blockBytes, footer),
  );
}

function* otherBombs(): Generator<HostileCase> {
  yield {
    name: 'vmdk bomb: 512 grain tables all of whose entries name one grain of 1 MiB',
    format: 'vmdk',
    image: sharedVmdk(512),
    expected: AMPLIFIED,
    onlyWhole: true,
  };
  yield {
    name: 'vmdk bomb: a directory of 65536 entries that all name one grain table',
    format: 'vmdk',
    image: sharedTable(65_536),
    expected: MALFORMED,
  };
  yield {
    name: 'vhd bomb: a table of 2 Mi entries that all name one block',
    format: 'vhd',
    image: longVhd(2 * MIB, 0),
    expected: MALFORMED,
  };
  yield {
    name: 'vhd bomb: a table of 16 Mi entries, all of it unused',
    format: 'vhd',
    image: longVhd(16 * MIB, 0xffffffff),
    expected: LIMIT,
  };
  yield {
    name: 'vhd bomb: the longest table that is read, all of it unused',
    format: 'vhd',
    image: longVhd(4 * MIB, 0xffffffff),
    expected: readsAs(imageOf(4 * MIB * 131072)),
  };
  yield {
    name: 'raw bomb: a file of 1 TiB that holds nothing',
    image: imageOf(TIB),
    expected: readsAs(imageOf(TIB)),
  };
  const far = imageOf(2 ** 52 + 7, { offsetBytes: 2 ** 51, bytes: noise(4096) });
  yield {
    name: 'raw bomb: a file of 2^52 bytes with a page of data',
    format: 'raw',
    image: far,
    expected: readsAs(far),
  };
}

/** Files that are long and hold next to nothing: what is kept of them must not grow with them. */
function* longFiles(): Generator<HostileCase> {
  const qcow2 = qcow2Image();
  yield {
    name: 'long file: a qcow2 in clusters of 4 KiB, 256 GiB of hole behind its data',
    format: 'qcow2',
    image: resized(qcow2.image, TIB / 4),
    expected: readsAs(qcow2.content),
  };
  const end = qcow2.image.lengthBytes;
  const count = 65_536;
  const entry = imageOf(
    64,
    be64(0, qcow2.l1),
    be32(8, 1),
    be32(12, 0x00010004),
    be32(36, 16),
    be64(48, 65_536),
    text(56, '1name'),
  );
  yield {
    name: 'long file: a qcow2 with 65536 snapshots',
    format: 'qcow2',
    image: bent(qcow2.image, be32(60, count), be64(64, end), {
      offsetBytes: end,
      bytes: bytesOf(entry),
      count,
    }),
    expected: readsAs(qcow2.content),
  };
  for (const [entryCount, expected] of [
    [2 * MIB, readsAs(imageOf(2 * MIB * 512 * 4096))],
    [2 * MIB + 1, LIMIT],
  ] as const) {
    const capacitySectors = entryCount * 512 * 8;
    yield {
      name: `long file: a VMDK whose grain directory has ${entryCount} entries, none with a table`,
      format: 'vmdk',
      image: imageOf(
        (64 + Math.ceil(entryCount / 128)) * SECTOR,
        ...headerPatches(0, {
          flags: 1,
          capacitySectors,
          directorySector: 21,
          overheadSectors: 32 + Math.ceil(entryCount / 128),
        }),
        text(SECTOR, descriptorText('monolithicSparse', [`RW ${capacitySectors} SPARSE "disk.vmdk"`])),
      ),
      expected,
    };
  }
  const blocks = 4 * MIB;
  const vdi = vdiImage({ map: [0xffffffff] });
  yield {
    name: 'long file: a VDI with a map of 4 Mi blocks, none of them stored',
    format: 'vdi',
    image: bent(
      resized(vdi.image, 512 + blocks * 4),
      le32(344, 512 + blocks * 4),
      le64(368, blocks * MIB),
      le32(384, blocks),
      { offsetBytes: 512, bytes: Uint8Array.of(255), count: blocks * 4 },
    ),
    expected: readsAs(imageOf(blocks * MIB)),
  };
  const batBytes = 32 * MIB;
  yield {
    name: 'long file: a VHDX with a table of 4 Mi blocks, none of them stored',
    format: 'vhdx',
    image: vhdxImage({
      blocks: [],
      sizeBytes: 4 * TIB,
      region: [le32(40, batBytes + MIB)],
      lengthBytes: 4 * MIB + batBytes,
    }).image,
    expected: readsAs(imageOf(4 * TIB)),
  };
}

function* cases(): Generator<HostileCase> {
  yield* longFiles();
  yield* qcow2Bombs();
  yield* otherBombs();
}

export const bombs: Family = { name: 'bombs', cases };
