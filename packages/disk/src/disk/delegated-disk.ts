import type { Disk } from './disk.ts';

/** The same disk with some of its parts replaced. */
export function delegatedDisk(inner: Disk, changes: Partial<Disk>): Disk {
  const { storedRuns, drain } = inner;
  return {
    format: inner.format,
    virtualSizeBytes: inner.virtualSizeBytes,
    details: inner.details,
    warnings: inner.warnings,
    ...(inner.sequential === true && { sequential: true }),
    extents: (from, to, signal) => inner.extents(from, to, signal),
    read: (offset, into, signal) => inner.read(offset, into, signal),
    ...(storedRuns && { storedRuns: (from, to, signal) => storedRuns.call(inner, from, to, signal) }),
    ...(drain && { drain: (signal) => drain.call(inner, signal) }),
    close: () => inner.close(),
    ...changes,
  };
}
