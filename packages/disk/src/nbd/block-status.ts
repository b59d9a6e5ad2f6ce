import type { Disk, ExtentKind } from '../disk/disk.ts';
import { DESCRIPTOR_COUNT_MAX } from './limits.ts';
import { STATE } from './protocol.ts';

/** A run of one state in the context base:allocation. */
export interface Descriptor {
  readonly lengthBytes: number;
  readonly state: number;
}

const STATE_OF: Readonly<Record<ExtentKind, number>> = {
  data: 0,
  zero: STATE.zero,
  hole: STATE.hole + STATE.zero,
};

/** The states from the start of [from, to) on: all, the first of them, or as many as an answer may carry. */
export async function blockStatus(
  disk: Disk,
  fromBytes: number,
  toBytes: number,
  isOne: boolean,
  signal?: AbortSignal,
): Promise<readonly Descriptor[]> {
  const found: { lengthBytes: number; readonly state: number }[] = [];
  const mostCount = isOne ? 1 : DESCRIPTOR_COUNT_MAX;
  for await (const { kind, lengthBytes } of disk.extents(fromBytes, toBytes, signal)) {
    const last = found.at(-1);
    const state = STATE_OF[kind];
    if (last?.state === state) last.lengthBytes += lengthBytes;
    else if (found.length === mostCount) break;
    else found.push({ lengthBytes, state });
  }
  return found;
}
