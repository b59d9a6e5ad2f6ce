import assert from 'node:assert/strict';
import { copyFile, open as openFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Database } from '../db/database.ts';
import { forEachEngine } from '../db/engines.testkit.ts';
import { BLOCK_BYTES, PIECE_BYTES } from './block-record.ts';
import {
  addImage,
  assertClean,
  assertSameBytes,
  diskRange,
  distinctBlocks,
  importDisk,
  nothingInUse,
  readDisk,
  withDisk,
  withVault,
} from './vault.testkit.ts';
import { Vault } from './vault.ts';

const SIZE: number = 64 * BLOCK_BYTES;
const content = distinctBlocks(6);

/** Segment name and place of the block that stands third in the disk. */
async function thirdBlock({ kysely }: Database, manifestId: string) {
  const { entries } = await kysely
    .selectFrom('manifest_chunks')
    .select('entries')
    .where('manifest_id', '=', manifestId)
    .executeTakeFirstOrThrow();
  const hash = entries.slice(128 + 2 * 40, 128 + 2 * 40 + 32);
  return kysely
    .selectFrom('vault_blocks')
    .innerJoin('vault_segments', 'vault_segments.number', 'vault_blocks.segment_number')
    .select(['vault_segments.id as segment', 'offset_bytes', 'length_bytes', 'block_hash'])
    .where('block_hash', '=', hash)
    .executeTakeFirstOrThrow();
}

async function flipBit(file: string, at: number): Promise<void> {
  const handle = await openFile(file, 'r+');
  const byte = new Uint8Array(1);
  await handle.read(byte, 0, 1, at);
  await handle.write(
    byte.map((value) => value ^ 1),
    0,
    1,
    at,
  );
  await handle.close();
}

/** Offsets in a record: in its header, in its first piece, at its last byte. */
for (const [name, placeOf] of [
  ['the header of a record', () => 40],
  ['a stored piece', () => 64 + 1000],
  ['the last byte of a record', (lengthBytes: number) => lengthBytes - 1],
] as const) {
  forEachEngine(`a flipped bit in ${name} is found by a read and by a check`, async (open) => {
    const database = await open();
    await withVault(database, async (vault, folder) => {
      const manifestId = await importDisk(vault, content);
      const block = await thirdBlock(database, manifestId);
      const file = join(folder, 'segments', block.segment);
      await flipBit(file, block.offset_bytes + placeOf(block.length_bytes));

      const named = (error: Error & { code?: string; where?: string }) =>
        error.code === 'STORE_CORRUPT' &&
        error.where === file &&
        error.message.includes(block.block_hash.toHex()) &&
        error.message.includes(block.segment);
      await assert.rejects(readDisk(vault, manifestId), named);
      await withDisk(vault, manifestId, async (disk) => {
        await assert.rejects(disk.verify(), named);
        // A read inside the block, of all pieces but not of the whole.
        await assert.rejects(disk.read(2 * BLOCK_BYTES + 1, new Uint8Array(BLOCK_BYTES - 1)), named);
        const stored = await disk.storedPieces();
        const readAll = async () => {
          for (let piece = 8; piece < 12; piece++) {
            await stored.source.read(piece * PIECE_BYTES, new Uint8Array(stored.storedLength(piece)));
          }
        };
        await assert.rejects(readAll(), named);
        const other = new Uint8Array(2 * BLOCK_BYTES);
        await disk.read(0, other);
        assertSameBytes(other, diskRange(content, 0, 2 * BLOCK_BYTES, SIZE));
      });
      const report = await vault.check({ data: true });
      assert.equal(report.corruptionCount, 1);
      assert.equal(report.blockCount, 6);
      assert.ok(report.findings[0]?.what.includes(block.block_hash.toHex()));
      assert.deepEqual((await vault.check({ data: false })).findings, []);
    });
  });
}

forEachEngine(
  'a segment that lost its end is found without reading it, and by reads of what it lost',
  async (open) => {
    const database = await open();
    await withVault(database, async (vault, folder) => {
      const manifestId = await importDisk(vault, content);
      const block = await thirdBlock(database, manifestId);
      await truncate(join(folder, 'segments', block.segment), block.offset_bytes + block.length_bytes - 1);
      await assert.rejects(readDisk(vault, manifestId), { code: 'STORE_CORRUPT' });
      const report = await vault.check({ data: false });
      assert.deepEqual(
        report.findings.map(({ severity, where }) => [severity, where]),
        [['corruption', `segment ${block.segment}`]],
      );
      // Nothing is added to a damaged segment: what is imported now can be read.
      const later = await importDisk(vault, distinctBlocks(2, 50));
      assertSameBytes(await readDisk(vault, later), diskRange(distinctBlocks(2, 50), 0, SIZE, SIZE));
    });
  },
);

forEachEngine('a segment that is missing, or another file under its name, is found', async (open) => {
  await withVault(
    await open(),
    async (vault, folder) => {
      const manifests = [
        await importDisk(vault, distinctBlocks(1)),
        await importDisk(vault, distinctBlocks(1, 9)),
      ];
      const [first, second] = (await readdir(join(folder, 'segments'))).map((name) =>
        join(folder, 'segments', name),
      );
      await copyFile(first!, second!);
      await assert.rejects(readDisk(vault, manifests[1]!), { code: 'STORE_CORRUPT', where: second });
      const { findings } = await vault.check({ data: true });
      assert.ok(
        findings.length > 0 && findings.every(({ where }) => second!.endsWith(where.replace('segment ', ''))),
      );
      await rm(second!);
      await assert.rejects(readDisk(vault, manifests[1]!), { code: 'STORE_CORRUPT', where: second });
      assert.deepEqual((await vault.check({ data: false })).findings, [
        {
          severity: 'corruption',
          what: 'the file is missing',
          where: `segment ${second!.split('/').at(-1)}`,
        },
      ]);
      assertSameBytes(await readDisk(vault, manifests[0]!), diskRange(distinctBlocks(1), 0, SIZE, SIZE));
    },
    { segmentLimitBytes: 65 },
  );
});

