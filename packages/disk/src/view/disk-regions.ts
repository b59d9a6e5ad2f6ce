import type { AllocationMap } from './allocation-map.ts';
import type { Piece } from './layout.ts';
import type { Region } from './regions.ts';

/** The used blocks of a map, each whole, in guest order without gaps. */
export function usedBlocksRegion(map: AllocationMap): Region {
  const { blockBytes } = map;
  return {
    lengthBytes: map.usedCount * blockBytes,
    *pieces(from, to): Iterable<Piece> {
      for (let at = from; at < to; ) {
        const within = at % blockBytes;
        const block = map.select((at - within) / blockBytes);
        const runBytes = (map.runEnd(block) - block) * blockBytes - within;
        const lengthBytes = Math.min(to - at, runBytes);
        yield { kind: 'disk', offsetBytes: block * blockBytes + within, lengthBytes };
        at += lengthBytes;
      }
    },
  };
}

/** The first `lengthBytes` of the disk where they stand; blocks without data cost nothing to make. */
export function wholeDiskRegion(map: AllocationMap, lengthBytes: number): Region {
  const { blockBytes } = map;
  return {
    lengthBytes,
    *pieces(from, to): Iterable<Piece> {
      for (let at = from; at < to; ) {
        const block = Math.floor(at / blockBytes);
        // Blocks after the map's end lie beyond the disk and read zero.
        const end = block < map.blockCount ? Math.min(to, map.runEnd(block) * blockBytes) : to;
        if (map.has(block)) yield { kind: 'disk', offsetBytes: at, lengthBytes: end - at };
        else yield { kind: 'zero', lengthBytes: end - at };
        at = end;
      }
    },
  };
}
