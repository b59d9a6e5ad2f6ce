import assert from 'node:assert/strict';
import { forEachEngine } from '../db/engines.testkit.ts';
import { ManifestChunk } from '../vault/manifest-chunk.ts';
import { createManifest, deleteManifest, saveChunks } from '../vault/manifests.ts';
import { readBlockList, readBlockListHead } from './image-blocks.ts';
import { vaultBlockLists } from './vault-block-list.ts';

const BLOCK = 262144;

forEachEngine(
  'a list that is opened again is not counted again, and is gone with its image',
  async (open) => {
    const database = await open();
    const { kysely } = database;
    const { id } = await createManifest(kysely, 5000 * BLOCK);
    const used = [3, 1500, 4999];
    const chunks = Map.groupBy(used, (block) => Math.floor(block / 1024));
    for (const [index, blocks] of chunks) {
      const chunk = new ManifestChunk(index);
      for (const block of blocks) chunk.set(block % 1024, Buffer.alloc(32, block % 251), new Uint8Array(8));
      await saveChunks(kysely, id, [chunk]);
    }
    const sealed = { state: 'sealed', disk_digest: `disk1:${'ab'.repeat(32)}` };
    await kysely.updateTable('manifests').set(sealed).where('id', '=', id).execute();
    const lists = vaultBlockLists(database);
    const read = async () => {
      const { source } = await lists(id);
      const listed = await Array.fromAsync(readBlockList(source, await readBlockListHead(source), 0));
      return listed.flat().map(({ block }) => block);
    };
    assert.deepEqual(await read(), used);
    // A sealed manifest does not change: that another chunk were there would go unseen.
    const rest = kysely.deleteFrom('manifest_chunks').where('chunk_index', '=', 1);
    await rest.execute();
    assert.equal((await lists(id)).source.lengthBytes, 64 + used.length * 40);
    await deleteManifest(kysely, id);
    await assert.rejects(lists(id), { code: 'STORE_NOT_FOUND' });
  },
);
