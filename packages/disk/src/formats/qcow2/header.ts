import { hasMagic, latin1Text, utf8Text, viewOf } from '../../bytes/fields.ts';
import { ceilDivide, toSafeInteger } from '../../bytes/numbers.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import { type ByteSource, readStructure } from '../../io/byte-source.ts';
import type { Compression } from '../../io/codec.ts';
import * as limits from './limits.ts';

export const QCOW2_MAGIC = 'QFI\xfb';
export const V2_HEADER_BYTES = 72;
export const V3_HEADER_BYTES = 104;

/** Incompatible feature bits (specification, "Header", bytes 72-79). */
const INCOMPATIBLE = {
  dirty: 0n,
  corrupt: 1n,
  externalData: 2n,
  compressionType: 3n,
  extendedL2: 4n,
} as const;
const KNOWN_INCOMPATIBLE = 0b11111n;
/**
 * Autoclear feature bits (bytes 88-95): the bitmaps extension was kept up to date by every writer; the external
 * data file alone is the disk too.
 */
const AUTOCLEAR = { bitmaps: 1n, rawExternalData: 2n } as const;

/** Header extension that names the backing file's format. */
export const BACKING_FORMAT_EXTENSION = 0xe2792aca;
/** One of ours ("GNTD"), which others pass over: the digest of the disk that an overlay was made for, as text. */
export const DISK_DIGEST_EXTENSION = 0x474e5444;
const EXTENSION = {
  end: 0,
  backingFormat: BACKING_FORMAT_EXTENSION,
  fullDiskEncryption: 0x0537be77,
  externalDataFile: 0x44415441,
  bitmaps: 0x23852875,
  diskDigest: DISK_DIGEST_EXTENSION,
} as const;

/** Where the directory of dirty bitmaps stands. */
export interface BitmapDirectory {
  readonly count: number;
  readonly directoryBytes: number;
  readonly directoryOffsetBytes: number;
}

/** The qcow2 header with its extensions; names as in the specification, in bytes or counts. */
export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  readonly virtualSizeBytes: number;
  readonly l1EntryCount: number;
  readonly l1OffsetBytes: number;
  readonly refcountTableOffsetBytes: number;
  readonly refcountTableClusters: number;
  readonly refcountBits: number;
  readonly snapshotCount: number;
  readonly snapshotsOffsetBytes: number;
  readonly dirty: boolean;
  /** A program found damage; only `check` and `repair` go on then. */
  readonly corrupt: boolean;
  readonly extendedL2: boolean;
  readonly compression: Compression;
  readonly backingName: string | undefined;
  readonly backingFormat: string | undefined;
  /** Of the disk behind it, where the overlay was made by us to be written to. */
  readonly backingDigest: string | undefined;
  readonly externalDataName: string | undefined;
  /** The external data file alone shows the same disk. */
  readonly externalDataRaw: boolean;
  readonly bitmaps: BitmapDirectory | undefined;
  /** Entries of one L2 table. */
  readonly l2EntryCount: number;
  readonly l2EntryBytes: 8 | 16;
}

function refuse(code: ImageErrorCode, message: string, offsetBytes: number, hint?: string): never {
  throw new ImageError(code, message, { structure: 'qcow2 header', offsetBytes, hint });
}

/**
 * Reads and checks the header. Throws ImageError for all that could not be read right; `corrupt` says whether an
 * image that is marked so is refused.
 */
