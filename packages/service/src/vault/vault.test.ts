import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { denyReferences, diskDigest, memorySource, openDisk } from '@gantry/disk';
import fc from 'fast-check';
import { openDatabase } from '../db/database.ts';
import { forEachEngine } from '../db/engines.testkit.ts';
import { BLOCK_BYTES, PIECE_BYTES } from './block-record.ts';
import {
  assertClean,
  assertSameBytes,
  type DiskContent,
  diskBytes,
  diskRange,
  distinctBlocks,
  importDisk,
  nonZeroPieces,
  nothingInUse,
  type PieceKind,
  putAll,
  readDisk,
  sealAsListed,
  withDisk,
  withFolder,
  withVault,
} from './vault.testkit.ts';
import { Vault } from './vault.ts';

const LAST_BLOCK = 2060;

/** Blocks in all of the chunks of 1024 blocks that a manifest is kept in, the last one cut by the disk's end. */
const sparseDisk = fc.record({
  content: fc
    .array(
      fc.tuple(
        fc.oneof(
          fc.nat(20),
          fc.integer({ min: 1018, max: 1030 }),
          fc.integer({ min: LAST_BLOCK - 6, max: LAST_BLOCK }),
        ),
        fc.record({
          seed: fc.nat(20),
          pieces: fc.array(fc.constantFrom<PieceKind>('zero', 'text', 'noise'), {
            minLength: 4,
            maxLength: 4,
          }),
        }),
      ),
      { maxLength: 20 },
    )
    .map((blocks): DiskContent => new Map(blocks)),
  virtualSizeBytes: fc.integer({ min: LAST_BLOCK * BLOCK_BYTES + 1, max: (LAST_BLOCK + 1) * BLOCK_BYTES }),
});

/** Up to five blocks, from anywhere near one that holds something. */
const ranges = fc.array(
  fc.record({
    near: fc.nat(),
    from: fc.integer({ min: -BLOCK_BYTES, max: BLOCK_BYTES }),
    length: fc.integer({ min: 1, max: 4 * BLOCK_BYTES }),
  }),
  { minLength: 1, maxLength: 5 },
);

forEachEngine('what was put is read, whole and in any ranges', async (open) => {
  await withVault(await open(), async (vault) => {
    const property = fc.asyncProperty(sparseDisk, ranges, async ({ content, virtualSizeBytes }, asked) => {
      const manifestId = await importDisk(vault, content, virtualSizeBytes);
      await withDisk(vault, manifestId, async (disk) => {
        const requireSame = async (from: number, to: number) => {
          const into = new Uint8Array(to - from).fill(0xee);
          await disk.read(from, into);
          assertSameBytes(into, diskRange(content, from, to, virtualSizeBytes));
        };
        const dataPieces = new Set<number>();
        for await (const { kind, offsetBytes, lengthBytes } of disk.extents(0, virtualSizeBytes)) {
          if (kind !== 'data') continue;
          await requireSame(offsetBytes, offsetBytes + lengthBytes);
          for (let at = 0; at < lengthBytes; at += PIECE_BYTES)
            dataPieces.add((offsetBytes + at) / PIECE_BYTES);
        }
        assert.deepEqual(dataPieces, new Set(nonZeroPieces(content, virtualSizeBytes)));

        const blocks = [0, ...content.keys()];
        for (const { near, from, length } of asked) {
          const start = (blocks[near % blocks.length] ?? 0) * BLOCK_BYTES + from;
          const at = Math.min(Math.max(0, start), virtualSizeBytes - 1);
          await requireSame(at, Math.min(at + length, virtualSizeBytes));
        }
      });
    });
    await fc.assert(property, { numRuns: 12 });
    await assertClean(vault);
  });
});

forEachEngine('the listed digest is that of the bytes', async (open) => {
  await withVault(await open(), async (vault) => {
    const content = distinctBlocks(9);
    const manifestId = await importDisk(vault, content, 12 * BLOCK_BYTES - 77);
    const raw = await openDisk(memorySource(diskBytes(content, 12 * BLOCK_BYTES - 77)), {
      format: 'raw',
      references: denyReferences,
    });
    const expected = await diskDigest(raw);
    await withDisk(vault, manifestId, async (disk) => {
      assert.equal(await disk.listedDigest(), expected);
      assert.equal(await diskDigest(disk), expected);
      assert.equal(await disk.verify(), expected);
    });
  });
});

