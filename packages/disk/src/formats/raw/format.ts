import type { Disk } from '../../disk/disk.ts';
import { invariant } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { Layout, Piece } from '../../view/layout.ts';
import type { Format } from '../format.ts';

/** A disk image without any structure: the file is the disk. */
export const raw: Format = {
  name: 'raw',
  title: 'raw',
  extensions: ['raw', 'img'],
  recognise: () => false,
  open: async (source) => rawDisk(source),
  plan: (disk, request) => rawLayout(disk, request.signal),
};

/** The bytes of a source as a disk. An odd length is kept to the byte. */
export function rawDisk(source: ByteSource): Disk {
  return {
    format: 'raw',
    virtualSizeBytes: source.lengthBytes,
    details: {},
    warnings: [],
    async *extents(from, to, signal) {
      signal?.throwIfAborted();
      invariant(to <= source.lengthBytes, 'extents lie inside the disk');
      if (from < to) yield { offsetBytes: from, lengthBytes: to - from, kind: 'data' };
    },
    read: (offset, into, signal) => source.read(offset, into, signal),
    async close() {},
  };
}

const RAW_BLOCK_BYTES = 65536;

async function rawLayout(disk: Disk, signal: AbortSignal | undefined): Promise<Layout> {
  const lengthBytes = disk.virtualSizeBytes;
  const map = await AllocationMap.ofDisk(disk, RAW_BLOCK_BYTES, { signal });
  return {
    kind: 'layout',
    format: 'raw',
    lengthBytes,
    *pieces(from, to): Iterable<Piece> {
      for (let at = from; at < to; ) {
        const first = Math.floor(at / RAW_BLOCK_BYTES);
        const data = map.has(first);
        const end = Math.min(to, map.runEnd(first) * RAW_BLOCK_BYTES);
        if (data) yield { kind: 'disk', offsetBytes: at, lengthBytes: end - at };
        else yield { kind: 'zero', lengthBytes: end - at };
        at = end;
      }
    },
  };
}
