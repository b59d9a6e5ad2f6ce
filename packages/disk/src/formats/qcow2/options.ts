import { isPowerOfTwo } from '../../bytes/numbers.ts';
import { ImageError } from '../../errors.ts';
import type { FormatOption, WriteRequest } from '../format.ts';
import { chosenValue } from '../options.ts';
import { qcow2Geometry } from './geometry.ts';
import type { Qcow2LayoutOptions } from './layout.ts';
import {
  CLUSTER_BITS_MAX,
  CLUSTER_BITS_MIN,
  EXTENDED_L2_CLUSTER_BITS_MIN,
  L1_TABLE_BYTES_MAX,
  VIRTUAL_SIZE_BYTES_MAX,
} from './limits.ts';
import type { Qcow2StreamOptions } from './stream.ts';
import type { BackingName } from './write-header.ts';

const COMPAT: FormatOption = {
  name: 'compat',
  description: 'version of the format: 1.1 (version 3) or 0.10 (version 2)',
  values: ['1.1', '0.10'],
};
const CLUSTER_SIZE: FormatOption = {
  name: 'cluster_size',
  description: 'bytes of a cluster, a power of two from 512 to 2097152; 65536 when not given',
};
const EXTENDED_L2: FormatOption = {
  name: 'extended_l2',
  description: 'entries with subclusters, for clusters of 16384 bytes and more without compression',
  values: ['off', 'on'],
};
const DEFLATE_WINDOW: FormatOption = {
  name: 'deflate_window',
  description: 'history of zlib as a power of two: 15, or 12 for readers that insist on 4 KiB',
  values: ['15', '12'],
};
const BACKING_FILE: FormatOption = {
  name: 'backing_file',
  description: 'makes an overlay over the file of this name, which is not opened',
};
const BACKING_FMT: FormatOption = {
  name: 'backing_fmt',
  description: 'format of the backing file; needed with backing_file',
};
const BACKING_HOLES: FormatOption = {
  name: 'backing_holes',
  description: 'what an overlay shows at holes of the disk: backing or zero; needed with backing_file',
};

export const qcow2Options: readonly FormatOption[] = [
  COMPAT,
  CLUSTER_SIZE,
  EXTENDED_L2,
  DEFLATE_WINDOW,
  BACKING_FILE,
  BACKING_FMT,
  BACKING_HOLES,
];

const DEFAULT_CLUSTER_BYTES = 65536;

/** Formats of a backing file, as they are called here or by qemu, and what qemu calls them. */
const QEMU_FORMATS: ReadonlyMap<string, string> = new Map([
  ...['raw', 'qcow2', 'qcow', 'vmdk', 'vdi', 'vhdx', 'vpc', 'qed'].map((name) => [name, name] as const),
  ['vhd', 'vpc'],
]);

/** What a request asks for. */
export type Qcow2Writing =
  | {
      readonly kind: 'layout';
      readonly options: Qcow2LayoutOptions;
      /** The holes of the disk are zeros of the overlay. */
      readonly holesAreZeros: boolean;
    }
  | { readonly kind: 'stream'; readonly options: Qcow2StreamOptions };

/** Throws IMAGE_OPTION for options that do not fit each other or the size, IMAGE_LIMIT above 64 TiB. */
export function qcow2Writing(virtualSizeBytes: number, request: WriteRequest): Qcow2Writing {
  const { compression, signal } = request;
  const version = chosenValue(request, COMPAT) === '1.1' ? 3 : 2;
  const clusterBytes = clusterSize(request);
  const extendedL2 = chosenValue(request, EXTENDED_L2) === 'on';
  const windowBits = Number(chosenValue(request, DEFLATE_WINDOW));
  const backing = backingName(request);
  requireTogether(request, { version, clusterBytes, extendedL2, backing });
  requireSizeFits(virtualSizeBytes, clusterBytes, extendedL2);
  if (compression !== undefined) {
    return { kind: 'stream', options: { version, clusterBytes, compression, windowBits, signal } };
  }
  const holesAreZeros = request.options[BACKING_HOLES.name] === 'zero';
  return { kind: 'layout', options: { version, clusterBytes, extendedL2, backing, signal }, holesAreZeros };
}

function refuse(option: FormatOption, message: string, hint: string): never {
  throw new ImageError('IMAGE_OPTION', message, { structure: `option ${option.name}`, hint });
}

