import type { Disk, Extent } from '@gantry/disk';

/** QEMU counts in sectors: a volume has whole ones. */
const SECTOR_BYTES = 512;

export function wholeSectors(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

/** A disk that goes on with zeros up to a size that is at least its own. Closing it closes the inner one. */
export function extendedDisk(inner: Disk, virtualSizeBytes: number): Disk {
  const innerBytes = inner.virtualSizeBytes;
  return {
    format: inner.format,
    virtualSizeBytes,
    details: inner.details,
    warnings: inner.warnings,
    async *extents(fromBytes, toBytes, signal): AsyncGenerator<Extent, void, undefined> {
      if (fromBytes < innerBytes) yield* inner.extents(fromBytes, Math.min(toBytes, innerBytes), signal);
      const offsetBytes = Math.max(fromBytes, innerBytes);
      if (offsetBytes < toBytes) yield { offsetBytes, lengthBytes: toBytes - offsetBytes, kind: 'hole' };
    },
    async read(offsetBytes, into, signal) {
      const inside = Math.max(0, Math.min(into.length, innerBytes - offsetBytes));
      if (inside > 0) await inner.read(offsetBytes, into.subarray(0, inside), signal);
      into.fill(0, inside);
    },
    close: () => inner.close(),
  };
}

/** A disk of nothing but zeros. */
export function emptyDisk(virtualSizeBytes: number): Disk {
  const none: Disk = {
    format: 'raw',
    virtualSizeBytes: 0,
    details: {},
    warnings: [],
    async *extents() {},
    async read(_offsetBytes, into) {
      into.fill(0);
    },
    async close() {},
  };
  return extendedDisk(none, virtualSizeBytes);
}
