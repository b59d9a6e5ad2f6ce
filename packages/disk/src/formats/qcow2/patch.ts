import { bytesEqual } from '../../bytes/fields.ts';

/** Bytes to put into a file. */
export interface Patch {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/** What makes `before`, which stands at an offset of the file, into `after`: one patch, or none. */
export function patchOf(offsetBytes: number, before: Uint8Array, after: Uint8Array): readonly Patch[] {
  if (bytesEqual(before, after)) return [];
  let from = 0;
  while (before[from] === after[from]) from++;
  let to = after.length;
  while (before[to - 1] === after[to - 1]) to--;
  return [{ offsetBytes: offsetBytes + from, bytes: after.slice(from, to) }];
}