interface Chosen {
  readonly version: 2 | 3;
  readonly clusterBytes: number;
  readonly extendedL2: boolean;
  readonly backing: BackingName | undefined;
}

function requireTogether(request: WriteRequest, chosen: Chosen): void {
  const { compression, options } = request;
  const { version, clusterBytes, extendedL2, backing } = chosen;
  if (version === 2) {
    const message =
      compression === 'zstd' ? 'zstd' : extendedL2 ? 'extended_l2' : backing && 'the zeros of an overlay';
    if (message !== undefined) {
      refuse(COMPAT, `qcow2 version 2 does not know ${message}`, 'use compat=1.1');
    }
  }
  if (extendedL2 && clusterBytes < 2 ** EXTENDED_L2_CLUSTER_BITS_MIN) {
    refuse(EXTENDED_L2, 'subclusters need clusters of 16384 bytes or more', 'use a larger cluster_size');
  }
  if (extendedL2 && compression !== undefined) {
    refuse(
      EXTENDED_L2,
      'compressed clusters have no subclusters',
      'leave out extended_l2 or the compression',
    );
  }
  if (backing !== undefined && compression !== undefined) {
    const message = 'a compressed overlay is not written: zeros that hide the backing file would be lost';
    refuse(BACKING_FILE, message, 'leave out the compression');
  }
  if (options[DEFLATE_WINDOW.name] !== undefined && compression !== 'zlib') {
    refuse(
      DEFLATE_WINDOW,
      'deflate_window is about zlib, which is not chosen',
      'choose the compression zlib',
    );
  }
}

function backingName({ options }: WriteRequest): BackingName | undefined {
  const name = options[BACKING_FILE.name];
  const format = options[BACKING_FMT.name];
  const holes = options[BACKING_HOLES.name];
  if (name === undefined) {
    if (format === undefined && holes === undefined) return undefined;
    refuse(BACKING_FILE, 'there is no backing_file to go with the other options', 'name the backing file');
  }
  if (name === '' || name.includes('\0')) {
    refuse(BACKING_FILE, `backing_file cannot be ${JSON.stringify(name)}`, 'name the backing file');
  }
  const qemuFormat = QEMU_FORMATS.get(format ?? '');
  if (qemuFormat === undefined) {
    const known = [...QEMU_FORMATS.keys()].join(', ');
    refuse(BACKING_FMT, 'an overlay has to say the format of its backing file', `use one of ${known}`);
  }
  if (holes !== 'backing' && holes !== 'zero') {
    refuse(
      BACKING_HOLES,
      'it has to be said what the holes of the disk are in the overlay',
      'use backing when the disk holds only what differs from the backing file, zero when it is whole',
    );
  }
  return { name, format: qemuFormat };
}

/** Refused before any table is planned: small clusters make them grow out of all bounds. */
function requireSizeFits(virtualSizeBytes: number, clusterBytes: number, extendedL2: boolean): void {
  if (virtualSizeBytes > VIRTUAL_SIZE_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `a disk of ${virtualSizeBytes} bytes is above 64 TiB`, {
      structure: 'qcow2 size',
      hint: 'choose another format, such as raw',
    });
  }
  const { l2EntryCount } = qcow2Geometry(virtualSizeBytes, clusterBytes, extendedL2 ? 16 : 8);
  const mostBytes = (L1_TABLE_BYTES_MAX / 8) * clusterBytes * l2EntryCount;
  if (virtualSizeBytes <= mostBytes) return;
  refuse(
    CLUSTER_SIZE,
    `clusters of ${clusterBytes} bytes hold ${mostBytes} bytes at most, and the disk has ${virtualSizeBytes}`,
    'use larger clusters: 65536 are right for most disks',
  );
}

function clusterSize(request: WriteRequest): number {
  const text = request.options[CLUSTER_SIZE.name];
  if (text === undefined) return DEFAULT_CLUSTER_BYTES;
  const bytes = /^\d+$/.test(text) ? Number(text) : 0;
  if (isPowerOfTwo(bytes) && bytes >= 2 ** CLUSTER_BITS_MIN && bytes <= 2 ** CLUSTER_BITS_MAX) return bytes;
  refuse(
    CLUSTER_SIZE,
    `cluster_size cannot be ${JSON.stringify(text)}`,
    'use a power of two from 512 to 2097152',
  );
}