forEachEngine('extents tell data from holes by pieces of 64 KiB', async (open) => {
  await withVault(await open(), async (vault) => {
    const size = 5000 * BLOCK_BYTES - 5;
    const manifestId = await importDisk(
      vault,
      new Map([
        [1, { seed: 1, pieces: ['zero', 'text', 'noise', 'zero'] }],
        [2, { seed: 2, pieces: ['text', 'zero', 'zero', 'text'] }],
        [3, { seed: 3, pieces: ['text', 'zero', 'zero', 'zero'] }],
        [4999, { seed: 4, pieces: ['zero', 'zero', 'zero', 'noise'] }],
      ]),
      size,
    );
    await withDisk(vault, manifestId, async (disk) => {
      const extents = async (from: number, to: number) => {
        const found = [];
        for await (const { offsetBytes, lengthBytes, kind } of disk.extents(from, to)) {
          found.push([kind, offsetBytes / PIECE_BYTES, (offsetBytes + lengthBytes) / PIECE_BYTES]);
        }
        return found;
      };
      const end = size / PIECE_BYTES;
      assert.deepEqual(await extents(0, size), [
        ['hole', 0, 5],
        ['data', 5, 7],
        ['hole', 7, 8],
        ['data', 8, 9],
        ['hole', 9, 11],
        ['data', 11, 13],
        ['hole', 13, 19999],
        ['data', 19999, end],
      ]);
      assert.deepEqual(await extents(5.5 * PIECE_BYTES, 11 * PIECE_BYTES), [
        ['data', 5.5, 7],
        ['hole', 7, 8],
        ['data', 8, 9],
        ['hole', 9, 11],
      ]);
      assert.deepEqual(await extents(20 * PIECE_BYTES, 40 * PIECE_BYTES), [['hole', 20, 40]]);
      assert.deepEqual(await extents(6 * PIECE_BYTES, 6 * PIECE_BYTES), []);
    });
  });
});

forEachEngine('content that the vault has is not stored again', async (open) => {
  await withVault(await open(), async (vault) => {
    const twice: DiskContent = new Map([
      ...distinctBlocks(20),
      ...[...distinctBlocks(20)].map(([i, block]) => [i + 30, block] as const),
    ]);
    const first = await vault.beginManifest(64 * BLOCK_BYTES);
    await putAll(first, twice);
    await sealAsListed(vault, first);
    assert.deepEqual(
      { ...first.counts, storedBytes: 0 },
      { zeroBlocks: 0, knownBlocks: 20, newBlocks: 20, storedBytes: 0 },
    );
    const { storedBytes } = vault.usage();

    const second = await vault.beginManifest(64 * BLOCK_BYTES);
    await putAll(second, twice);
    await second.put(60, new Uint8Array(BLOCK_BYTES));
    await sealAsListed(vault, second);
    assert.deepEqual(second.counts, { zeroBlocks: 1, knownBlocks: 40, newBlocks: 0, storedBytes: 0 });
    assert.equal(vault.usage().storedBytes, storedBytes);
    assertSameBytes(await readDisk(vault, second.manifestId), diskBytes(twice, 64 * BLOCK_BYTES));
  });
});

forEachEngine('imports of the same content at the same time each get all of it', async (open) => {
  await withVault(await open(), async (vault) => {
    const content = distinctBlocks(40);
    const manifests = await Promise.all([0, 1, 2].map(() => importDisk(vault, content)));
    for (const manifestId of manifests) {
      assertSameBytes(await readDisk(vault, manifestId), diskBytes(content, 64 * BLOCK_BYTES));
    }
    await assertClean(vault);
    // What more than one stored is dead in all segments but one, and no part of the vault counts it as live.
    await vault.gc({ manifestsInUse: async () => manifests });
    await assertClean(vault);
  });
});

forEachEngine('a vault that is opened again goes on where it was', async (open) => {
  const database = await open();
  await withFolder(async (folder) => {
    const before = await Vault.open({ folder, database, segmentLimitBytes: 300_000 });
    const content = distinctBlocks(40);
    const manifestId = await importDisk(before, content);
    const usage = before.usage();
    assert.ok(usage.segmentCount > 1, 'the content fills more than one segment');
    await before.close();

    const after = await Vault.open({ folder, database });
    assert.deepEqual(after.usage(), usage);
    assertSameBytes(await readDisk(after, manifestId), diskBytes(content, 64 * BLOCK_BYTES));
    await importDisk(after, distinctBlocks(2, 100));
    assert.equal(after.usage().segmentCount, usage.segmentCount, 'the segments have room now');
    await assertClean(after);
    await after.close();
  });
});

