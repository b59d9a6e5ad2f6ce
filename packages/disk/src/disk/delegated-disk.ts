import type { Disk } from './disk.ts';

/** The same disk with some of its parts replaced. A getter among them is asked each time. */
export function delegatedDisk(inner: Disk, changes: Partial<Disk>): Disk {
  const { storedRuns, drain } = inner;
  const disk: Disk = {
    format: inner.format,
    virtualSizeBytes: inner.virtualSizeBytes,
    get details() {
      return inner.details;
    },
    get warnings() {
      return inner.warnings;
    },
    ...(inner.sequential === true && { sequential: true }),
    extents: (from, to, signal) => inner.extents(from, to, signal),
    read: (offset, into, signal) => inner.read(offset, into, signal),
    ...(storedRuns && { storedRuns: (from, to, signal) => storedRuns.call(inner, from, to, signal) }),
    ...(drain && { drain: (signal) => drain.call(inner, signal) }),
    close: () => inner.close(),
  };
  return Object.defineProperties(disk, Object.getOwnPropertyDescriptors(changes));
}
