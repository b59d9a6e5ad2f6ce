import type { Disk, Extent } from './disk.ts';

/** The disk's extents with neighbours of the same kind joined, lazily and in order. */
export async function* diskMap(disk: Disk, signal?: AbortSignal): AsyncGenerator<Extent, void, undefined> {
  let open: Extent | undefined;
  for await (const extent of disk.extents(0, disk.virtualSizeBytes, signal)) {
    if (open?.kind === extent.kind && (open.compressed ?? false) === (extent.compressed ?? false)) {
      open = { ...open, lengthBytes: open.lengthBytes + extent.lengthBytes };
    } else {
      if (open !== undefined) yield open;
      open = extent;
    }
  }
  if (open !== undefined) yield open;
}
