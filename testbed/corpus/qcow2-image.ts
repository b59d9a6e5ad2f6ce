import zlib from 'node:zlib';
import { refusedWith } from './case.ts';
import { be16, be32, be64, bytesAt, type GoodImage, noise, pattern, type Structure, text } from './fields.ts';
import { type CorpusImage, imageOf, type Patch } from './image.ts';

/** What a guest cluster is: stored as it is, compressed, a zero flag; absent: unallocated. */
export type Cluster = { readonly plain: Uint8Array } | { readonly packed: Uint8Array } | 'zero';

export interface Qcow2Fields {
  readonly version?: 2 | 3;
  readonly clusterBits?: number;
  readonly sizeBytes?: number;
  readonly clusters?: ReadonlyMap<number, Cluster>;
  readonly zstd?: boolean;
  readonly extendedL2?: boolean;
  readonly headerLength?: 104 | 112;
  readonly backing?: { readonly name: string; readonly format?: string };
  /** Header extensions, type and data. */
  readonly extensions?: readonly (readonly [type: number, data: Uint8Array])[];
}

/** A good image and where its parts stand. */
export interface Qcow2Image extends GoodImage {
  readonly clusterBytes: number;
  readonly refcountTable: number;
  readonly refcountBlock: number;
  readonly l1: number;
  /** L2 tables by L1 index. */
  readonly l2: ReadonlyMap<number, number>;
  /** Host offset of a guest cluster's data. */
  readonly data: ReadonlyMap<number, number>;
  /** Place of a guest cluster's L2 entry. */
  entry(cluster: number): number;
}

/** Less than a header is no file of the format, or the start of one. */
const NO_HEADER = refusedWith('IMAGE_TRUNCATED', 'IMAGE_MALFORMED');
const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;

/** Raw deflate as qemu writes it, or one zstd frame. */
export function packed(plain: Uint8Array, zstd = false): Uint8Array {
  if (zstd) return zlib.zstdCompressSync(plain);
  return zlib.deflateRawSync(plain, { windowBits: 12, memLevel: 9 });
}

/** The descriptor of a compressed cluster. */
export function packedEntry(hostBytes: number, lengthBytes: number, clusterBits: number): bigint {
  const extra = Math.floor((hostBytes + lengthBytes - 1) / 512) - Math.floor(hostBytes / 512);
  return COMPRESSED | (BigInt(extra) << BigInt(62 - (clusterBits - 8))) | BigInt(hostBytes);
}

/** Sixteen clusters of which five hold data, one is zeros by its flag. */
function usualClusters(clusterBytes: number, version: 2 | 3): Map<number, Cluster> {
  const clusters = new Map<number, Cluster>([
    [0, { plain: noise(clusterBytes, 1) }],
    [1, { plain: pattern(clusterBytes, 2) }],
    [2, { plain: noise(clusterBytes, 3) }],
    [7, { plain: pattern(clusterBytes, 4) }],
    [15, { plain: noise(clusterBytes, 5) }],
  ]);
  if (version === 3) clusters.set(9, 'zero');
  return clusters;
}

/** The same with compressed data. */
export function packedClusters(clusterBytes: number): Map<number, Cluster> {
  return new Map<number, Cluster>([
    [0, { packed: pattern(clusterBytes, 1) }],
    [1, { packed: pattern(clusterBytes, 2) }],
    [2, { plain: noise(clusterBytes, 3) }],
    [7, { packed: pattern(clusterBytes, 4) }],
    [15, { packed: pattern(clusterBytes, 5) }],
  ]);
}

