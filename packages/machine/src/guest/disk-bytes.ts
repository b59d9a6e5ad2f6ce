import type { ByteSource, Disk } from '@gantry/disk';
import type { Budget } from './budget.ts';
import { CACHE_BLOCK_BYTES, CACHE_BLOCK_COUNT, DIRECT_READ_BYTES } from './limits.ts';

/** The guest's bytes, paid from the budget; small reads are kept, since the disk may be far away. Closes nothing. */
export function diskBytes(disk: Disk, budget: Budget): ByteSource {
  const kept = new Map<number, Uint8Array>();
  const blockAt = async (index: number): Promise<Uint8Array> => {
    const found = kept.get(index);
    if (found !== undefined) {
      kept.delete(index);
      kept.set(index, found);
      return found;
    }
    const start = index * CACHE_BLOCK_BYTES;
    const block = new Uint8Array(Math.min(CACHE_BLOCK_BYTES, disk.virtualSizeBytes - start));
    budget.read(block.length);
    await disk.read(start, block, budget.signal);
    kept.set(index, block);
    if (kept.size > CACHE_BLOCK_COUNT) kept.delete(kept.keys().next().value ?? index);
    return block;
  };
  return {
    name: 'the disk',
    lengthBytes: disk.virtualSizeBytes,
    async read(offsetBytes, into) {
      if (into.length >= DIRECT_READ_BYTES) {
        budget.read(into.length);
        return disk.read(offsetBytes, into, budget.signal);
      }
      budget.signal?.throwIfAborted();
      for (let at = 0; at < into.length; ) {
        const place = offsetBytes + at;
        const block = await blockAt(Math.floor(place / CACHE_BLOCK_BYTES));
        const part = block.subarray(place % CACHE_BLOCK_BYTES).subarray(0, into.length - at);
        into.set(part, at);
        at += part.length;
      }
    },
    async close() {},
  };
}
