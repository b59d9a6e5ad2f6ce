import type { VaultBlockRow } from '../db/schema.ts';
import { blockCorrupt, requireRecordOf } from './record-cache.ts';
import type { VaultState } from './vault-state.ts';

/** Records that one read of a segment fetches at most. */
const RUN_BLOCKS = 8;

/** Splits blocks into runs whose records stand one after the other in a segment. */
export function runsOf<Block extends { readonly row: VaultBlockRow }>(blocks: readonly Block[]): Block[][] {
  const runs: Block[][] = [];
  let run: Block[] = [];
  let last: VaultBlockRow | undefined;
  const inOrder = blocks.toSorted(
    (a, b) => a.row.segment_number - b.row.segment_number || a.row.offset_bytes - b.row.offset_bytes,
  );
  for (const block of inOrder) {
    const follows =
      block.row.segment_number === last?.segment_number &&
      block.row.offset_bytes === last.offset_bytes + last.length_bytes;
    if (!follows || run.length === RUN_BLOCKS) {
      run = [];
      runs.push(run);
    }
    run.push(block);
    last = block.row;
  }
  return runs;
}

/**
 * Reads the blocks of one run with every check there is, and hands each to `take`, in any order; the bytes
 * are good only during that call. When it ends, also by a failure, nothing is read any more. Throws
 * STORE_CORRUPT for the first block that is not as it was stored.
 */
export async function unpackRun<Block extends { readonly row: VaultBlockRow }>(
  { codec, segments }: VaultState,
  run: readonly Block[],
  take: (block: Block, plain: Uint8Array) => void,
  signal?: AbortSignal,
): Promise<void> {
  const first = run[0]?.row;
  if (first === undefined) return;
  const slots = await codec.acquire(run.length);
  try {
    signal?.throwIfAborted();
    const records = slots.map((slot, i) => slot.record.subarray(0, run[i]?.row.length_bytes));
    await segments.read(first.segment_number, first.offset_bytes, records);
    await allEnded(
      run.map(async (block, i) => {
        const slot = slots[i];
        if (slot === undefined) return;
        requireRecordOf(segments, block.row, slot.record);
        const fault = await codec.unpack(slot);
        if (fault !== undefined) throw blockCorrupt(segments, block.row, fault);
        take(block, slot.plain);
      }),
    );
  } finally {
    codec.release(slots);
  }
}

/** Waits for all, then throws the first failure if there is one. */
export async function allEnded(tasks: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(tasks)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