/** A qcow2 file: header, refcount table and block, L1 table, L2 tables, data in guest order. */
export function qcow2Image(fields: Qcow2Fields = {}): Qcow2Image {
  const { version = 3, clusterBits = 12, zstd = false, extendedL2 = false, headerLength = 112 } = fields;
  const clusterBytes = 2 ** clusterBits;
  const sizeBytes = fields.sizeBytes ?? 16 * clusterBytes;
  const clusters = fields.clusters ?? usualClusters(clusterBytes, version);
  const entryBytes = extendedL2 ? 16 : 8;
  const l2Count = clusterBytes / entryBytes;
  const l1Count = Math.max(1, Math.ceil(sizeBytes / (clusterBytes * l2Count)));
  const l1Clusters = Math.ceil((l1Count * 8) / clusterBytes);
  const [refcountTable, refcountBlock, l1] = [clusterBytes, 2 * clusterBytes, 3 * clusterBytes];
  const uses: number[] = [1, 1, 1, ...Array.from({ length: l1Clusters }, () => 1)];
  const patches: Patch[] = [];
  const l2 = new Map<number, number>();
  const data = new Map<number, number>();
  for (const cluster of [...clusters.keys()].sort((a, b) => a - b)) {
    const index = Math.floor(cluster / l2Count);
    if (l2.has(index)) continue;
    l2.set(index, uses.length * clusterBytes);
    patches.push(be64(l1 + index * 8, COPIED | BigInt(uses.length * clusterBytes)));
    uses.push(1);
  }
  const entry = (cluster: number) =>
    (l2.get(Math.floor(cluster / l2Count)) ?? Number.NaN) + (cluster % l2Count) * entryBytes;
  const dataStructures: Structure[] = [];
  let end = uses.length * clusterBytes;
  const use = (from: number, lengthBytes: number) => {
    const last = Math.floor((Math.floor((from + lengthBytes - 1) / 512) * 512) / clusterBytes);
    for (let index = Math.floor(from / clusterBytes); index <= last; index++)
      uses[index] = (uses[index] ?? 0) + 1;
  };
  const content: Patch[] = [];
  for (const [cluster, what] of [...clusters].sort(([a], [b]) => a - b)) {
    if (what === 'zero') {
      patches.push(extendedL2 ? be32(entry(cluster) + 8, 0xffffffff) : be64(entry(cluster), 1n));
      continue;
    }
    const plain = 'plain' in what ? what.plain : what.packed;
    const stored = 'plain' in what ? what.plain : packed(what.packed, zstd);
    const at = 'plain' in what ? Math.ceil(end / clusterBytes) * clusterBytes : end;
    end = at + stored.length;
    use(at, stored.length);
    data.set(cluster, at);
    patches.push(bytesAt(at, stored));
    const value = 'plain' in what ? COPIED | BigInt(at) : packedEntry(at, stored.length, clusterBits);
    patches.push(be64(entry(cluster), value));
    if (extendedL2 && 'plain' in what) patches.push(be32(entry(cluster) + 12, 0xffffffff));
    content.push(bytesAt(cluster * clusterBytes, plain));
    const name = `${'plain' in what ? 'data' : 'compressed'} cluster ${cluster}`;
    const shownBytes = Math.min(plain.length, sizeBytes - cluster * clusterBytes);
    // Of a deflate stream the last bytes may only say that it ends.
    const neededBytes = 'plain' in what ? shownBytes : stored.length - (zstd ? 0 : 4);
    dataStructures.push({ name, offsetBytes: at, lengthBytes: neededBytes, isData: true });
  }
  const fileBytes = Math.ceil(end / clusterBytes) * clusterBytes;
  patches.push(be64(refcountTable, refcountBlock));
  for (const [index, count] of uses.entries()) patches.push(be16(refcountBlock + index * 2, count));
  patches.push(
    text(0, 'QFI\xfb'),
    be32(4, version),
    be32(20, clusterBits),
    be64(24, sizeBytes),
    be32(36, l1Count),
    be64(40, l1),
    be64(48, refcountTable),
    be32(56, 1),
  );
  let at = version === 2 ? 72 : headerLength;
  if (version === 3) {
    patches.push(be64(72, (zstd ? 8 : 0) + (extendedL2 ? 16 : 0)), be32(96, 4), be32(100, headerLength));
    if (zstd) patches.push({ offsetBytes: 104, bytes: Uint8Array.of(1) });
  }
  const extensions = [...(fields.extensions ?? [])];
  if (fields.backing?.format !== undefined)
    extensions.push([0xe2792aca, Buffer.from(fields.backing.format, 'latin1')]);
  for (const [type, bytes] of extensions) {
    patches.push(be32(at, type), be32(at + 4, bytes.length), bytesAt(at + 8, bytes));
    at += 8 + Math.ceil(bytes.length / 8) * 8;
  }
  if (fields.backing !== undefined) {
    const name = Buffer.from(fields.backing.name);
    patches.push(be64(8, at + 8), be32(16, name.length), bytesAt(at + 8, name));
  }
  const structures: Structure[] = [
    { name: 'header', offsetBytes: 0, lengthBytes: version === 2 ? 72 : headerLength, cut: NO_HEADER },
    { name: 'refcount table', offsetBytes: refcountTable, lengthBytes: clusterBytes },
    { name: 'refcount block', offsetBytes: refcountBlock, lengthBytes: clusterBytes },
    { name: 'L1 table', offsetBytes: l1, lengthBytes: l1Count * 8 },
    ...[...l2].map(([index, offsetBytes]) => ({
      name: `L2 table ${index}`,
      offsetBytes,
      lengthBytes: clusterBytes,
    })),
    ...dataStructures,
  ];
  return {
    image: imageOf(fileBytes, ...patches),
    content: contentOf(sizeBytes, content),
    structures,
    clusterBytes,
    refcountTable,
    refcountBlock,
    l1,
    l2,
    data,
    entry,
  };
}

/** The guest's bytes; what stands behind the end of the disk is no part of it. */
function contentOf(sizeBytes: number, patches: readonly Patch[]): CorpusImage {
  return imageOf(
    sizeBytes,
    ...patches.map((patch) => ({
      ...patch,
      bytes: patch.bytes.subarray(0, Math.max(0, sizeBytes - patch.offsetBytes)),
    })),
  );
}
