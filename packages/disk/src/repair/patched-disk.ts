import { delegatedDisk } from '../disk/delegated-disk.ts';
import type { Disk, Extent, StoredRun } from '../disk/disk.ts';
import { invariant } from '../errors.ts';
import type { RepairPlan } from '../formats/format.ts';
import { firstEndingAfter } from './repaired-source.ts';

type Patches = RepairPlan['patches'];

/**
 * A disk as patches make it: its bytes with theirs over them, to be converted or read as any other. The patches are
 * apart from each other and inside the disk, in any order. Nothing is written. Closing it closes the disk.
 */
export function patchedDisk(disk: Disk, patches: RepairPlan['patches']): Disk {
  const sorted = patches.toSorted((a, b) => a.offsetBytes - b.offsetBytes);
  let before = 0;
  for (const { offsetBytes, bytes } of sorted) {
    invariant(offsetBytes >= before && bytes.length > 0, 'patches are apart from each other, and not empty');
    before = offsetBytes + bytes.length;
  }
  invariant(before <= disk.virtualSizeBytes, 'patches lie inside the disk');
  const runs = disk.storedRuns?.bind(disk);
  return delegatedDisk(disk, {
    async *extents(fromBytes, toBytes, signal) {
      for await (const extent of disk.extents(fromBytes, toBytes, signal))
        yield* patchedExtent(extent, sorted);
    },
    async read(offsetBytes, into, signal) {
      await disk.read(offsetBytes, into, signal);
      for (const patch of touching(sorted, offsetBytes, offsetBytes + into.length)) {
        const from = Math.max(patch.offsetBytes, offsetBytes);
        const part = patch.bytes.subarray(
          from - patch.offsetBytes,
          offsetBytes + into.length - patch.offsetBytes,
        );
        into.set(part, from - offsetBytes);
      }
    },
    ...(runs && {
      async *storedRuns(fromBytes, toBytes, signal) {
        for await (const run of runs(fromBytes, toBytes, signal))
          yield* patchedRun(run, sorted, fromBytes, toBytes);
      },
    }),
  });
}

/** What is patched of zeros is data; data stays what it is. */
function* patchedExtent(extent: Extent, patches: Patches): Generator<Extent, void, undefined> {
  if (extent.kind === 'data') {
    yield extent;
    return;
  }
  for (const { isPatched, ...range } of cut(
    extent.offsetBytes,
    extent.offsetBytes + extent.lengthBytes,
    patches,
  ))
    yield { ...range, kind: isPatched ? 'data' : extent.kind };
}

/** What is patched is read through the disk; a compressed unit of which a part is, as a whole. */
function* patchedRun(
  run: StoredRun,
  patches: Patches,
  fromBytes: number,
  toBytes: number,
): Generator<StoredRun, void, undefined> {
  const end = run.offsetBytes + run.lengthBytes;
  if (run.kind === 'packed') {
    const [touched] = touching(patches, run.offsetBytes, end);
    if (touched === undefined) {
      yield run;
      return;
    }
    const offsetBytes = Math.max(run.offsetBytes, fromBytes);
    yield { kind: 'opaque', offsetBytes, lengthBytes: Math.min(end, toBytes) - offsetBytes };
    return;
  }
  for (const { isPatched, ...range } of cut(run.offsetBytes, end, patches)) {
    if (isPatched) yield { ...range, kind: 'opaque' };
    else if (run.kind === 'plain')
      yield { ...run, ...range, sourceBytes: run.sourceBytes + range.offsetBytes - run.offsetBytes };
    else yield { ...range, kind: run.kind };
  }
}

/** A range in its parts that are patched and that are not. */
function* cut(
  fromBytes: number,
  toBytes: number,
  patches: Patches,
): Generator<{ offsetBytes: number; lengthBytes: number; isPatched: boolean }, void, undefined> {
  let at = fromBytes;
  for (const { offsetBytes, bytes } of touching(patches, fromBytes, toBytes)) {
    const start = Math.max(at, offsetBytes);
    if (start > at) yield { offsetBytes: at, lengthBytes: start - at, isPatched: false };
    at = Math.min(toBytes, offsetBytes + bytes.length);
    yield { offsetBytes: start, lengthBytes: at - start, isPatched: true };
  }
  if (at < toBytes) yield { offsetBytes: at, lengthBytes: toBytes - at, isPatched: false };
}

/** The patches of which a range has a part. */
function* touching(
  patches: Patches,
  fromBytes: number,
  toBytes: number,
): Generator<Patches[number], void, undefined> {
  for (let index = firstEndingAfter(patches, fromBytes); index < patches.length; index++) {
    const patch = patches[index];
    if (patch === undefined || patch.offsetBytes >= toBytes) return;
    yield patch;
  }
}
