import type { Disk, Extent, StoredRun } from './disk.ts';

/** The extents of [from, to) of a parent that shows through its child, which may be larger: a hole then. */
export async function* parentExtents(
  parent: Disk | undefined,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<Extent, void, undefined> {
  const inside = Math.min(toBytes, Math.max(fromBytes, parent?.virtualSizeBytes ?? fromBytes));
  if (parent !== undefined && inside > fromBytes) yield* parent.extents(fromBytes, inside, signal);
  if (inside < toBytes) yield { kind: 'hole', offsetBytes: inside, lengthBytes: toBytes - inside };
}

/**
 * As `parentExtents`, with where the bytes are. What the range cuts of a compressed unit is opaque: its rest
 * belongs to the child.
 */
export async function* parentRuns(
  parent: Disk | undefined,
  fromBytes: number,
  toBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<StoredRun, void, undefined> {
  if (parent?.storedRuns === undefined) {
    for await (const { kind, offsetBytes, lengthBytes } of parentExtents(parent, fromBytes, toBytes, signal))
      yield { kind: kind === 'data' ? 'opaque' : kind, offsetBytes, lengthBytes };
    return;
  }
  const inside = Math.min(toBytes, Math.max(fromBytes, parent.virtualSizeBytes));
  if (inside > fromBytes) {
    for await (const run of parent.storedRuns(fromBytes, inside, signal)) {
      if (run.kind !== 'packed') yield run;
      else yield wholeOrOpaque(run, fromBytes, inside, parent.virtualSizeBytes);
    }
  }
  if (inside < toBytes) yield { kind: 'hole', offsetBytes: inside, lengthBytes: toBytes - inside };
}

/** A unit that ends beyond its own disk would show more of it than the child's reader does. */
function wholeOrOpaque(
  run: StoredRun & { kind: 'packed' },
  fromBytes: number,
  toBytes: number,
  sizeBytes: number,
): StoredRun {
  const end = run.offsetBytes + run.lengthBytes;
  if (run.offsetBytes >= fromBytes && end <= toBytes && end <= sizeBytes) return run;
  const offsetBytes = Math.max(run.offsetBytes, fromBytes);
  return { kind: 'opaque', offsetBytes, lengthBytes: Math.min(end, toBytes) - offsetBytes };
}
