import { ceilDivide } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { sourceExtents, sourceRuns } from '../../disk/source-runs.ts';
import { ImageError, invariant } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import { wholeDiskRegion } from '../../view/disk-regions.ts';
import type { Layout } from '../../view/layout.ts';
import { regionsLayout } from '../../view/regions.ts';
import type { Format } from '../format.ts';

/** A disk image without any structure: the file is the disk. */
export const raw: Format = {
  name: 'raw',
  title: 'raw',
  extensions: ['raw', 'img'],
  recognise: () => false,
  async open(source) {
    if (source.openEnded !== true) return rawDisk(source);
    throw new ImageError(
      'IMAGE_NOT_SEQUENTIAL',
      `${source.name}: how long a raw disk is, is known at its end`,
      {
        structure: 'raw disk',
        hint: 'say its length, or put it into a file first',
      },
    );
  },
  plan: (disk, request) => rawLayout(disk, request.signal),
  async placement(virtualSizeBytes) {
    AllocationMap.requireCount(RAW_BLOCK_BYTES, ceilDivide(virtualSizeBytes, RAW_BLOCK_BYTES));
    return { kind: 'identity', blockBytes: RAW_BLOCK_BYTES, startBytes: 0 };
  },
};

/** The bytes of a source as a disk, its holes where it knows them. An odd length is kept to the byte. */
export function rawDisk(source: ByteSource): Disk {
  return {
    format: 'raw',
    virtualSizeBytes: source.lengthBytes,
    details: {},
    warnings: [],
    ...(source.sequential === true && { sequential: true }),
    extents(from, to, signal) {
      invariant(to <= source.lengthBytes, 'extents lie inside the disk');
      return sourceExtents(source, 0, from, to, signal);
    },
    read: (offset, into, signal) => source.read(offset, into, signal),
    storedRuns: (from, to, signal) => sourceRuns(source, 0, from, to, signal),
    async close() {},
  };
}

const RAW_BLOCK_BYTES = 65536;

async function rawLayout(disk: Disk, signal: AbortSignal | undefined): Promise<Layout> {
  const map = await AllocationMap.ofDisk(disk, RAW_BLOCK_BYTES, { signal });
  return regionsLayout('raw', [wholeDiskRegion(map, disk.virtualSizeBytes)]);
}
