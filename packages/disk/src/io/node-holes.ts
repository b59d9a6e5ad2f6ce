import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ByteRange } from './byte-source.ts';
import { accelerator } from './node-accelerator.ts';

/** How many ranges are looked for, about a microsecond each, before other work gets its turn. */
const RANGES_A_TURN = 2048;

/**
 * True where the system tells which ranges of the file may hold other bytes than zeros. It needs the accelerator.
 */
export function knowsHoles(fileDescriptor: number): boolean {
  try {
    const native = accelerator();
    native?.nextData(fileDescriptor, 0);
    return native !== undefined;
  } catch {
    return false;
  }
}

/**
 * The ranges inside [from, to) of an open file that are not holes, in order. A file system without holes gives
 * one range. Throws the error of the system call.
 */
export async function* allocatedRangesOf(
  fileDescriptor: () => number,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<ByteRange, void, undefined> {
  const native = accelerator();
  let count = 0;
  for (let at = fromBytes; at < toBytes; ) {
    signal?.throwIfAborted();
    const found = native?.nextData(fileDescriptor(), at);
    if (found === undefined || found.offsetBytes >= toBytes) return;
    at = Math.min(found.endBytes, toBytes);
    yield { offsetBytes: found.offsetBytes, lengthBytes: at - found.offsetBytes };
    if (++count % RANGES_A_TURN === 0) await nextTurn();
  }
}