export async function readHeader(
  source: ByteSource,
  signal?: AbortSignal,
  corrupt: 'refuse' | 'accept' = 'refuse',
): Promise<Qcow2Header> {
  const start = await readStructure(source, 0, V2_HEADER_BYTES, 'qcow2 header', signal);
  if (!hasMagic(start, QCOW2_MAGIC))
    refuse('IMAGE_MALFORMED', 'this is not a qcow2 file: its mark is missing', 0);
  const view = viewOf(start);
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) refuse('IMAGE_UNSUPPORTED', `qcow2 version ${version} is not known`, 4);
  const clusterBits = view.getUint32(20);
  if (clusterBits < limits.CLUSTER_BITS_MIN || clusterBits > limits.CLUSTER_BITS_MAX) {
    refuse('IMAGE_MALFORMED', `qcow2 cluster_bits is ${clusterBits}, not 9 to 21`, 20);
  }
  const clusterBytes = 2 ** clusterBits;
  const cryptMethod = view.getUint32(32);
  if (cryptMethod !== 0) {
    refuse(
      'IMAGE_UNSUPPORTED',
      'the qcow2 image is encrypted',
      32,
      'decrypt it first, with qemu-img convert',
    );
  }
  const firstCluster = await readStructure(
    source,
    0,
    Math.min(clusterBytes, source.lengthBytes),
    'qcow2 header',
    signal,
  );
  const features = version === 3 ? readFeatures(firstCluster) : V2_FEATURES;
  if (features.corrupt && corrupt === 'refuse') {
    refuse(
      'IMAGE_MALFORMED',
      'the qcow2 image is marked corrupt',
      72,
      'repair it first, with gantry disk check --repair',
    );
  }
  const extensions = readExtensions(firstCluster, features, version);
  if (features.externalData && extensions.externalDataName === undefined) {
    throw new ImageError(
      'IMAGE_REFERENCE',
      'the qcow2 image keeps its data in another file and does not name it',
      {
        structure: 'qcow2 external data file name',
      },
    );
  }
  const l2EntryBytes = features.extendedL2 ? 16 : 8;
  if (features.extendedL2 && clusterBits < limits.EXTENDED_L2_CLUSTER_BITS_MIN) {
    refuse('IMAGE_MALFORMED', 'qcow2 extended L2 entries need clusters of 16 KiB or more', 20);
  }
  const header: Qcow2Header = {
    version,
    clusterBits,
    clusterBytes,
    virtualSizeBytes: toSafeInteger(view.getBigUint64(24), { structure: 'qcow2 size', offsetBytes: 24 }),
    l1EntryCount: view.getUint32(36),
    l1OffsetBytes: offsetField(view, 40, 'qcow2 l1_table_offset', clusterBytes),
    refcountTableOffsetBytes: offsetField(view, 48, 'qcow2 refcount_table_offset', clusterBytes),
    refcountTableClusters: view.getUint32(56),
    refcountBits: features.refcountBits,
    snapshotCount: view.getUint32(60),
    snapshotsOffsetBytes:
      view.getUint32(60) === 0 ? 0 : offsetField(view, 64, 'qcow2 snapshots_offset', clusterBytes),
    dirty: features.dirty,
    corrupt: features.corrupt,
    extendedL2: features.extendedL2,
    compression: features.zstd ? 'zstd' : 'deflate-raw',
    backingName: readBackingName(firstCluster, view, clusterBytes),
    backingFormat: extensions.backingFormat,
    backingDigest: extensions.backingDigest,
    externalDataName: features.externalData ? extensions.externalDataName : undefined,
    externalDataRaw: features.externalDataRaw,
    bitmaps: extensions.bitmaps,
    l2EntryCount: clusterBytes / l2EntryBytes,
    l2EntryBytes,
  };
  requireSaneSizes(header);
  return header;
}

function requireSaneSizes(header: Qcow2Header): void {
  if (header.virtualSizeBytes > limits.VIRTUAL_SIZE_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `the virtual size of ${header.virtualSizeBytes} bytes is above 64 TiB`, 24);
  }
  if (header.l1EntryCount * 8 > limits.L1_TABLE_BYTES_MAX) {
    refuse('IMAGE_LIMIT', `the L1 table of ${header.l1EntryCount} entries is above 32 MiB`, 36);
  }
  const needed = ceilDivide(header.virtualSizeBytes, header.clusterBytes * header.l2EntryCount);
  if (header.l1EntryCount < needed) {
    refuse(
      'IMAGE_MALFORMED',
      `the L1 table has ${header.l1EntryCount} entries; the size needs ${needed}`,
      36,
    );
  }
  if (header.refcountTableClusters === 0) refuse('IMAGE_MALFORMED', 'the refcount table has no cluster', 56);
  if (header.refcountTableClusters * header.clusterBytes > limits.REFCOUNT_TABLE_BYTES_MAX) {
    refuse(
      'IMAGE_LIMIT',
      `the refcount table of ${header.refcountTableClusters} clusters is above 8 MiB`,
      56,
    );
  }
  if (header.snapshotCount > limits.SNAPSHOT_COUNT_MAX) {
    refuse('IMAGE_LIMIT', `${header.snapshotCount} snapshots are more than 65536`, 60);
  }
}

function offsetField(view: DataView, at: number, structure: string, clusterBytes: number): number {
  const offsetBytes = toSafeInteger(view.getBigUint64(at), { structure, offsetBytes: at });
  if (offsetBytes % clusterBytes !== 0) {
    throw new ImageError('IMAGE_MALFORMED', `${structure} ${offsetBytes} is not at a cluster's start`, {
      structure,
      offsetBytes: at,
    });
  }
  return offsetBytes;
}

interface Features {
  readonly headerBytes: number;
  readonly refcountBits: number;
  readonly dirty: boolean;
  readonly corrupt: boolean;
  readonly externalData: boolean;
  readonly externalDataRaw: boolean;
  readonly extendedL2: boolean;
  readonly zstd: boolean;
  readonly bitmapsValid: boolean;
}

const V2_FEATURES: Features = {
  headerBytes: V2_HEADER_BYTES,
  refcountBits: 16,
  dirty: false,
  corrupt: false,
  externalData: false,
  externalDataRaw: false,
  extendedL2: false,
  zstd: false,
  bitmapsValid: false,
};

