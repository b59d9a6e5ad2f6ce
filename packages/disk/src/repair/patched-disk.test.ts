import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { convert } from '../convert/convert.ts';
import type { Disk } from '../disk/disk.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import {
  assertExtentsTellTheTruth,
  assertSameBytes,
  diskBytes,
  patternDisk,
} from '../formats/images.testkit.ts';
import { openDisk } from '../formats/open.ts';
import { assertRunsTellTheTruth } from '../formats/stored-runs.testkit.ts';
import { memorySink, memorySource } from '../io/memory.ts';
import { patchedDisk } from './patched-disk.ts';

const KIB = 1024;
const SIZE_BYTES: number = 600 * KIB;
const pattern = patternDisk(SIZE_BYTES, [
  [3 * KIB, 70 * KIB],
  [200 * KIB, 1],
  [300 * KIB, 250 * KIB],
]);

async function written(disk: Disk, format: string, compression?: 'zlib'): Promise<Uint8Array> {
  const sink = memorySink('image');
  await convert(disk, sink, { format, compression });
  return sink.bytes();
}

async function reopened(format: string, compression?: 'zlib'): Promise<Disk> {
  const source = memorySource(await written(pattern, format, compression));
  return openDisk(source, { format, references: denyReferences });
}

/** Patches that are apart, in any order. */
const patchLists = fc
  .array(fc.tuple(fc.nat(SIZE_BYTES / 8), fc.uint8Array({ minLength: 1, maxLength: 600 })), { maxLength: 12 })
  .chain((gaps) => {
    let at = 0;
    const patches = [];
    for (const [gap, bytes] of gaps) {
      if (at + gap + bytes.length > SIZE_BYTES) break;
      patches.push({ offsetBytes: at + gap, bytes });
      at += gap + bytes.length;
    }
    return fc.shuffledSubarray(patches, { minLength: patches.length });
  });

async function expectedBytes(patches: readonly { offsetBytes: number; bytes: Uint8Array }[]) {
  const bytes = await diskBytes(pattern);
  for (const patch of patches) bytes.set(patch.bytes, patch.offsetBytes);
  return bytes;
}

for (const [format, compression] of [['raw'], ['qcow2'], ['qcow2', 'zlib'], ['vhd']] as const) {
  test(`a patched ${compression ?? 'plain'} ${format} reads, is mapped and converted as its patches say`, async () => {
    const base = await reopened(format, compression);
    await fc.assert(
      fc.asyncProperty(patchLists, fc.nat(SIZE_BYTES), fc.nat(SIZE_BYTES), async (patches, one, other) => {
        const disk = patchedDisk(base, patches);
        const expected = await expectedBytes(patches);
        const [from, to] = [Math.min(one, other), Math.max(one, other)];
        const part = new Uint8Array(to - from);
        await disk.read(from, part);
        assertSameBytes(part, expected.subarray(from, to));
        if (disk.storedRuns !== undefined) await assertRunsTellTheTruth(disk, from, to);
        await assertExtentsTellTheTruth(disk);
        const copy = await openDisk(memorySource(await written(disk, 'raw')), {
          format: 'raw',
          references: denyReferences,
        });
        assertSameBytes(await diskBytes(copy), expected);
      }),
      { numRuns: 25 },
    );
  });
}

test('patches that overlap, are empty or lie outside are our own mistake', () => {
  const bytes = new Uint8Array(4);
  for (const offsets of [[0, 3], [SIZE_BYTES - 3]]) {
    const patches = offsets.map((offsetBytes) => ({ offsetBytes, bytes }));
    assert.throws(() => patchedDisk(pattern, patches), /invariant/);
  }
  assert.throws(() => patchedDisk(pattern, [{ offsetBytes: 1, bytes: new Uint8Array() }]), /invariant/);
});
