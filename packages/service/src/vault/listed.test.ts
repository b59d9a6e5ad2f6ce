import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { forEachEngine } from '../db/engines.testkit.ts';
import { BLOCK_BYTES } from './block-record.ts';
import {
  assertClean,
  assertSameBytes,
  blockBytes,
  type DiskContent,
  diskBytes,
  distinctBlocks,
  importDisk,
  readDisk,
  sealAsListed,
  withVault,
} from './vault.testkit.ts';
import type { Vault } from './vault.ts';
import type { HashedBlock } from './writer.ts';

const BLOCK_COUNT = 12;
const virtualSizeBytes = BLOCK_COUNT * BLOCK_BYTES;

function listed(content: DiskContent): HashedBlock[] {
  return [...content].map(([block, bytes]) => ({
    block,
    hash: createHash('sha256').update(blockBytes(bytes)).digest(),
  }));
}

/** Imports by a list, some entries at once, after an interruption behind the `stopAfter`-th group. */
async function importListed(
  vault: Vault,
  content: DiskContent,
  groupSize: number,
  stopAfter: number,
): Promise<{ manifestId: string; putCount: number }> {
  let writer = await vault.beginManifest(virtualSizeBytes);
  let putCount = 0;
  const blocks = listed(content);
  for (let at = 0, group = 0; at < blocks.length; at += groupSize, group++) {
    if (group === stopAfter) {
      const checkpoint = await writer.checkpoint();
      await writer.close();
      writer = await vault.resumeManifest(checkpoint);
    }
    const some = blocks.slice(at, at + groupSize);
    for (const { block } of await writer.putKnown(some)) {
      const bytes = content.get(block);
      assert.ok(bytes !== undefined);
      await writer.put(block, blockBytes(bytes));
      putCount++;
    }
    writer.skipTo((some.at(-1)?.block ?? 0) + 1);
  }
  await sealAsListed(vault, writer);
  return { manifestId: writer.manifestId, putCount };
}

forEachEngine('a disk is listed by hashes; only blocks that the vault lacks are put', async (open) => {
  await withVault(await open(), async (vault) => {
    const known = distinctBlocks(BLOCK_COUNT / 2);
    await importDisk(vault, known, virtualSizeBytes);
    let seed = 1000;
    const groups = fc.record({ size: fc.integer({ min: 1, max: 5 }), stopAfter: fc.nat(4) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.boolean(), { maxLength: BLOCK_COUNT }),
        groups,
        async (isKnown, { size, stopAfter }) => {
          seed += BLOCK_COUNT;
          const fresh = distinctBlocks(BLOCK_COUNT, seed);
          const content: DiskContent = new Map(
            isKnown.flatMap((isOld, block) => {
              const bytes = isOld ? known.get(block % known.size) : fresh.get(block);
              return bytes === undefined ? [] : [[block, bytes] as const];
            }),
          );
          const { manifestId, putCount } = await importListed(vault, content, size, stopAfter);
          assert.equal(putCount, isKnown.filter((isOld) => !isOld).length);
          assertSameBytes(await readDisk(vault, manifestId), diskBytes(content, virtualSizeBytes));
        },
      ),
      { numRuns: 12 },
    );
    await assertClean(vault);
  });
});

forEachEngine('a listed block lies in the disk, behind those before it', async (open) => {
  await withVault(await open(), async (vault) => {
    const writer = await vault.beginManifest(virtualSizeBytes);
    const hash = new Uint8Array(32);
    writer.skipTo(3);
    await assert.rejects(writer.putKnown([{ block: 2, hash }]), RangeError);
    await assert.rejects(writer.putKnown([{ block: BLOCK_COUNT, hash }]), RangeError);
    assert.deepEqual(await writer.putKnown([{ block: 3, hash }]), [{ block: 3, hash }]);
    await writer.abandon();
  });
});