function readFeatures(cluster: Uint8Array): Features {
  if (cluster.length < V3_HEADER_BYTES) {
    refuse(
      'IMAGE_TRUNCATED',
      `a version 3 header has ${V3_HEADER_BYTES} bytes, the file ${cluster.length}`,
      72,
    );
  }
  const view = viewOf(cluster);
  const headerBytes = view.getUint32(100);
  if (headerBytes < V3_HEADER_BYTES || headerBytes % 8 !== 0 || headerBytes > cluster.length) {
    refuse('IMAGE_MALFORMED', `qcow2 header_length is ${headerBytes}`, 100);
  }
  const incompatible = view.getBigUint64(72);
  const has = (bit: bigint) => (incompatible & (1n << bit)) !== 0n;
  if ((incompatible & ~KNOWN_INCOMPATIBLE) !== 0n) {
    refuse('IMAGE_UNSUPPORTED', `unknown incompatible qcow2 features: 0x${incompatible.toString(16)}`, 72);
  }
  const refcountOrder = view.getUint32(96);
  if (refcountOrder > 6)
    refuse('IMAGE_MALFORMED', `qcow2 refcount_order is ${refcountOrder}, not 0 to 6`, 96);
  const autoclear = view.getBigUint64(88);
  const compressionType = headerBytes > V3_HEADER_BYTES ? (cluster[104] ?? 0) : 0;
  if ((compressionType !== 0) !== has(INCOMPATIBLE.compressionType)) {
    refuse('IMAGE_MALFORMED', `qcow2 compression type ${compressionType} does not fit its feature bit`, 104);
  }
  if (compressionType > 1)
    refuse('IMAGE_UNSUPPORTED', `qcow2 compression type ${compressionType} is not known`, 104);
  return {
    headerBytes,
    refcountBits: 2 ** refcountOrder,
    dirty: has(INCOMPATIBLE.dirty),
    corrupt: has(INCOMPATIBLE.corrupt),
    externalData: has(INCOMPATIBLE.externalData),
    externalDataRaw: has(INCOMPATIBLE.externalData) && (autoclear & AUTOCLEAR.rawExternalData) !== 0n,
    extendedL2: has(INCOMPATIBLE.extendedL2),
    zstd: compressionType === 1,
    bitmapsValid: (autoclear & AUTOCLEAR.bitmaps) !== 0n,
  };
}

interface Extensions {
  backingFormat?: string;
  backingDigest?: string;
  externalDataName?: string;
  bitmaps?: BitmapDirectory;
}

function readExtensions(cluster: Uint8Array, features: Features, version: 2 | 3): Extensions {
  const found: Extensions = {};
  const start = features.headerBytes;
  const view = viewOf(cluster);
  // A version 2 file may carry extensions right after its header; they end where the backing name begins.
  const nameOffset = Number(view.getBigUint64(8));
  const end = nameOffset >= start && nameOffset < cluster.length ? nameOffset : cluster.length;
  for (let at = start; at + 8 <= end; ) {
    const type = view.getUint32(at);
    const lengthBytes = view.getUint32(at + 4);
    if (type === EXTENSION.end) break;
    if (lengthBytes > end - at - 8) {
      if (version === 2 && at === start) break;
      refuse(
        'IMAGE_MALFORMED',
        `a qcow2 header extension of ${lengthBytes} bytes runs out of its cluster`,
        at,
      );
    }
    const data = cluster.subarray(at + 8, at + 8 + lengthBytes);
    if (type === EXTENSION.backingFormat) found.backingFormat = latin1Text(data);
    else if (type === EXTENSION.diskDigest) found.backingDigest = latin1Text(data);
    else if (type === EXTENSION.externalDataFile) found.externalDataName = utf8Text(data);
    else if (type === EXTENSION.bitmaps) {
      // A program that does not know bitmaps clears the bit when it writes: they mean nothing then.
      if (features.bitmapsValid) found.bitmaps = readBitmapDirectory(data, at);
    } else if (type === EXTENSION.fullDiskEncryption)
      refuse('IMAGE_UNSUPPORTED', 'the qcow2 image is encrypted', at);
    at += 8 + lengthBytes + ((8 - (lengthBytes % 8)) % 8);
  }
  return found;
}

function readBitmapDirectory(data: Uint8Array, at: number): BitmapDirectory {
  if (data.length < 24) refuse('IMAGE_MALFORMED', 'the qcow2 bitmaps extension is shorter than 24 bytes', at);
  const view = viewOf(data);
  const structure = 'qcow2 bitmaps extension';
  return {
    count: view.getUint32(0),
    directoryBytes: toSafeInteger(view.getBigUint64(8), { structure, offsetBytes: at }),
    directoryOffsetBytes: toSafeInteger(view.getBigUint64(16), { structure, offsetBytes: at }),
  };
}

function readBackingName(cluster: Uint8Array, view: DataView, clusterBytes: number): string | undefined {
  const offset = view.getBigUint64(8);
  if (offset === 0n) return undefined;
  const lengthBytes = view.getUint32(16);
  if (lengthBytes > limits.BACKING_NAME_BYTES_MAX) {
    refuse('IMAGE_MALFORMED', `the backing file name of ${lengthBytes} bytes is above 1023`, 16);
  }
  if (offset + BigInt(lengthBytes) > BigInt(clusterBytes)) {
    refuse('IMAGE_MALFORMED', 'the backing file name lies outside the first cluster', 8);
  }
  const at = Number(offset);
  if (at + lengthBytes > cluster.length)
    refuse('IMAGE_TRUNCATED', 'the file ends inside the backing file name', at);
  return utf8Text(cluster.subarray(at, at + lengthBytes));
}
