import { isZero } from '../bytes/fields.ts';
import { MIB } from '../bytes/numbers.ts';
import { mapOrdered } from '../convert/bounded.ts';
import { BufferPool } from '../convert/buffer-pool.ts';
import type { ProgressListener } from '../convert/progress.ts';
import type { Disk, Extent, ExtentKind } from './disk.ts';

const UNIT_BYTES = 64 * 1024;
const RUN_BYTES = MIB;
const RUNS_AT_ONCE = 6;

/**
 * The same disk with the zeros inside its uncompressed data extents found, 64 KiB at a time (counted from
 * the extent's start). Costs one read of that data each time the extents are walked; compressed data is
 * taken at its word.
 */
export function withZerosFound(
  disk: Disk,
  options: { onProgress?: ProgressListener | undefined } = {},
): Disk {
  const totalBytes = disk.virtualSizeBytes;
  return {
    format: disk.format,
    virtualSizeBytes: disk.virtualSizeBytes,
    details: disk.details,
    warnings: disk.warnings,
    async *extents(from, to, signal) {
      for await (const extent of disk.extents(from, to, signal)) {
        if (extent.kind !== 'data' || extent.compressed) yield extent;
        else {
          for await (const part of splitByContent(disk, extent, signal)) {
            options.onProgress?.({
              phase: 'scan',
              doneBytes: part.offsetBytes + part.lengthBytes,
              totalBytes,
            });
            yield part;
          }
        }
      }
    },
    read: (offset, into, signal) => disk.read(offset, into, signal),
    close: () => disk.close(),
  };
}

async function* splitByContent(
  disk: Disk,
  extent: Extent,
  signal: AbortSignal | undefined,
): AsyncGenerator<Extent, void, undefined> {
  const pool = new BufferPool(RUN_BYTES);
  const scan = async (offsetBytes: number) => {
    const buffer = pool.take();
    const bytes = buffer.subarray(
      0,
      Math.min(RUN_BYTES, extent.offsetBytes + extent.lengthBytes - offsetBytes),
    );
    await disk.read(offsetBytes, bytes, signal);
    const kinds: ExtentKind[] = [];
    for (let at = 0; at < bytes.length; at += UNIT_BYTES) {
      kinds.push(isZero(bytes.subarray(at, at + UNIT_BYTES)) ? 'zero' : 'data');
    }
    pool.give(buffer);
    return { offsetBytes, lengthBytes: bytes.length, kinds };
  };
  for await (const { offsetBytes, lengthBytes, kinds } of mapOrdered(runStarts(extent), RUNS_AT_ONCE, scan)) {
    for (let i = 0; i < kinds.length; ) {
      const kind = kinds[i] ?? 'data';
      let end = i + 1;
      while (end < kinds.length && kinds[end] === kind) end++;
      yield {
        offsetBytes: offsetBytes + i * UNIT_BYTES,
        lengthBytes: Math.min(lengthBytes, end * UNIT_BYTES) - i * UNIT_BYTES,
        kind,
      };
      i = end;
    }
  }
}

function* runStarts(extent: Extent): Iterable<number> {
  const end = extent.offsetBytes + extent.lengthBytes;
  for (let at = extent.offsetBytes; at < end; at += RUN_BYTES) yield at;
}
