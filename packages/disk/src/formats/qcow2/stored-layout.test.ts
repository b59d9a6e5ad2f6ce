import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { memorySource } from '../../io/memory.ts';
import { AllocationMap } from '../../view/allocation-map.ts';
import type { StoredUnits } from '../../view/stored-units.ts';
import { viewOfLayout } from '../../view/view.ts';
import { rawDisk } from '../raw/format.ts';
import { qcow2StoredLayout } from './stored-layout.ts';

const CLUSTER = 65536;
const ZSTD = { version: 3, compression: 'zstd' } as const;

/** Clusters by a recipe: 0 all zero, 1 text that compresses, 2 noise that does not. */
function makeDisk(recipe: readonly number[], tailBytes: number): Uint8Array {
  const disk = new Uint8Array(recipe.length * CLUSTER + tailBytes);
  let state = 1;
  for (const [i, kind] of recipe.entries()) {
    for (let k = 0; k < CLUSTER && kind !== 0; k++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      disk[i * CLUSTER + k] = kind === 1 ? (k * (i + 3)) >> 9 : state >>> 16;
    }
  }
  return disk;
}

function storedClusters(disk: Uint8Array): StoredUnits {
  const clusterCount = Math.ceil(disk.length / CLUSTER);
  const address = new Uint8Array(clusterCount * CLUSTER);
  const lengths = new Map<number, number>();
  for (let i = 0; i < clusterCount; i++) {
    const plain = new Uint8Array(CLUSTER);
    plain.set(disk.subarray(i * CLUSTER, (i + 1) * CLUSTER));
    if (plain.every((byte) => byte === 0)) continue;
    const frame = zlib.zstdCompressSync(plain);
    const bytes = frame.length < CLUSTER ? frame : plain;
    address.set(bytes, i * CLUSTER);
    lengths.set(i, bytes.length);
  }
  const source = memorySource(address);
  return {
    virtualSizeBytes: disk.length,
    map: AllocationMap.ofBlocks(CLUSTER, clusterCount, lengths.keys()),
    lengthOf: (cluster) => lengths.get(cluster) ?? 0,
    isPlain: (cluster) => lengths.get(cluster) === CLUSTER,
    pieces: (cluster) => [
      { kind: 'stored', source, offsetBytes: cluster * CLUSTER, lengthBytes: lengths.get(cluster) ?? 0 },
    ],
  };
}

async function wholeFile(stored: StoredUnits): Promise<Uint8Array> {
  const view = viewOfLayout(qcow2StoredLayout(stored, ZSTD), rawDisk(memorySource(new Uint8Array(0))));
  const bytes = new Uint8Array(view.lengthBytes);
  await view.read(0, bytes);
  return bytes;
}

test('qemu-img reads a layout of stored zstd clusters as the disk, and its check is clean', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gantry-stored-'));
  try {
    const recipes = [
      [],
      [0],
      [2],
      [1, 1, 2, 0, 1, 2, 2, 0, 0, 1],
      Array.from({ length: 700 }, (_, i) => (i * 7) % 3),
    ];
    for (const [i, recipe] of recipes.entries()) {
      const disk = makeDisk(recipe, i % 2 === 0 ? 512 : 0);
      const raw = join(folder, `${i}.raw`);
      const image = join(folder, `${i}.qcow2`);
      writeFileSync(raw, disk);
      writeFileSync(image, await wholeFile(storedClusters(disk)));
      execFileSync('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', image, raw]);
      execFileSync('qemu-img', ['check', '-f', 'qcow2', image]);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('any range of a layout of stored clusters equals the slice of the whole file', async () => {
  const stored = storedClusters(
    makeDisk(
      Array.from({ length: 600 }, (_, i) => (i * 5) % 3),
      0,
    ),
  );
  const layout = qcow2StoredLayout(stored, ZSTD);
  const view = viewOfLayout(layout, rawDisk(memorySource(new Uint8Array(0))));
  const whole = await wholeFile(stored);
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length), fc.nat(200_000), async (from, length) => {
      const to = Math.min(whole.length, from + length);
      const part = new Uint8Array(to - from);
      await view.read(from, part);
      assert.ok(Buffer.from(part).equals(whole.subarray(from, to)));
    }),
    { numRuns: 200 },
  );
});
