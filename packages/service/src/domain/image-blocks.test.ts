import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { type ByteSource, memorySource } from '@gantry/disk';
import fc from 'fast-check';
import { blockListSource, type ListedBlock, readBlockList, readBlockListHead } from './image-blocks.ts';

const BLOCK = 262144;
const digest = `disk1:${'ab'.repeat(32)}`;

function listOf(
  blocks: readonly number[],
  virtualSizeBytes: number,
): { source: ByteSource; listed: ListedBlock[] } {
  const listed = blocks.map((block) => ({ block, hash: createHash('sha256').update(`${block}`).digest() }));
  const source = blockListSource('list', {
    virtualSizeBytes,
    diskDigest: digest,
    blockCount: listed.length,
    blocks: async (from, to) => listed.slice(from, to),
  });
  return { source, listed };
}

async function wholeOf(source: ByteSource): Promise<Buffer> {
  const bytes = Buffer.alloc(source.lengthBytes);
  await source.read(0, bytes);
  return bytes;
}

test('a list of blocks is read as it was written, from any block on, and any range is its slice', async () => {
  const blocks = fc.uniqueArray(fc.nat(5000), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(blocks, fc.nat(5000), fc.nat(), fc.nat(), async (used, fromBlock, a, b) => {
      const { source, listed } = listOf(
        used.toSorted((x, y) => x - y),
        5001 * BLOCK - 7,
      );
      const bytes = await wholeOf(source);
      const read = memorySource(bytes);
      const head = await readBlockListHead(read);
      assert.deepEqual(head, {
        virtualSizeBytes: 5001 * BLOCK - 7,
        blockCount: used.length,
        diskDigest: digest,
      });
      const found: ListedBlock[] = [];
      for await (const some of readBlockList(read, head, fromBlock)) found.push(...some);
      assert.deepEqual(
        found.map(({ block, hash }) => [block, Buffer.from(hash).toString('hex')]),
        listed
          .filter(({ block }) => block >= fromBlock)
          .map(({ block, hash }) => [block, Buffer.from(hash).toString('hex')]),
      );
      const from = a % bytes.length;
      const part = Buffer.alloc((b % (bytes.length - from)) + 1);
      await source.read(from, part);
      assert.ok(part.equals(bytes.subarray(from, from + part.length)));
    }),
    { numRuns: 60 },
  );
});

test('what is no list of blocks is refused', async () => {
  const good = await wholeOf(listOf([1, 2, 9], 10 * BLOCK).source);
  const changed = (at: number, byte: number) => {
    const bytes = Buffer.from(good);
    bytes[at] = byte;
    return bytes;
  };
  const bad = [
    good.subarray(0, 40),
    good.subarray(0, good.length - 1),
    changed(0, 0),
    changed(11, 9),
    changed(13, 9),
    changed(16, 255),
    changed(31, 200),
  ];
  for (const [i, bytes] of bad.entries()) {
    await assert.rejects(readBlockListHead(memorySource(bytes)), { code: 'STORE_CORRUPT' }, `case ${i}`);
  }
  for (const bytes of [changed(64 + 40 + 7, 1), changed(64 + 80 + 7, 10)]) {
    const source = memorySource(bytes);
    const head = await readBlockListHead(source);
    await assert.rejects(
      async () => {
        for await (const _ of readBlockList(source, head, 0));
      },
      { code: 'STORE_CORRUPT' },
    );
  }
});
