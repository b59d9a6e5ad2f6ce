import assert from 'node:assert/strict';
import { forEachEngine } from '../db/engines.testkit.ts';
import { importContent, importSize, tellFullDisk } from './importer.testkit.ts';
import { assertClean, assertSameBytes, diskBytes, readDisk, withFolder } from './vault.testkit.ts';
import { Vault } from './vault.ts';

const MIB = 1024 * 1024;

forEachEngine(
  'an import that meets a full disk leaves the vault clean, and goes on when there is room',
  async (open, addressOf) => {
    const database = await open();
    await withFolder(async (folder) => {
      const story = await tellFullDisk(addressOf(database), folder, 4 * MIB);
      assert.deepEqual(story.codes, ['STORE_FULL', 'STORE_FULL']);
      assert.equal(story.blockCode, 'STORE_FULL');
      assert.equal(story.checkpoint.nextBlock, 10);
      assert.deepEqual(story.fileBytes, story.committedBytes);
      assert.ok(story.committedBytes.every((bytes) => bytes < 4 * MIB));

      const vault = await Vault.open({ folder, database });
      await assertClean(vault);
      const bytes = await readDisk(vault, story.checkpoint.manifestId);
      assertSameBytes(bytes, diskBytes(importContent(), importSize));
      assert.ok(vault.usage().storedBytes > 4 * MIB);
      await vault.close();
    });
  },
);
