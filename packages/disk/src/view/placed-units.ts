import { sharedMemory } from '../bytes/shared-memory.ts';
import type { BlockPlacement } from './block-placement.ts';

/** What all parts of one copy share, whichever thread they are done on. */
export interface CopyProgress {
  /** Whose turn it is; 1 when the copy has failed and nothing more is to be done. */
  readonly turns: Int32Array;
  /** The last block that was placed and its group, -1 before; how many blocks and groups have been placed. */
  readonly placed: Float64Array;
  /** One bit for each block that holds data, least significant first. */
  readonly used: Uint8Array;
}

/** Places in `turns`. */
export const TURN = 0;
export const FAILED = 1;
const LAST_BLOCK = 0;
const LAST_GROUP = 1;
const BLOCK_COUNT = 2;
const GROUP_COUNT = 3;

export function newCopyProgress(blockCount: number): CopyProgress {
  const placed = new Float64Array(sharedMemory(4 * 8));
  placed[LAST_BLOCK] = -1;
  placed[LAST_GROUP] = -1;
  return {
    turns: new Int32Array(sharedMemory(2 * 4)),
    placed,
    used: new Uint8Array(sharedMemory(Math.ceil(blockCount / 8))),
  };
}

/** Lets every part of the copy end without doing more. */
export function stopCopy({ turns }: CopyProgress): void {
  Atomics.store(turns, FAILED, 1);
  Atomics.notify(turns, TURN);
}

/** Units of a disk that are to be placed. */
export interface UnitsToPlace {
  /** Where they begin on the disk: a multiple of the unit. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly unitBytes: number;
  readonly placement: BlockPlacement;
  readonly progress: CopyProgress;
}

export interface Place {
  readonly at: number;
  readonly lengthBytes: number;
  readonly targetBytes: number;
}

/**
 * Where these units go, neighbours in one piece. To be called in the order of the disk where the placement is
 * packed, in any order and by several threads at once where it is identity.
 */
export function placeUnits(task: UnitsToPlace, units: readonly number[]): Place[] {
  const { placement, offsetBytes } = task;
  const places: { at: number; lengthBytes: number; targetBytes: number }[] = [];
  for (const at of units) {
    const guestBytes = offsetBytes + at;
    const block = Math.floor(guestBytes / placement.blockBytes);
    const blockStart = placeBlock(task.progress, placement, block);
    const targetBytes = blockStart + (guestBytes - block * placement.blockBytes);
    const lengthBytes = Math.min(task.unitBytes, task.lengthBytes - at);
    const last = places.at(-1);
    const goesOn = last !== undefined && last.at + last.lengthBytes === at;
    if (goesOn && last.targetBytes + last.lengthBytes === targetBytes) last.lengthBytes += lengthBytes;
    else places.push({ at, lengthBytes, targetBytes });
  }
  return places;
}

function placeBlock({ placed, used }: CopyProgress, placement: BlockPlacement, block: number): number {
  if (placement.kind === 'identity') {
    Atomics.or(used, Math.floor(block / 8), 1 << (block % 8));
    return placement.startBytes + block * placement.blockBytes;
  }
  const { startBytes, strideBytes, groupBlocks, groupBytes = 0 } = placement;
  if (placed[LAST_BLOCK] !== block) {
    placed[LAST_BLOCK] = block;
    placed[BLOCK_COUNT] = (placed[BLOCK_COUNT] ?? 0) + 1;
    Atomics.or(used, Math.floor(block / 8), 1 << (block % 8));
    const group = groupBlocks === undefined ? undefined : Math.floor(block / groupBlocks);
    if (group !== undefined && placed[LAST_GROUP] !== group) {
      placed[LAST_GROUP] = group;
      placed[GROUP_COUNT] = (placed[GROUP_COUNT] ?? 0) + 1;
    }
  }
  const rank = (placed[BLOCK_COUNT] ?? 1) - 1;
  return startBytes + rank * strideBytes + (placed[GROUP_COUNT] ?? 0) * groupBytes;
}
