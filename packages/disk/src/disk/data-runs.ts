import { roundDown, roundUp } from '../bytes/numbers.ts';
import type { ProgressListener } from '../convert/progress.ts';
import type { Disk } from './disk.ts';

/** A unit-aligned run of the disk that holds data; its end may lie beyond the virtual size. */
export interface DataRun {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface DataRunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called as the walk passes extents, with this phase. */
  readonly onProgress?: ProgressListener | undefined;
  readonly phase: string;
  /** A whole number of units; runs begin there. Default 0. */
  readonly fromBytes?: number | undefined;
}

/**
 * Every unit of `unitBytes` that a data extent touches, once and in order, in runs of at most
 * `maximumBytes` (a multiple of the unit). Holes and zeros cost nothing.
 */
export async function* dataRuns(
  disk: Disk,
  unitBytes: number,
  maximumBytes: number,
  options: DataRunOptions,
): AsyncGenerator<DataRun, void, undefined> {
  const totalBytes = disk.virtualSizeBytes;
  let furthest = 0;
  const passed = (doneBytes: number) => {
    furthest = Math.max(furthest, Math.min(doneBytes, totalBytes));
    options.onProgress?.({ phase: options.phase, doneBytes: furthest, totalBytes });
  };
  const fromBytes = options.fromBytes ?? 0;
  let start = fromBytes;
  let end = fromBytes;
  for await (const extent of disk.extents(fromBytes, totalBytes, options.signal)) {
    if (extent.kind === 'data') {
      const from = Math.max(end, roundDown(extent.offsetBytes, unitBytes));
      const to = roundUp(extent.offsetBytes + extent.lengthBytes, unitBytes);
      if (from > end || start === end) {
        if (end > start) yield { offsetBytes: start, lengthBytes: end - start };
        start = from;
        end = from;
      }
      end = Math.max(end, to);
      while (end - start >= maximumBytes) {
        yield { offsetBytes: start, lengthBytes: maximumBytes };
        start += maximumBytes;
        passed(start);
      }
    } else {
      passed(extent.offsetBytes + extent.lengthBytes);
    }
  }
  if (end > start) yield { offsetBytes: start, lengthBytes: end - start };
  passed(totalBytes);
}
