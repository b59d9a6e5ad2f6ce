import { invariant } from '../errors.ts';
import type { RepairPlan } from '../formats/format.ts';
import type { ByteSource } from '../io/byte-source.ts';

/**
 * A source as a repair plan makes it: its bytes with the patches over them, of the length that the plan says,
 * zeros where the source ended before. Nothing is written. Closing it leaves the source open.
 */
export function repairedSource(source: ByteSource, plan: RepairPlan): ByteSource {
  const { patches, lengthBytes } = plan;
  let before = 0;
  for (const { offsetBytes, bytes } of patches) {
    invariant(offsetBytes >= before, 'patches are in order and apart from each other');
    before = offsetBytes + bytes.length;
  }
  invariant(before <= lengthBytes, 'patches lie inside the file');
  return {
    name: source.name,
    lengthBytes,
    async read(offsetBytes, into, signal) {
      const end = offsetBytes + into.length;
      invariant(end <= lengthBytes, 'read beyond a repaired source');
      const stored = Math.max(0, Math.min(into.length, source.lengthBytes - offsetBytes));
      if (stored > 0) await source.read(offsetBytes, into.subarray(0, stored), signal);
      into.fill(0, stored);
      for (let i = firstEndingAfter(patches, offsetBytes); i < patches.length; i++) {
        const patch = patches[i];
        if (patch === undefined || patch.offsetBytes >= end) break;
        const from = Math.max(patch.offsetBytes, offsetBytes);
        const to = Math.min(patch.offsetBytes + patch.bytes.length, end);
        into.set(patch.bytes.subarray(from - patch.offsetBytes, to - patch.offsetBytes), from - offsetBytes);
      }
    },
    async close() {},
  };
}

/** Index of the first patch, of patches in order, that reaches beyond an offset. */
export function firstEndingAfter(patches: RepairPlan['patches'], offsetBytes: number): number {
  let low = 0;
  let high = patches.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const patch = patches[middle];
    if (patch !== undefined && patch.offsetBytes + patch.bytes.length <= offsetBytes) low = middle + 1;
    else high = middle;
  }
  return low;
}
