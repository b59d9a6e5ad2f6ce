import type { AllocationMap } from '../view/allocation-map.ts';
import type { Disk } from './disk.ts';

const maps = new WeakMap<Disk, AllocationMap>();

/** The map that a disk of `mappedDisk` is made of. */
export function mapOf(disk: Disk): AllocationMap | undefined {
  return maps.get(disk);
}

/** The same disk with the blocks of a map as its extents: used ones are data, the others holes. */
export function mappedDisk(disk: Disk, map: AllocationMap): Disk {
  const { blockBytes } = map;
  const mapped: Disk = {
    format: disk.format,
    virtualSizeBytes: disk.virtualSizeBytes,
    details: disk.details,
    warnings: disk.warnings,
    async *extents(from, to, signal) {
      for (let at = from; at < to; ) {
        signal?.throwIfAborted();
        const block = Math.floor(at / blockBytes);
        const end = Math.min(to, map.runEnd(block) * blockBytes);
        yield { offsetBytes: at, lengthBytes: end - at, kind: map.has(block) ? 'data' : 'hole' };
        at = end;
      }
    },
    read: (offset, into, signal) => disk.read(offset, into, signal),
    close: () => disk.close(),
  };
  maps.set(mapped, map);
  return mapped;
}
