import {
  type Expected,
  type Family,
  type HostileCase,
  MALFORMED,
  readsAs,
  refusedWith,
  TRUNCATED,
} from './case.ts';
import { be32, be64, bytesAt, cuts, noise, pattern } from './fields.ts';
import { bent, type CorpusImage, resized } from './image.ts';
import { headerRows, tableRows } from './qcow2-fields.ts';
import { type Cluster, packed, packedClusters, packedEntry, qcow2Image } from './qcow2-image.ts';
import { referenceCases, snapshotCases } from './qcow2-references.ts';
import { COMPRESSED, COPIED, format, type Row, rows } from './qcow2-rows.ts';

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
