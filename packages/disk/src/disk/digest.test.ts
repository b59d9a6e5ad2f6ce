import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { patternDisk, testFolder, tool, writeRaw } from '../formats/images.testkit.ts';
import { openDisk } from '../formats/open.ts';
import { rawDisk } from '../formats/raw/format.ts';
import { memorySource } from '../io/memory.ts';
import { fileSource } from '../io/node-file.ts';
import { sha256 } from '../io/node-hash.ts';
import { DIGEST_BLOCK_BYTES, DIGEST_TREE_HEIGHT, DigestTree, diskDigest } from './digest.ts';
import type { Disk, Extent } from './disk.ts';
import { denyReferences } from './reference-gate.ts';

const TIB = 2 ** 40;
const NOTHING = `disk1:${'0'.repeat(64)}`;

interface Run {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/** A disk that holds these runs, apart and in order; between them are holes. */
function runsDisk(virtualSizeBytes: number, runs: readonly Run[]): Disk {
  return {
    ...rawDisk(memorySource(new Uint8Array(0))),
    virtualSizeBytes,
    async *extents(from, to): AsyncGenerator<Extent> {
      let at = from;
      for (const { offsetBytes, bytes } of runs) {
        const end = offsetBytes + bytes.length;
        if (end <= at || offsetBytes >= to) continue;
        if (offsetBytes > at) yield { offsetBytes: at, lengthBytes: offsetBytes - at, kind: 'hole' };
        at = Math.max(at, offsetBytes);
        yield { offsetBytes: at, lengthBytes: Math.min(end, to) - at, kind: 'data' };
        at = Math.min(end, to);
      }
      if (at < to) yield { offsetBytes: at, lengthBytes: to - at, kind: 'hole' };
    },
    async read(offset, into) {
      into.fill(0);
      for (const { offsetBytes, bytes } of runs) {
        const from = Math.max(offset, offsetBytes);
        const to = Math.min(offset + into.length, offsetBytes + bytes.length);
        if (from < to) into.set(bytes.subarray(from - offsetBytes, to - offsetBytes), from - offset);
      }
    },
  };
}

test('the digests of the published vectors are the published ones', async () => {
  const text = await readFile(new URL('./digest.vectors.json', import.meta.url), 'utf8');
  const vectors = JSON.parse(text) as {
    name: string;
    virtualSizeBytes: number;
    runs: { offsetBytes: number; hex: string }[];
    digest: string;
  }[];
  assert.ok(vectors.length >= 10);
  for (const { name, virtualSizeBytes, runs, digest } of vectors) {
    const disk = runsDisk(
      virtualSizeBytes,
      runs.map(({ offsetBytes, hex }) => ({ offsetBytes, bytes: Buffer.from(hex, 'hex') })),
    );
    assert.equal(await diskDigest(disk), digest, name);
  }
});

test('the program of the specification prints the published vectors', async () => {
  const root = new URL('../../../../docs/reference/disk-digest.md', import.meta.url);
  const program = /```python\n(.*?)```/s.exec(await readFile(root, 'utf8'))?.[1];
  assert.ok(program);
  const vectors = await readFile(new URL('./digest.vectors.json', import.meta.url), 'utf8');
  assert.equal(await tool('python3', '-c', program), vectors);
});

/** The definition as it reads: the hash of the node at `level` and `position` above these leaves. */
function naiveNode(leaves: ReadonlyMap<number, Uint8Array>, level: number, position: number): Uint8Array {
  const first = position * 2 ** level;
  const end = first + 2 ** level;
  if (![...leaves.keys()].some((index) => index >= first && index < end)) return new Uint8Array(32);
  if (level === 0) return leaves.get(position) ?? new Uint8Array(32);
  const hash = createHash('sha256');
  hash.update(naiveNode(leaves, level - 1, position * 2));
  hash.update(naiveNode(leaves, level - 1, position * 2 + 1));
  return hash.digest();
}

test('the tree that takes leaves in order is the tree of the definition', () => {
  const index = fc.oneof(fc.nat({ max: 40 }), fc.bigInt({ min: 0n, max: 2n ** 45n - 1n }).map(Number));
  fc.assert(
    fc.property(fc.uniqueArray(index, { maxLength: 12 }), (indices) => {
      const tree = new DigestTree();
      const leaves = new Map<number, Uint8Array>();
      for (const leaf of indices.sort((a, b) => a - b)) {
        const hash = createHash('sha256').update(String(leaf)).digest();
        leaves.set(leaf, hash);
        tree.add(leaf, hash);
      }
      const root = Buffer.from(naiveNode(leaves, DIGEST_TREE_HEIGHT, 0)).toString('hex');
      assert.equal(tree.finish(), `disk1:${root}`);
    }),
    { numRuns: 60 },
  );
});

test('leaves out of order are our own mistake', () => {
  const tree = new DigestTree();
  tree.add(5, new Uint8Array(32).fill(1));
  assert.throws(() => tree.add(5, new Uint8Array(32).fill(1)), /invariant/);
});

test('zeros at the end, stored or not, do not change a digest', async () => {
  const content = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7) % 251);
  const digest = await diskDigest(rawDisk(memorySource(content)));
  for (const more of [1, 212, 262_144, 1_000_000]) {
    const longer = new Uint8Array(content.length + more);
    longer.set(content);
    assert.equal(await diskDigest(rawDisk(memorySource(longer))), digest);
  }
  assert.equal(await diskDigest(runsDisk(60 * TIB, [{ offsetBytes: 0, bytes: content }])), digest);
});

