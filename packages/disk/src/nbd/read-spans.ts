import type { Disk } from '../disk/disk.ts';
import { HOLE_BYTES_MIN } from './limits.ts';

/** A part of what a read asked for. */
export interface ReadSpan {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** It reads as zeros. */
  readonly isZero: boolean;
}

export interface ReadSpanOptions {
  /** No part with data is longer. */
  readonly mostBytes?: number;
  /** One part, zero only when all of it is. */
  readonly isWhole?: boolean;
  readonly signal?: AbortSignal;
}

/** The parts that [from, to) is answered in, in order. Zeros are a part of their own where that is worth it. */
export async function* readSpans(
  disk: Disk,
  fromBytes: number,
  toBytes: number,
  { mostBytes = toBytes - fromBytes, isWhole = false, signal }: ReadSpanOptions = {},
): AsyncGenerator<ReadSpan, void, undefined> {
  let dataFrom = fromBytes;
  let zeroFrom = fromBytes;
  // [dataFrom, zeroFrom) is data, [zeroFrom, at) is zero.
  for await (const { kind, offsetBytes, lengthBytes } of disk.extents(fromBytes, toBytes, signal)) {
    if (kind !== 'data') continue;
    if (isWhole) {
      yield { offsetBytes: fromBytes, lengthBytes: toBytes - fromBytes, isZero: false };
      return;
    }
    if (offsetBytes - zeroFrom >= HOLE_BYTES_MIN) {
      yield* pieces(dataFrom, zeroFrom, mostBytes);
      yield { offsetBytes: zeroFrom, lengthBytes: offsetBytes - zeroFrom, isZero: true };
      dataFrom = offsetBytes;
    }
    zeroFrom = offsetBytes + lengthBytes;
  }
  const isZeroAtEnd = toBytes - zeroFrom >= HOLE_BYTES_MIN || zeroFrom === fromBytes;
  yield* pieces(dataFrom, isZeroAtEnd ? zeroFrom : toBytes, mostBytes);
  if (isZeroAtEnd && zeroFrom < toBytes) {
    yield { offsetBytes: zeroFrom, lengthBytes: toBytes - zeroFrom, isZero: true };
  }
}

function* pieces(fromBytes: number, toBytes: number, mostBytes: number): Generator<ReadSpan> {
  for (let at = fromBytes; at < toBytes; ) {
    const lengthBytes = Math.min(mostBytes, toBytes - at);
    yield { offsetBytes: at, lengthBytes, isZero: false };
    at += lengthBytes;
  }
}
