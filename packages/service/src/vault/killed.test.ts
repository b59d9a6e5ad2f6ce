import assert from 'node:assert/strict';
import { forEachEngine } from '../db/engines.testkit.ts';
import { BLOCK_BYTES } from './block-record.ts';
import { importContent, importSize, runAndKill } from './importer.testkit.ts';
import {
  assertClean,
  assertSameBytes,
  diskRange,
  nothingInUse,
  readDisk,
  withDisk,
  withFolder,
} from './vault.testkit.ts';
import { Vault } from './vault.ts';
import type { VaultCheckpoint } from './writer.ts';

/** Checkpoints after which the process is killed; it goes on while the signal is on its way. */
const kills = [1, 5, 2, 4];

forEachEngine(
  'an import that is killed again and again loses nothing that it acknowledged',
  async (open, addressOf) => {
    const database = await open();
    const address = addressOf(database);
    await withFolder(async (folder) => {
      const content = importContent();
      let from: VaultCheckpoint | undefined;
      for (const count of kills) {
        const said = await runAndKill(address, folder, from, count);
        from = said.at(-1) as VaultCheckpoint;
        assert.notEqual(from, 'sealed', 'the process was killed while it was at work');

        const vault = await Vault.open({ folder, database });
        await assertClean(vault);
        await withDisk(vault, from.manifestId, async (disk) => {
          const bytes = new Uint8Array((from?.nextBlock ?? 0) * BLOCK_BYTES);
          await disk.read(0, bytes);
          assertSameBytes(bytes, diskRange(content, 0, bytes.length, importSize));
        });
        await vault.close();
      }
      const said = await runAndKill(address, folder, from, Number.POSITIVE_INFINITY);
      assert.equal(said.at(-1), 'sealed');

      const vault = await Vault.open({ folder, database });
      const manifestId = (from as VaultCheckpoint).manifestId;
      await assertClean(vault);
      assertSameBytes(await readDisk(vault, manifestId), diskRange(content, 0, importSize, importSize));
      const { manifestCount } = await vault.gc({ manifestsInUse: async () => [manifestId] });
      assert.equal(manifestCount, 0);
      await assertClean(vault);
      await vault.gc({ manifestsInUse: nothingInUse });
      assert.deepEqual(vault.usage(), { segmentCount: 0, storedBytes: 0, liveBytes: 0 });
      await vault.close();
    });
  },
);
