import { hasMagic, viewOf } from '../../bytes/fields.ts';
import { isPowerOfTwo } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import type { ImageStream } from '../../view/image-stream.ts';
import type { Layout } from '../../view/layout.ts';
import type { Format, FormatOption, WriteRequest } from '../format.ts';
import { chosenValue } from '../options.ts';
import { checkQcow2 } from './check.ts';
import { QCOW2_MAGIC } from './header.ts';
import { qcow2Layout } from './layout.ts';
import { CLUSTER_BITS_MAX, CLUSTER_BITS_MIN, L1_TABLE_BYTES_MAX, VIRTUAL_SIZE_BYTES_MAX } from './limits.ts';
import { openQcow2 } from './reader.ts';
import { qcow2Stream } from './stream.ts';

const COMPAT: FormatOption = {
  name: 'compat',
  description: 'version of the format: 1.1 (version 3) or 0.10 (version 2)',
  values: ['1.1', '0.10'],
};
const CLUSTER_SIZE: FormatOption = {
  name: 'cluster_size',
  description: 'bytes of a cluster, a power of two from 512 to 2097152; 65536 when not given',
};
const DEFAULT_CLUSTER_BYTES = 65536;

/** QEMU copy-on-write, versions 2 and 3: docs/interop/qcow2.txt of QEMU. */
export const qcow2: Format = {
  name: 'qcow2',
  title: 'qcow2',
  extensions: ['qcow2'],
  recognise({ head }) {
    return hasMagic(head, QCOW2_MAGIC) && head.length >= 8 && viewOf(head).getUint32(4) !== 1;
  },
  open: openQcow2,
  options: [COMPAT, CLUSTER_SIZE],
  compressions: ['zlib', 'zstd'],
  plan: planQcow2,
  check: checkQcow2,
};

async function planQcow2(disk: Disk, request: WriteRequest): Promise<Layout | ImageStream> {
  const version = chosenValue(request, COMPAT) === '1.1' ? 3 : 2;
  const clusterBytes = clusterSize(request);
  if (disk.virtualSizeBytes > VIRTUAL_SIZE_BYTES_MAX) {
    throw new ImageError('IMAGE_LIMIT', `a disk of ${disk.virtualSizeBytes} bytes is above 64 TiB`, {
      structure: 'qcow2 size',
      hint: 'choose another format, such as raw',
    });
  }
  requireL1Fits(disk.virtualSizeBytes, clusterBytes);
  const { compression, signal } = request;
  if (compression === undefined) return qcow2Layout(disk, { version, clusterBytes, signal });
  if (compression === 'zstd' && version === 2) {
    throw new ImageError('IMAGE_OPTION', 'qcow2 version 2 knows no zstd', {
      structure: 'option compat',
      hint: 'use compat=1.1 or zlib',
    });
  }
  return qcow2Stream(disk, { version, clusterBytes, compression, signal });
}

/** Refused before any table is planned: small clusters make them grow out of all bounds. */
function requireL1Fits(virtualSizeBytes: number, clusterBytes: number): void {
  const tableBytes = clusterBytes * (clusterBytes / 8);
  const mostBytes = (L1_TABLE_BYTES_MAX / 8) * tableBytes;
  if (virtualSizeBytes <= mostBytes) return;
  throw new ImageError(
    'IMAGE_OPTION',
    `clusters of ${clusterBytes} bytes hold ${mostBytes} bytes at most, and the disk has ${virtualSizeBytes}`,
    { structure: 'option cluster_size', hint: 'use larger clusters: 65536 are right for most disks' },
  );
}

function clusterSize(request: WriteRequest): number {
  const text = request.options[CLUSTER_SIZE.name];
  if (text === undefined) return DEFAULT_CLUSTER_BYTES;
  const bytes = /^\d+$/.test(text) ? Number(text) : 0;
  if (isPowerOfTwo(bytes) && bytes >= 2 ** CLUSTER_BITS_MIN && bytes <= 2 ** CLUSTER_BITS_MAX) return bytes;
  throw new ImageError('IMAGE_OPTION', `cluster_size cannot be ${JSON.stringify(text)}`, {
    structure: 'option cluster_size',
    hint: 'use a power of two from 512 to 2097152',
  });
}
