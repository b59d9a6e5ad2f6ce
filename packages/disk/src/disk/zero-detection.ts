import { isZero } from '../bytes/fields.ts';
import { MIB, roundDown } from '../bytes/numbers.ts';
import { mapOrdered } from '../convert/bounded.ts';
import { BufferPool } from '../convert/buffer-pool.ts';
import type { ProgressListener } from '../convert/progress.ts';
import type { Disk, Extent } from './disk.ts';

/** Zeros are looked for in pieces of this size, or in blocks of the target where those are smaller. */
export const ZERO_UNIT_BYTES: number = 64 * 1024;
const RUN_BYTES = MIB;
const RUNS_AT_ONCE = 6;

/**
 * The same disk with the zeros inside its uncompressed data extents found, in units of the disk (`unitBytes`, a
 * divisor of 1 MiB, 64 KiB when not given): a unit, or the part of it that an extent covers, stays data only when a
 * byte of it is not zero. Costs one read of that data each time the extents are walked; compressed data is taken at
 * its word.
 */
export function withZerosFound(
  disk: Disk,
  options: { unitBytes?: number | undefined; onProgress?: ProgressListener | undefined } = {},
): Disk {
  const totalBytes = disk.virtualSizeBytes;
  const { unitBytes = ZERO_UNIT_BYTES } = options;
  return {
    format: disk.format,
    virtualSizeBytes: totalBytes,
    details: disk.details,
    warnings: disk.warnings,
    async *extents(from, to, signal) {
      const pool = new BufferPool(RUN_BYTES);
      const scan = (extent: Extent) => splitByContent(disk, extent, unitBytes, pool, signal);
      for await (const parts of mapOrdered(runsOf(disk.extents(from, to, signal)), RUNS_AT_ONCE, scan)) {
        yield* parts;
        const last = parts.at(-1);
        if (last === undefined) continue;
        options.onProgress?.({ phase: 'scan', doneBytes: last.offsetBytes + last.lengthBytes, totalBytes });
      }
    },
    read: (offset, into, signal) => disk.read(offset, into, signal),
    close: () => disk.close(),
  };
}

function isToScan(extent: Extent): boolean {
  return extent.kind === 'data' && !extent.compressed;
}

/** The extents, those to scan cut at every MiB of the disk. */
async function* runsOf(extents: AsyncIterable<Extent>): AsyncGenerator<Extent, void, undefined> {
  for await (const extent of extents) {
    if (!isToScan(extent)) yield extent;
    else yield* cutAtMultiples(extent, RUN_BYTES);
  }
}

async function splitByContent(
  disk: Disk,
  extent: Extent,
  unitBytes: number,
  pool: BufferPool,
  signal: AbortSignal | undefined,
): Promise<readonly Extent[]> {
  if (!isToScan(extent)) return [extent];
  const buffer = pool.take();
  const bytes = buffer.subarray(0, extent.lengthBytes);
  await disk.read(extent.offsetBytes, bytes, signal);
  const parts: Extent[] = [];
  for (const { offsetBytes, lengthBytes } of cutAtMultiples(extent, unitBytes)) {
    const at = offsetBytes - extent.offsetBytes;
    const kind = isZero(bytes.subarray(at, at + lengthBytes)) ? 'zero' : 'data';
    const last = parts.at(-1);
    if (last?.kind === kind)
      parts[parts.length - 1] = { ...last, lengthBytes: last.lengthBytes + lengthBytes };
    else parts.push({ offsetBytes, lengthBytes, kind });
  }
  pool.give(buffer);
  return parts;
}

/** The parts of an extent between neighbouring multiples of `unitBytes`, counted from the disk's start. */
function* cutAtMultiples(extent: Extent, unitBytes: number): Iterable<Extent> {
  const end = extent.offsetBytes + extent.lengthBytes;
  for (let at = extent.offsetBytes; at < end; ) {
    const next = Math.min(end, roundDown(at, unitBytes) + unitBytes);
    yield { ...extent, offsetBytes: at, lengthBytes: next - at };
    at = next;
  }
}
