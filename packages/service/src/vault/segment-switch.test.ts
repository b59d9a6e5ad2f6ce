import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { forEachEngine } from '../db/engines.testkit.ts';
import { BLOCK_BYTES } from './block-record.ts';
import { Vault } from './vault.ts';

const BLOCK_COUNT = 240;

forEachEngine('a segment that fills up while a checkpoint is made keeps every record', async (open) => {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-segment-switch-'));
  const database = await open();
  const vault = await Vault.open({ folder, database, segmentLimitBytes: 3_000_000 });
  try {
    const writer = await vault.beginManifest(BLOCK_COUNT * BLOCK_BYTES);
    const checkpoints: Promise<unknown>[] = [];
    for (let block = 0; block < BLOCK_COUNT; block++) {
      await writer.put(block, randomBytes(BLOCK_BYTES));
      // Nobody waits for it: records are appended, and segments fill up, while it goes on.
      if (block % 3 === 0) checkpoints.push(writer.checkpoint());
    }
    await Promise.all(checkpoints);
    await writer.checkpoint();
    const disk = await vault.openManifest(writer.manifestId);
    assert.equal(await disk.verify(), await disk.listedDigest());
    await disk.close();
    await writer.abandon();
  } finally {
    await vault.close();
    await rm(folder, { recursive: true });
  }
});
