import { forEachBounded } from '../convert/bounded.ts';
import type { Disk } from '../disk/disk.ts';
import { invariant } from '../errors.ts';
import type { ByteSource } from '../io/byte-source.ts';
import { type Layout, pieceLength } from './layout.ts';
import { joinedPieces } from './regions.ts';

const READS_AT_ONCE = 16;

/** Guest bytes, zero beyond the virtual size: what a `disk` piece means. */
export async function readZeroExtended(
  disk: Disk,
  offsetBytes: number,
  into: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  const inside = Math.max(0, Math.min(into.length, disk.virtualSizeBytes - offsetBytes));
  if (inside > 0)
    await disk.read(offsetBytes, inside === into.length ? into : into.subarray(0, inside), signal);
  if (inside < into.length) into.fill(0, inside);
}

/**
 * A layout with its disk: the output file as a source of exact length, made as it is read. Closing it closes
 * nothing: the disk belongs to the caller.
 */
export function viewOfLayout(layout: Layout, disk: Disk, name: string = layout.format): ByteSource {
  return {
    name,
    lengthBytes: layout.lengthBytes,
    async read(offsetBytes, into, signal) {
      signal?.throwIfAborted();
      invariant(offsetBytes + into.length <= layout.lengthBytes, 'read beyond a view');
      let at = 0;
      const reads: (() => Promise<void>)[] = [];
      for (const piece of joinedPieces(layout.pieces(offsetBytes, offsetBytes + into.length))) {
        const length = pieceLength(piece);
        const part = into.subarray(at, at + length);
        at += length;
        if (piece.kind === 'bytes') part.set(piece.bytes);
        else if (piece.kind === 'zero') part.fill(0);
        else if (piece.kind === 'disk')
          reads.push(() => readZeroExtended(disk, piece.offsetBytes, part, signal));
        else reads.push(() => piece.source.read(piece.offsetBytes, part, signal));
      }
      invariant(at === into.length, 'the pieces of a layout cover the range');
      await forEachBounded(reads, READS_AT_ONCE, (read) => read());
    },
    async close() {},
  };
}
