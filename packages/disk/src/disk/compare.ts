import { firstDifference, isZero } from '../bytes/fields.ts';
import { MIB } from '../bytes/numbers.ts';
import { mapOrdered } from '../convert/bounded.ts';
import { BufferPool } from '../convert/buffer-pool.ts';
import type { ProgressListener } from '../convert/progress.ts';
import { readZeroExtended } from '../view/view.ts';
import type { Disk, Extent } from './disk.ts';

export interface CompareResult {
  /** True when both disks read the same, the shorter one extended with zeros. */
  readonly equal: boolean;
  /** Guest offset of the first byte that differs; null when equal. */
  readonly firstDifferenceBytes: number | null;
  readonly sizesDiffer: boolean;
}

export interface CompareOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

interface Span {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly leftHasData: boolean;
  readonly rightHasData: boolean;
}

const SPAN_BYTES = MIB;
const SPANS_AT_ONCE = 6;

/** Compares what the guest sees of two disks. Ranges that are zero in both are never read. */
export async function compareDisks(
  left: Disk,
  right: Disk,
  options: CompareOptions = {},
): Promise<CompareResult> {
  const totalBytes = Math.max(left.virtualSizeBytes, right.virtualSizeBytes);
  const pool = new BufferPool(SPAN_BYTES);
  const compareSpan = async (span: Span): Promise<{ span: Span; differenceBytes: number }> => {
    const a = pool.take();
    const b = pool.take();
    const leftBytes = a.subarray(0, span.lengthBytes);
    const rightBytes = b.subarray(0, span.lengthBytes);
    await Promise.all([
      span.leftHasData ? readZeroExtended(left, span.offsetBytes, leftBytes, options.signal) : undefined,
      span.rightHasData ? readZeroExtended(right, span.offsetBytes, rightBytes, options.signal) : undefined,
    ]);
    const difference =
      span.leftHasData && span.rightHasData
        ? firstDifference(leftBytes, rightBytes)
        : firstNonZero(span.leftHasData ? leftBytes : rightBytes);
    pool.give(a);
    pool.give(b);
    return { span, differenceBytes: difference === -1 ? -1 : span.offsetBytes + difference };
  };
  const sizesDiffer = left.virtualSizeBytes !== right.virtualSizeBytes;
  const spans = spansWithData(left, right, totalBytes, options.signal);
  for await (const { span, differenceBytes } of mapOrdered(spans, SPANS_AT_ONCE, compareSpan)) {
    if (differenceBytes !== -1) return { equal: false, firstDifferenceBytes: differenceBytes, sizesDiffer };
    options.onProgress?.({ phase: 'compare', doneBytes: span.offsetBytes + span.lengthBytes, totalBytes });
  }
  options.onProgress?.({ phase: 'compare', doneBytes: totalBytes, totalBytes });
  return { equal: true, firstDifferenceBytes: null, sizesDiffer };
}

function firstNonZero(bytes: Uint8Array): number {
  return isZero(bytes) ? -1 : bytes.findIndex((byte) => byte !== 0);
}

/** Walks both disks' extents side by side and cuts where either changes. */
async function* spansWithData(
  left: Disk,
  right: Disk,
  totalBytes: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Span, void, undefined> {
  const a = new Walk(left, signal);
  const b = new Walk(right, signal);
  try {
    for (let at = 0; at < totalBytes; ) {
      const leftExtent = await a.at(at);
      const rightExtent = await b.at(at);
      const leftHasData = leftExtent?.kind === 'data';
      const rightHasData = rightExtent?.kind === 'data';
      const end = Math.min(endOf(leftExtent, totalBytes), endOf(rightExtent, totalBytes));
      if (leftHasData || rightHasData) {
        for (; at < end; at += SPAN_BYTES) {
          yield { offsetBytes: at, lengthBytes: Math.min(SPAN_BYTES, end - at), leftHasData, rightHasData };
        }
      }
      at = end;
    }
  } finally {
    await a.close();
    await b.close();
  }
}

function endOf(extent: Extent | undefined, totalBytes: number): number {
  return extent === undefined ? totalBytes : extent.offsetBytes + extent.lengthBytes;
}

class Walk {
  readonly #iterator: AsyncIterator<Extent>;
  #current: Extent | undefined;
  #ended = false;

  constructor(disk: Disk, signal: AbortSignal | undefined) {
    this.#iterator = disk.extents(0, disk.virtualSizeBytes, signal)[Symbol.asyncIterator]();
  }

  /** The extent that holds this offset; offsets rise from call to call. Undefined beyond the disk's end. */
  async at(offsetBytes: number): Promise<Extent | undefined> {
    while (!this.#ended) {
      const current = this.#current;
      if (current !== undefined && offsetBytes < current.offsetBytes + current.lengthBytes) return current;
      const next = await this.#iterator.next();
      if (next.done) this.#ended = true;
      else this.#current = next.value;
    }
    return undefined;
  }

  async close(): Promise<void> {
    await this.#iterator.return?.();
  }
}
