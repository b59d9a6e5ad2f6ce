import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Disk } from '../disk/disk.ts';
import { AllocationMap } from '../view/allocation-map.ts';
import type { BlockPlacement } from '../view/block-placement.ts';
import { pieceLength } from '../view/layout.ts';
import type { Format } from './format.ts';
import { patternDisk, planLayout, type Runs } from './images.testkit.ts';

/** Where a placement puts a block. */
function placeOf(placement: BlockPlacement, map: AllocationMap, block: number): number {
  if (placement.kind === 'identity') return placement.startBytes + block * placement.blockBytes;
  const { startBytes, strideBytes, groupBlocks, groupBytes = 0 } = placement;
  let groups = 0;
  if (groupBlocks !== undefined) {
    for (let group = 0; group * groupBlocks <= block; group++) {
      if (map.hasAny(group * groupBlocks, Math.min((group + 1) * groupBlocks, map.blockCount))) groups++;
    }
  }
  return startBytes + map.rank(block) * strideBytes + groups * groupBytes;
}

/** Asserts that every piece of the disk stands in the planned file where the format's placement says. */
export async function assertPlacementHolds(
  format: Format,
  disk: Disk,
  options: Readonly<Record<string, string>> = {},
): Promise<void> {
  const request = { options, seed: new Uint8Array(32), baseName: 'disk' };
  const placement = await format.placement?.(disk.virtualSizeBytes, request);
  assert.ok(placement !== undefined, 'there is a placement');
  const layout = await planLayout(format, disk, options);
  const map = await AllocationMap.ofDisk(disk, placement.blockBytes);
  const seen = new Set<number>();
  let at = 0;
  for (const piece of layout.pieces(0, layout.lengthBytes)) {
    const end = at + pieceLength(piece);
    if (piece.kind === 'disk') {
      for (let guest = piece.offsetBytes; at < end; ) {
        const within: number = guest % placement.blockBytes;
        const block: number = (guest - within) / placement.blockBytes;
        assert.equal(at, placeOf(placement, map, block) + within, `block ${block}`);
        seen.add(block);
        const lengthBytes = Math.min(end - at, placement.blockBytes - within);
        at += lengthBytes;
        guest += lengthBytes;
      }
    }
    at = end;
  }
  assert.deepEqual([...seen], [...map.used()], 'every used block is in the file, once and in order');
}

/** Random disks of up to `maximumBytes`, with data in a few places. */
export function sparseDisks(maximumBytes: number): fc.Arbitrary<Disk> {
  const places = fc.array(fc.tuple(fc.nat(), fc.nat(300_000)), { maxLength: 12 });
  return fc.tuple(fc.integer({ min: 1, max: maximumBytes }), places).map(([sizeBytes, found]) => {
    const runs: (readonly [number, number])[] = [];
    let end = 0;
    for (const [start, length] of found
      .map(([at, n]) => [at % sizeBytes, n + 1] as const)
      .sort((a, b) => a[0] - b[0])) {
      const from = Math.max(end, start);
      const to = Math.min(sizeBytes, start + length);
      if (from < to) runs.push([from, to - from]);
      end = Math.max(end, to);
    }
    return patternDisk(sizeBytes, runs satisfies Runs);
  });
}