forEachEngine('rows that do not fit the files, the manifests or each other are found', async (open) => {
  const database = await open();
  const { kysely } = database;
  await withVault(database, async (vault) => {
    const manifestId = await importDisk(vault, content);
    await addImage(database, manifestId);
    await assertClean(vault);
    const block = await thirdBlock(database, manifestId);
    const ofBlock = kysely.updateTable('vault_blocks').where('block_hash', '=', block.block_hash);
    const findings = async () => (await vault.check({ data: false })).findings.map(({ what }) => what);
    const hash = block.block_hash.toHex();

    await ofBlock.set({ offset_bytes: block.offset_bytes - 1 }).execute();
    assert.match((await findings()).join(), new RegExp(`block ${hash} at byte \\d+ overlaps`));
    await ofBlock.set({ offset_bytes: block.offset_bytes, length_bytes: block.length_bytes - 1 }).execute();
    assert.match((await findings()).join(), new RegExp(`block ${hash} at byte \\d+ has another length`));
    await ofBlock.set({ length_bytes: 900_000 }).execute();
    assert.match((await findings()).join(), /ends beyond the committed bytes/);
    await ofBlock.set({ length_bytes: block.length_bytes }).execute();
    await assertClean(vault);

    const { entries } = await kysely
      .selectFrom('manifest_chunks')
      .select('entries')
      .executeTakeFirstOrThrow();
    const setEntries = (changed: Uint8Array) =>
      kysely.updateTable('manifest_chunks').set({ entries: changed }).execute();
    const changed = (at: number) => entries.map((byte, i) => (i === at ? byte ^ 1 : byte));
    await setEntries(changed(128 + 2 * 40));
    assert.match(
      (await findings()).join(),
      /block [0-9a-f]{64} is not in the index,it lists a disk of digest/,
    );
    await assert.rejects(readDisk(vault, manifestId), { code: 'STORE_CORRUPT' });
    await setEntries(changed(128 + 2 * 40 + 32));
    assert.match((await findings()).join(), /has other pieces in the index than listed/);
    await assert.rejects(readDisk(vault, manifestId), { code: 'STORE_CORRUPT' });
    await setEntries(changed(0));
    assert.match((await findings()).join(), /is not a list of blocks/);
    await kysely.deleteFrom('manifest_chunks').execute();
    assert.match((await findings()).join(), /^it lists a disk of digest disk1:[0-9a-f]{64}, not disk1:/);
    await kysely
      .insertInto('manifest_chunks')
      .values({ manifest_id: manifestId, chunk_index: 0, entries })
      .execute();

    await kysely.updateTable('manifests').set({ state: 'building' }).execute();
    assert.match((await findings()).join(), /shows manifest man-\w+, which is not complete/);
    await kysely.updateTable('manifests').set({ state: 'sealed' }).execute();
    await assertClean(vault);
  });
});

forEachEngine('a segment that counts other bytes in use than its blocks have is found', async (open) => {
  const database = await open();
  await withVault(database, async (vault, folder) => {
    await importDisk(vault, content);
    await database.kysely.updateTable('vault_segments').set({ live_bytes: 7 }).execute();
    const again = await Vault.open({ folder, database });
    const { findings } = await again.check({ data: false });
    await again.close();
    assert.deepEqual(
      findings.map(({ severity, what }) => [severity, what.replace(/\d+$/, 'N')]),
      [['leak', 'its row counts 7 bytes in use, its blocks have N']],
    );
  });
});

forEachEngine('files that no row knows are found and collected, others are left alone', async (open) => {
  await withVault(await open(), async (vault, folder) => {
    const stranger = `seg-${'0'.repeat(32)}`;
    await writeFile(join(folder, 'segments', stranger), 'left behind');
    await writeFile(join(folder, 'segments', 'notes.txt'), 'not ours');
    const report = await vault.check({ data: true });
    assert.deepEqual(
      report.findings.map(({ severity, where }) => [severity, where]),
      [['leak', stranger]],
    );
    assert.equal((await vault.gc({ manifestsInUse: nothingInUse })).freedBytes, 11);
    assert.deepEqual(await readdir(join(folder, 'segments')), ['notes.txt']);
    await assertClean(vault);
  });
});

forEachEngine('a collection leaves damaged blocks where they are', async (open) => {
  const database = await open();
  await withVault(database, async (vault, folder) => {
    const kept = await importDisk(vault, content);
    const block = await thirdBlock(database, kept);
    await addImage(database, kept);
    await importDisk(vault, distinctBlocks(20, 100));
    await flipBit(join(folder, 'segments', block.segment), block.offset_bytes + 100);

    const report = await vault.gc({ manifestsInUse: nothingInUse });
    assert.equal(report.damagedCount, 1);
    assert.equal(report.segmentCount, 0);
    assert.equal((await vault.check({ data: true })).corruptionCount, 1);
    await withDisk(vault, kept, async (disk) => {
      const sound = new Uint8Array(2 * BLOCK_BYTES);
      await disk.read(0, sound);
      assertSameBytes(sound, diskRange(content, 0, 2 * BLOCK_BYTES, SIZE));
    });
  });
});