forEachEngine('a folder is not opened with a database that it does not belong to', async (open) => {
  const database = await open();
  const foreign = await open();
  await withVault(database, async (vault, folder) => {
    const manifestId = await importDisk(vault, distinctBlocks(3));
    await withFolder(async (otherFolder) => {
      const refused = { code: 'STORE_REFUSED' };
      await assert.rejects(Vault.open({ folder, database: foreign }), refused);
      await assert.rejects(Vault.open({ folder: otherFolder, database }), refused);
      await (await Vault.open({ folder: otherFolder, database: foreign })).close();
      await assert.rejects(Vault.open({ folder, database: foreign }), refused);
    });
    assertSameBytes(await readDisk(vault, manifestId), diskBytes(distinctBlocks(3), 64 * BLOCK_BYTES));
  });
});

forEachEngine('a manifest is sealed with the digest of its blocks only', async (open) => {
  const database = await open();
  await withVault(database, async (vault) => {
    const writer = await vault.beginManifest(8 * BLOCK_BYTES);
    await putAll(writer, distinctBlocks(3));
    await assert.rejects(writer.seal(`disk1:${'0'.repeat(64)}`), { code: 'STORE_CORRUPT' });
    const digest = await withDisk(vault, writer.manifestId, (disk) => disk.listedDigest());
    const failing = writer.seal(digest, () => Promise.reject(new Error('no room for the image')));
    await assert.rejects(failing, /no room for the image/);
    const manifests = database.kysely.selectFrom('manifests').select(['state', 'disk_digest', 'data_bytes']);
    assert.deepEqual(await manifests.execute(), [{ state: 'building', disk_digest: null, data_bytes: 0 }]);

    let inside: unknown;
    const sealed = await writer.seal(digest, async (transaction, given) => {
      inside = { given, states: await transaction.selectFrom('manifests').select('state').execute() };
    });
    assert.deepEqual(sealed, {
      manifestId: writer.manifestId,
      diskDigest: digest,
      dataBytes: 3 * BLOCK_BYTES,
    });
    assert.deepEqual(inside, { given: sealed, states: [{ state: 'sealed' }] });
    await assert.rejects(vault.resumeManifest({ manifestId: writer.manifestId, nextBlock: 3 }), {
      code: 'STORE_REFUSED',
    });
  });
});

forEachEngine('an abandoned import leaves no manifest', async (open) => {
  const database = await open();
  await withVault(database, async (vault) => {
    const writer = await vault.beginManifest(8 * BLOCK_BYTES);
    await putAll(writer, distinctBlocks(3));
    const checkpoint = await writer.checkpoint();
    await writer.abandon();
    await assert.rejects(writer.put(4, new Uint8Array(BLOCK_BYTES).fill(1)), /closed/);
    await assert.rejects(vault.openManifest(writer.manifestId), { code: 'STORE_NOT_FOUND' });
    await assert.rejects(vault.resumeManifest(checkpoint), { code: 'STORE_NOT_FOUND' });
    const { blockCount } = await vault.gc({ manifestsInUse: nothingInUse });
    assert.equal(blockCount, 3);
  });
});

forEachEngine('a disk whose manifest was removed is refused, not read as zeros', async (open) => {
  await withVault(await open(), async (vault) => {
    const writer = await vault.beginManifest(8 * BLOCK_BYTES);
    await putAll(writer, distinctBlocks(3));
    await writer.checkpoint();
    await withDisk(vault, writer.manifestId, async (disk) => {
      await vault.removeManifest(writer.manifestId);
      const gone = { code: 'STORE_NOT_FOUND' };
      await assert.rejects(disk.read(0, new Uint8Array(10)), gone);
      await assert.rejects(disk.extents(0, 8 * BLOCK_BYTES).next(), gone);
      await assert.rejects(disk.verify(), gone);
      await assert.rejects(disk.storedPieces(), gone);
    });
  });
});

