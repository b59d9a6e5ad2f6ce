import assert from 'node:assert/strict';
import type { Disk, StoredRun } from '../disk/disk.ts';
import { decompress } from '../io/node-codec.ts';
import { assertSameBytes } from './images.testkit.ts';

/** The bytes of a run as the one who copies stored bytes gets them; undefined for an opaque one. */
async function runBytes(run: StoredRun): Promise<Uint8Array | undefined> {
  if (run.kind === 'opaque') return undefined;
  if (run.kind !== 'plain' && run.kind !== 'packed') return new Uint8Array(run.lengthBytes);
  const stored = new Uint8Array(run.kind === 'plain' ? run.lengthBytes : run.storedBytes);
  await run.source.read(run.sourceBytes, stored);
  return run.kind === 'plain' ? stored : decompress(run.compression, stored, run.lengthBytes, 'run');
}

/** Asserts that the runs of a range cover it in order, and that what they name is what the disk reads. */
export async function assertRunsTellTheTruth(
  disk: Disk,
  fromBytes = 0,
  toBytes: number = disk.virtualSizeBytes,
): Promise<readonly StoredRun[]> {
  const runs = await Array.fromAsync(disk.storedRuns?.(fromBytes, toBytes) ?? []);
  let at = fromBytes;
  for (const run of runs) {
    if (run.kind === 'packed') assert.ok(run.offsetBytes <= at, 'a packed run holds its place');
    else assert.equal(run.offsetBytes, at, 'runs follow each other');
    assert.ok(run.lengthBytes > 0, 'no run is empty');
    const end = Math.min(run.offsetBytes + run.lengthBytes, toBytes);
    const bytes = await runBytes(run);
    if (bytes !== undefined) {
      const read = new Uint8Array(end - at);
      await disk.read(at, read);
      assertSameBytes(bytes.subarray(at - run.offsetBytes, end - run.offsetBytes), read, `run at ${at}`);
    }
    at = end;
  }
  assert.equal(at, toBytes, 'runs cover the range');
  return runs;
}
