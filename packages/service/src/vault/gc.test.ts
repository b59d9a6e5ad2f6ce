import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Database } from '../db/database.ts';
import { forEachEngine } from '../db/engines.testkit.ts';
import { makeBucket, objectRow } from '../db/repositories/rows.testkit.ts';
import { BLOCK_BYTES } from './block-record.ts';
import {
  addImage,
  assertClean,
  assertSameBytes,
  type DiskContent,
  diskBytes,
  distinctBlocks,
  importDisk,
  nothingInUse,
  pausingDatabase,
  putAll,
  putKnown,
  readDisk,
  sealAsListed,
  withDisk,
  withVault,
} from './vault.testkit.ts';
import type { VaultDisk } from './vault-disk.ts';
import type { VaultWriter } from './writer.ts';

const SIZE: number = 64 * BLOCK_BYTES;

async function fileBytes(folder: string): Promise<number> {
  const names = await readdir(join(folder, 'segments'));
  const sizes = await Promise.all(
    names.map(async (name) => (await stat(join(folder, 'segments', name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function blockCount({ kysely }: Database): Promise<number> {
  return (await kysely.selectFrom('vault_blocks').select('block_hash').execute()).length;
}

forEachEngine('a collection removes exactly what nothing refers to', async (open) => {
  const database = await open();
  await withVault(
    database,
    async (vault, folder) => {
      const shown = await importDisk(vault, distinctBlocks(10));
      await addImage(database, shown);
      // Seeds 5 to 14: five blocks are those of the image.
      const forgotten = await importDisk(vault, distinctBlocks(10, 5));
      const held = await importDisk(vault, distinctBlocks(4, 100));
      const paused = await vault.beginManifest(SIZE);
      await putAll(paused, distinctBlocks(4, 200));
      const checkpoint = await paused.checkpoint();
      await paused.close();
      const lost = await vault.beginManifest(SIZE);
      await putAll(lost, distinctBlocks(4, 300));
      await lost.checkpoint();
      await lost.close();
      assert.equal(await blockCount(database), 27);

      const before = await fileBytes(folder);
      const progress: string[] = [];
      const report = await vault.gc({
        manifestsInUse: async () => [held, paused.manifestId],
        onProgress: ({ phase }) => progress.push(phase),
      });
      assert.equal(report.manifestCount, 2);
      assert.equal(report.blockCount, 9);
      assert.equal(report.damagedCount, 0);
      assert.equal(await fileBytes(folder), before - report.freedBytes);
      assert.equal(await blockCount(database), 18);
      assert.deepEqual([...new Set(progress)], ['manifests', 'mark', 'sweep', 'compact']);
      await assertClean(vault);
      for (const gone of [forgotten, lost.manifestId]) {
        await assert.rejects(vault.openManifest(gone), { code: 'STORE_NOT_FOUND' });
      }
      assertSameBytes(await readDisk(vault, shown), diskBytes(distinctBlocks(10), SIZE));
      assertSameBytes(await readDisk(vault, held), diskBytes(distinctBlocks(4, 100), SIZE));
      const resumed = await vault.resumeManifest(checkpoint);
      await sealAsListed(vault, resumed);
      assertSameBytes(await readDisk(vault, resumed.manifestId), diskBytes(distinctBlocks(4, 200), SIZE));

      assert.deepEqual(
        { ...(await vault.gc({ manifestsInUse: async () => [held, paused.manifestId] })), segmentCount: 0 },
        { manifestCount: 0, blockCount: 0, segmentCount: 0, damagedCount: 0, freedBytes: 0 },
      );
    },
    { segmentLimitBytes: 300_000 },
  );
});

forEachEngine('what a view shows is kept when its image is deleted', async (open) => {
  const database = await open();
  const { kysely } = database;
  await withVault(database, async (vault) => {
    const manifestId = await importDisk(vault, distinctBlocks(3));
    const imageId = await addImage(database, manifestId);
    const { tenancy_id } = await kysely.selectFrom('images').select('tenancy_id').executeTakeFirstOrThrow();
    const bucket = await makeBucket(kysely, tenancy_id);
    const view = { stored_name: null, manifest_id: manifestId, view_json: '{}' };
    await kysely
      .insertInto('objects')
      .values(objectRow(bucket.id, 'disk.qcow2', view))
      .execute();
    await kysely.deleteFrom('images').where('id', '=', imageId).execute();
    assert.equal((await vault.gc({ manifestsInUse: nothingInUse })).manifestCount, 0);
    assertSameBytes(await readDisk(vault, manifestId), diskBytes(distinctBlocks(3), SIZE));
    await kysely.deleteFrom('objects').execute();
    assert.equal((await vault.gc({ manifestsInUse: nothingInUse })).blockCount, 3);
    assert.deepEqual(vault.usage(), { segmentCount: 0, storedBytes: 0, liveBytes: 0 });
  });
});

forEachEngine('imports that use dying blocks while collections run keep them', async (open) => {
  const database = await open();
  await withVault(
    database,
    async (vault) => {
      // Each round imports what the rounds before left without a reference, while that is collected.
      for (let round = 0; round < 6; round++) {
        const content: DiskContent = new Map([
          ...distinctBlocks(24),
          [30, distinctBlocks(1, 1000 + round).get(0)!],
        ]);
        await Promise.all([
          importAndForget(content),
          vault.gc({ manifestsInUse: nothingInUse }),
          vault.gc({ manifestsInUse: nothingInUse }),
        ]);
        await assertClean(vault);
      }

      /** Reads back what it imported; afterwards nothing refers to it. */
      async function importAndForget(content: DiskContent): Promise<void> {
        const writer = await vault.beginManifest(SIZE);
        const disk = await vault.openManifest(writer.manifestId);
        for (const [block, part] of content) {
          await putAll(writer, new Map([[block, part]]));
          if (block % 3 === 0) await writer.checkpoint();
        }
        await writer.seal(await sealDigest(writer, disk));
        const bytes = new Uint8Array(SIZE);
        await disk.read(0, bytes);
        assertSameBytes(bytes, diskBytes(content, SIZE));
        await disk.close();
      }
    },
    { segmentLimitBytes: 500_000 },
  );
});

async function sealDigest(writer: VaultWriter, disk: VaultDisk): Promise<string> {
  await writer.checkpoint();
  return disk.listedDigest();
}

forEachEngine('a block that an import found before a collection began is kept', async (open) => {
  await withVault(await open(), async (vault) => {
    const content = distinctBlocks(8);
    await importDisk(vault, new Map([...content, ...distinctBlocks(2, 50)]));
    const writer = await vault.beginManifest(SIZE);
    await putKnown(writer, new Map([...content].slice(2)));
    assert.equal((await vault.gc({ manifestsInUse: nothingInUse })).blockCount, 2);
    await sealAsListed(vault, writer);
    assertSameBytes(
      await readDisk(vault, writer.manifestId),
      diskBytes(new Map([...content].slice(2)), SIZE),
    );
    await assertClean(vault);
  });
});

forEachEngine('a block that an import finds when it is about to be deleted is kept', async (open) => {
  const { database, arm, reached, release } = pausingDatabase(await open());
  await withVault(database, async (vault) => {
    const content = distinctBlocks(8);
    await importDisk(vault, content);
    const found: DiskContent = new Map([...content].slice(2));
    const writer = await vault.beginManifest(SIZE);
    // A page of the index, read by the sweep: all eight are dead.
    arm('"vault_blocks"', '"OrderByItemNode"', '"LimitNode"');
    const collecting = vault.gc({ manifestsInUse: nothingInUse });
    await reached();
    await putKnown(writer, found);
    release();
    assert.equal((await collecting).blockCount, 2);
    await sealAsListed(vault, writer);
    assertSameBytes(await readDisk(vault, writer.manifestId), diskBytes(found, SIZE));
    await assertClean(vault);
  });
});

forEachEngine('a block that an import finds while a collection waits to delete it is kept', async (open) => {
  const sweep = pausingDatabase(await open());
  const lookup = pausingDatabase(sweep.database);
  await withVault(lookup.database, async (vault) => {
    const content = distinctBlocks(8);
    await importDisk(vault, content);
    const writer = await vault.beginManifest(SIZE);
    sweep.arm('"vault_blocks"', '"OrderByItemNode"', '"LimitNode"');
    const collecting = vault.gc({ manifestsInUse: nothingInUse });
    await sweep.reached();
    // The import has its answer, and holds the lock until it has taken note of it.
    lookup.arm('"vault_blocks"', '"block_hash"', '"PrimitiveValueListNode"');
    const putting = putKnown(writer, content);
    await lookup.reached();
    sweep.release();
    await setImmediate();
    lookup.release();
    await putting;
    assert.equal((await collecting).blockCount, 0);
    await sealAsListed(vault, writer);
    assertSameBytes(await readDisk(vault, writer.manifestId), diskBytes(content, SIZE));
    await assertClean(vault);
  });
});

forEachEngine('a block that an import brings after the marking began is kept', async (open) => {
  const { database, arm, reached, release } = pausingDatabase(await open());
  await withVault(database, async (vault) => {
    // The list of manifests, read by the marking: the new one is not in it.
    arm('"manifests"', '"OrderByItemNode"', '"LimitNode"');
    const collecting = vault.gc({ manifestsInUse: nothingInUse });
    await reached();
    const content = distinctBlocks(8);
    const writer = await vault.beginManifest(SIZE);
    await putAll(writer, content);
    await writer.checkpoint();
    release();
    assert.equal((await collecting).blockCount, 0);
    await sealAsListed(vault, writer);
    assertSameBytes(await readDisk(vault, writer.manifestId), diskBytes(content, SIZE));
    await assertClean(vault);
  });
});

forEachEngine('a read that looked up a block before it was moved finds where it is now', async (open) => {
  const whole = await open();
  const { database, arm, reached, release } = pausingDatabase(whole);
  await withVault(database, async (vault) => {
    await importDisk(vault, distinctBlocks(8));
    const kept: DiskContent = new Map([...distinctBlocks(1), [9, distinctBlocks(1, 5).get(0)!]]);
    const manifestId = await importDisk(vault, kept);
    await addImage(whole, manifestId);
    const before = await database.kysely
      .selectFrom('vault_blocks')
      .select('segment_number')
      .executeTakeFirst();
    arm('"vault_blocks"', '"block_hash"', '"PrimitiveValueListNode"');
    const reading = readDisk(vault, manifestId);
    await reached();
    assert.equal((await vault.gc({ manifestsInUse: nothingInUse })).segmentCount, 1);
    const after = await database.kysely
      .selectFrom('vault_blocks')
      .select('segment_number')
      .executeTakeFirst();
    assert.notDeepEqual(after, before);
    release();
    assertSameBytes(await reading, diskBytes(kept, SIZE));
    assertSameBytes(await readDisk(vault, manifestId), diskBytes(kept, SIZE));
  });
});

forEachEngine('reads go on while their blocks are moved to other segments', async (open) => {
  const database = await open();
  await withVault(
    database,
    async (vault) => {
      // Every second block of each segment is kept.
      const all = distinctBlocks(48);
      const kept: DiskContent = new Map([...all].filter(([block]) => block % 4 === 0));
      await importDisk(vault, all);
      const manifestId = await importDisk(vault, kept);
      await addImage(database, manifestId);
      const expected = diskBytes(kept, SIZE);
      await withDisk(vault, manifestId, async (disk) => {
        let collecting = true;
        const readOn = async () => {
          const bytes = new Uint8Array(SIZE);
          do {
            await disk.read(0, bytes);
            assertSameBytes(bytes, expected);
            const some = bytes.subarray(0, BLOCK_BYTES + 7);
            await disk.read(4 * BLOCK_BYTES + 5, some);
            assertSameBytes(some, expected.subarray(4 * BLOCK_BYTES + 5, 5 * BLOCK_BYTES + 12));
          } while (collecting);
        };
        const collect = async () => {
          const report = await vault.gc({ manifestsInUse: nothingInUse });
          collecting = false;
          return report;
        };
        const [report] = await Promise.all([collect(), readOn(), readOn()]);
        assert.equal(report.manifestCount, 1);
        assert.equal(report.blockCount, 36);
        assert.ok(report.segmentCount > 2);
        await readOn();
      });
      await assertClean(vault);
    },
    { segmentLimitBytes: 300_000 },
  );
});

forEachEngine('a disk that is open keeps its manifest', async (open) => {
  await withVault(await open(), async (vault) => {
    const manifestId = await importDisk(vault, distinctBlocks(3));
    const first = await vault.openManifest(manifestId);
    const second = await vault.openManifest(manifestId);
    await first.close();
    await first.close();
    assert.equal((await vault.gc({ manifestsInUse: nothingInUse })).manifestCount, 0);
    await second.close();
    assert.equal((await vault.gc({ manifestsInUse: nothingInUse })).manifestCount, 1);
  });
});

forEachEngine('a collection and a check that are aborted leave the vault as good as it was', async (open) => {
  const database = await open();
  await withVault(database, async (vault) => {
    const manifestId = await importDisk(vault, distinctBlocks(8));
    await addImage(database, manifestId);
    await importDisk(vault, distinctBlocks(40, 100));
    for (const at of ['manifests', 'mark', 'sweep', 'compact']) {
      const controller = new AbortController();
      const onProgress = ({ phase }: { phase: string }) => {
        if (phase === at) controller.abort(new Error(`enough of ${at}`));
      };
      const aborted = vault.gc({ manifestsInUse: nothingInUse, signal: controller.signal, onProgress });
      await assert.rejects(aborted, /enough of/);
      await assertClean(vault);
    }
    const stopped = vault.check({ data: true, signal: AbortSignal.abort(new Error('no check')) });
    await assert.rejects(stopped, /no check/);
    await vault.gc({ manifestsInUse: nothingInUse });
    await assertClean(vault);
    assertSameBytes(await readDisk(vault, manifestId), diskBytes(distinctBlocks(8), SIZE));
    const { storedBytes, liveBytes } = vault.usage();
    assert.equal(storedBytes - liveBytes, 64);
  });
});