forEachEngine('an import goes on from its checkpoint, and forgets what came after it', async (open) => {
  await withVault(await open(), async (vault) => {
    const size = 1100 * BLOCK_BYTES;
    const before: DiskContent = new Map([
      ...distinctBlocks(4),
      [1050, { seed: 9, pieces: ['text', 'text', 'text', 'text'] }],
    ]);
    const first = await vault.beginManifest(size);
    await first.put(0, new Uint8Array(BLOCK_BYTES).fill(1));
    const checkpoint = await first.checkpoint();
    assert.deepEqual(checkpoint, { manifestId: first.manifestId, nextBlock: 1 });
    await putAll(first, before);
    await first.checkpoint();
    await assert.rejects(vault.resumeManifest(checkpoint), { code: 'STORE_REFUSED' });
    await first.close();

    const second = await vault.resumeManifest(JSON.parse(JSON.stringify(checkpoint)));
    await second.put(3, new Uint8Array(BLOCK_BYTES).fill(2));
    await sealAsListed(vault, second);
    await withDisk(vault, first.manifestId, async (disk) => {
      const found = [];
      for await (const extent of disk.extents(0, size)) {
        const byte = new Uint8Array(1);
        await disk.read(extent.offsetBytes, byte);
        found.push([extent.lengthBytes / BLOCK_BYTES, byte[0]]);
      }
      assert.deepEqual(found, [
        [1, 1],
        [2, 0],
        [1, 2],
        [1096, 0],
      ]);
    });
  });
});

test('the stored pieces are frames that zstd reads, or the bytes themselves', async () => {
  await withFolder(async (databaseFolder) => {
    const database = await openDatabase(join(databaseFolder, 'catalogue.db'));
    await withVault(database, async (vault) => {
      const content: DiskContent = new Map([
        [0, { seed: 5, pieces: ['text', 'noise', 'zero', 'text'] }],
        [1025, { seed: 6, pieces: ['zero', 'zero', 'noise', 'text'] }],
      ]);
      const size = 1026 * BLOCK_BYTES - 10;
      const manifestId = await importDisk(vault, content, size);
      await withDisk(vault, manifestId, async (disk) => {
        const stored = await disk.storedPieces();
        assert.equal(stored.pieceBytes, PIECE_BYTES);
        assert.equal(stored.pieceCount, 1026 * 4);
        const found: number[] = [];
        for (let piece = 0; piece < stored.pieceCount; piece++) {
          const length = stored.storedLength(piece);
          if (length === 0) continue;
          found.push(piece);
          const bytes = new Uint8Array(length);
          // In two parts: a reader of a view may ask for any range of a piece.
          await stored.source.read(piece * PIECE_BYTES, bytes.subarray(0, 100));
          await stored.source.read(piece * PIECE_BYTES + 100, bytes.subarray(100));
          const isFrame = length < PIECE_BYTES;
          const plain = isFrame ? spawnSync('zstd', ['-dcq'], { input: bytes }).stdout : bytes;
          assertSameBytes(plain, diskRange(content, piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES, size));
        }
        assert.deepEqual(found, nonZeroPieces(content, size));
        await assert.rejects(stored.source.read(2 * PIECE_BYTES, new Uint8Array(1)), RangeError);
        await assert.rejects(stored.source.read(0, new Uint8Array(stored.storedLength(0) + 1)), RangeError);
      });
    });
    await database.close();
  });
});

test('small reads one after the other give the same bytes', async () => {
  await withFolder(async (databaseFolder) => {
    const database = await openDatabase(join(databaseFolder, 'catalogue.db'));
    await withVault(database, async (vault) => {
      const content = distinctBlocks(2);
      const manifestId = await importDisk(vault, content, 2 * BLOCK_BYTES);
      await withDisk(vault, manifestId, async (disk) => {
        const bytes = new Uint8Array(2 * BLOCK_BYTES);
        for (let at = 0; at < bytes.length; at += 3000) await disk.read(at, bytes.subarray(at, at + 3000));
        assertSameBytes(bytes, diskBytes(content, 2 * BLOCK_BYTES));
      });
    });
    await database.close();
  });
});

test('the writer refuses blocks out of order, beyond the disk, or of another length', async () => {
  await withFolder(async (databaseFolder) => {
    const database = await openDatabase(join(databaseFolder, 'catalogue.db'));
    await withVault(database, async (vault, folder) => {
      const writer = await vault.beginManifest(4 * BLOCK_BYTES);
      const block = new Uint8Array(BLOCK_BYTES).fill(7);
      await writer.put(2, block);
      await assert.rejects(writer.put(2, block), RangeError);
      await assert.rejects(writer.put(4, block), RangeError);
      await assert.rejects(writer.put(3, block.subarray(1)), RangeError);
      await writer.checkpoint();
      await writer.put(
        3,
        block.map((_, i) => i),
      );
      await writer.close();
      // The segment ends where the checkpoint left it.
      const [segment] = await readdir(join(folder, 'segments'));
      assert.equal((await stat(join(folder, 'segments', segment!))).size, vault.usage().storedBytes);
    });
    await database.close();
  });
});
