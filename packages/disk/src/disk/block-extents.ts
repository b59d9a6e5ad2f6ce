import type { Extent, ExtentKind } from './disk.ts';

/**
 * The extents that cover [from, to) of a disk made of equal blocks whose table is at hand; neighbours of one
 * kind are joined. `kindOf` is asked once for every block that the range touches.
 */
export async function* blockExtents(
  blockBytes: number,
  kindOf: (blockIndex: number) => ExtentKind,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<Extent, void, undefined> {
  let at = fromBytes;
  while (at < toBytes) {
    signal?.throwIfAborted();
    let block = Math.floor(at / blockBytes);
    const kind = kindOf(block);
    let end = Math.min((block + 1) * blockBytes, toBytes);
    while (end < toBytes && kindOf(++block) === kind) end = Math.min(end + blockBytes, toBytes);
    yield { offsetBytes: at, lengthBytes: end - at, kind };
    at = end;
  }
}