test('how the extents are cut does not change a digest', async () => {
  const cuts = fc
    .uniqueArray(fc.nat({ max: 1_200_000 }), { maxLength: 8 })
    .map((at) => at.sort((a, b) => a - b));
  const content = new Uint8Array(1_200_000);
  content.fill(7, 100_000, 600_000);
  const digest = await diskDigest(rawDisk(memorySource(content)));
  await fc.assert(
    fc.asyncProperty(cuts, async (ends) => {
      const runs = [0, ...ends].map((offsetBytes, i) => ({
        offsetBytes,
        bytes: content.subarray(offsetBytes, ends[i] ?? content.length),
      }));
      assert.equal(await diskDigest(runsDisk(content.length, runs)), digest);
    }),
    { numRuns: 20 },
  );
});

test('the same disk has one digest in every format that qemu-img writes', async (context) => {
  const folder = await testFolder(context);
  const path = join(folder, 'disk.raw');
  await writeRaw(path, 9 * 2 ** 20, [
    [512, 100_000],
    [4 * 2 ** 20, 65536],
    [9 * 2 ** 20 - 512, 512],
  ]);
  const digestOf = async (file: string, format: string) => {
    const source = await fileSource(file);
    try {
      return await diskDigest(await openDisk(source, { format, references: denyReferences }));
    } finally {
      await source.close();
    }
  };
  const digest = await digestOf(path, 'raw');
  assert.notEqual(digest, NOTHING);
  const targets = [
    ['qcow2', []],
    ['qcow2', ['-c']],
    ['qcow2', ['-c', '-o', 'compression_type=zstd']],
    ['qcow2', ['-o', 'compat=0.10,cluster_size=512']],
    ['qcow2', ['-o', 'extended_l2=on,cluster_size=128k']],
    ['vmdk', []],
    ['vmdk', ['-o', 'subformat=streamOptimized']],
    ['vdi', []],
    // These round the size up, which a digest does not see.
    ['vpc', []],
    ['vpc', ['-o', 'subformat=fixed']],
  ] as const;
  for (const [i, [format, options]] of targets.entries()) {
    const file = join(folder, `${i}.${format}`);
    await tool('qemu-img', 'convert', '-f', 'raw', '-O', format, ...options, path, file);
    const ours = format === 'vpc' ? 'vhd' : format;
    assert.equal(await digestOf(file, ours), digest, [format, ...options].join(' '));
  }
});

test('a digest reads what is data, once, and nothing of the holes', async () => {
  const disk = patternDisk(64 * TIB, [
    [5 * TIB + 1000, 300_000],
    [64 * TIB - 10, 10],
  ]);
  let bytesRead = 0;
  const counting: Disk = {
    ...disk,
    async read(offset, into) {
      bytesRead += into.length;
      await disk.read(offset, into);
    },
  };
  assert.match(await diskDigest(counting), /^disk1:[0-9a-f]{64}$/);
  assert.ok(bytesRead <= 3 * DIGEST_BLOCK_BYTES + DIGEST_BLOCK_BYTES, `${bytesRead} bytes`);
});

test('a digest tells its progress, never backwards, to the end', async () => {
  const disk = patternDisk(10_000_000, [
    [0, 1_048_000],
    [1_048_100, 100],
    [5_000_000, 3_000_000],
  ]);
  const done: number[] = [];
  await diskDigest(disk, {
    onProgress: ({ phase, doneBytes, totalBytes }) => {
      assert.deepEqual([phase, totalBytes], ['digest', 10_000_000]);
      done.push(doneBytes);
    },
  });
  assert.deepEqual(
    done,
    done.toSorted((a, b) => a - b),
  );
  assert.equal(done.at(-1), 10_000_000);
});

test('an aborted digest throws the reason', async () => {
  const reason = new Error('enough');
  const controller = new AbortController();
  const disk = rawDisk(memorySource(new Uint8Array(20_000_000).fill(1)));
  const digest = diskDigest(disk, { signal: controller.signal, onProgress: () => controller.abort(reason) });
  await assert.rejects(digest, reason);
});

test('a digest goes on from where another process stopped, at any leaf', () => {
  const indices = [0, 1, 5, 6, 7, 4096, 2 ** 33, 2 ** 33 + 1];
  const leaf = (index: number) => sha256(new TextEncoder().encode(`${index}`));
  const whole = new DigestTree();
  for (const index of indices) whole.add(index, leaf(index));
  const expected = whole.finish();
  for (let at = 0; at <= indices.length; at++) {
    const first = new DigestTree();
    for (const index of indices.slice(0, at)) first.add(index, leaf(index));
    const second = new DigestTree(JSON.parse(JSON.stringify(first.state)));
    for (const index of indices.slice(at)) second.add(index, leaf(index));
    assert.equal(second.finish(), expected);
  }
  assert.equal(new DigestTree(new DigestTree().state).finish(), new DigestTree().finish());
});
