import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { crc32, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { openDatabase } from '../db/database.ts';
import { Batcher } from './batcher.ts';
import {
  BLOCK_BYTES,
  hashBlock,
  PIECE_BYTES,
  packBlock,
  RECORD_LIMIT_BYTES,
  unpackBlock,
} from './block-record.ts';
import { Codec } from './codec.ts';
import { LiveSet } from './live-set.ts';
import { Lru } from './lru.ts';
import { CHUNK_BLOCKS, ManifestChunk } from './manifest-chunk.ts';
import { PinnedCache } from './pinned-cache.ts';
import { SharedLock } from './shared-lock.ts';
import {
  assertSameBytes,
  blockBytes,
  type DiskContent,
  importDisk,
  withFolder,
  withVault,
} from './vault.testkit.ts';

test('a segment file is laid out as its comments say', async () => {
  await withFolder(async (databaseFolder) => {
    const database = await openDatabase(join(databaseFolder, 'catalogue.db'));
    await withVault(database, async (vault, folder) => {
      const content: DiskContent = new Map([
        [0, { seed: 1, pieces: ['text', 'zero', 'noise', 'text'] }],
        [1, { seed: 2, pieces: ['zero', 'zero', 'zero', 'noise'] }],
        [2, { seed: 3, pieces: ['text', 'text', 'text', 'zero'] }],
      ]);
      await importDisk(vault, content);
      const [name = ''] = await readdir(join(folder, 'segments'));
      const file = await readFile(join(folder, 'segments', name));
      assert.equal(file.toString('latin1', 0, 8), 'GNTRYSEG');
      assert.deepEqual(
        [8, 12, 16, 20].map((at) => file.readUInt32LE(at)),
        [1, BLOCK_BYTES, PIECE_BYTES, 0],
      );
      assert.equal(file.toString('latin1', 24, 60), name);
      assert.equal(file.readUInt32LE(60), crc32(file.subarray(0, 60)));

      const found = new Map<string, Uint8Array>();
      let at = 64;
      while (at < file.length) {
        assert.equal(file.toString('latin1', at, at + 4), 'GVB1');
        assert.equal(file.readUInt32LE(at + 60), crc32(file.subarray(at, at + 60)));
        const plain = new Uint8Array(BLOCK_BYTES);
        let stored = at + 64;
        for (let piece = 0; piece < 4; piece++) {
          const code = file.readUInt16LE(at + 36 + 2 * piece);
          const length = code === 0xffff ? PIECE_BYTES : code;
          const bytes = file.subarray(stored, stored + length);
          assert.equal(file.readUInt32LE(at + 44 + 4 * piece), length === 0 ? 0 : crc32(bytes));
          if (length > 0)
            plain.set(length === PIECE_BYTES ? bytes : zstdDecompressSync(bytes), piece * PIECE_BYTES);
          stored += length;
        }
        found.set(file.toString('hex', at + 4, at + 36), plain);
        at = stored;
      }
      assert.equal(at, file.length);
      for (const block of content.values()) {
        const bytes = blockBytes(block);
        assertSameBytes(found.get(createHash('sha256').update(bytes).digest('hex'))!, bytes);
      }
    });
    await database.close();
  });
});

test('any change of a record is noticed', () => {
  const plain = blockBytes({ seed: 1, pieces: ['text', 'zero', 'noise', 'text'] });
  const record = new Uint8Array(RECORD_LIMIT_BYTES);
  hashBlock(plain, record);
  const length = packBlock(plain, record);
  const into = new Uint8Array(BLOCK_BYTES);
  assert.equal(unpackBlock(record, into), undefined);
  assertSameBytes(into, plain);
  const place = fc.oneof(fc.nat(63), fc.nat(length - 1));
  fc.assert(
    fc.property(place, fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = record.slice();
      damaged[at] = (damaged[at] ?? 0) ^ change;
      assert.notEqual(unpackBlock(damaged, into), undefined);
    }),
    { numRuns: 200 },
  );
});

test('a chunk of a manifest comes back from its packed form', () => {
  const entry = fc.tuple(
    fc.nat(CHUNK_BLOCKS - 1),
    fc.uint8Array({ minLength: 32, maxLength: 32 }),
    fc.uint8Array({ minLength: 8, maxLength: 8 }),
  );
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 40 }), fc.nat(CHUNK_BLOCKS), (entries, cut) => {
      const chunk = new ManifestChunk(7);
      for (const [block, hash, codes] of entries) chunk.set(block, hash, codes);
      chunk.clearFrom(cut);
      const expected = new Map(
        entries.filter(([block]) => block < cut).map(([block, hash, codes]) => [block, { hash, codes }]),
      );
      const packed = chunk.pack();
      assert.equal(packed.length, 128 + 40 * expected.size);
      const back = ManifestChunk.unpack(7, packed);
      assert.deepEqual(
        new Map(
          [...(back?.blocks() ?? [])].map((block) => [
            block,
            { hash: back?.hash(block), codes: back?.codes(block) },
          ]),
        ),
        new Map([...expected].sort(([a], [b]) => a - b)),
      );
      assert.equal(ManifestChunk.unpack(7, packed.subarray(1)), undefined);
      assert.equal(ManifestChunk.unpack(7, new Uint8Array([...packed, 0])), undefined);
    }),
  );
});

test('a live set holds what was added of its shard, and nothing else', () => {
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const shards = fc.constantFrom([0, 1], [0, 2], [1, 2], [5, 8], [255, 256]);
  fc.assert(
    fc.property(fc.array(hash), fc.array(hash), shards, (added, others, [shard = 0, count = 1]) => {
      const live = new LiveSet(shard, count, 0);
      for (const one of added) live.add(one);
      const { from, before } = live.bounds();
      for (const one of added) {
        const covered =
          Buffer.compare(one, from) > 0 && (before === undefined || Buffer.compare(one, before) < 0);
        assert.equal(live.covers(one), covered);
        assert.equal(live.has(one), covered);
      }
      const prefixes = new Set(added.map((one) => one.subarray(0, 8).toHex()));
      for (const other of others) {
        if (!prefixes.has(other.subarray(0, 8).toHex()) && other.subarray(0, 8).some((byte) => byte !== 0)) {
          assert.equal(live.has(other), false);
        }
      }
    }),
  );
  const live = new LiveSet(0, 1, 0);
  const hashOf = (i: number) => createHash('sha256').update(`${i}`).digest();
  for (let i = 0; i < 20_000; i++) live.add(hashOf(i));
  for (let i = 0; i < 40_000; i++) assert.equal(live.has(hashOf(i)), i < 20_000);
});

test('a shared lock lets many in, or one alone, in the order of asking', async () => {
  const lock = new SharedLock();
  const events: string[] = [];
  const doors = new Map<string, PromiseWithResolvers<void>>();
  const hold = (name: string) => async () => {
    const door = Promise.withResolvers<void>();
    doors.set(name, door);
    events.push(`+${name}`);
    await door.promise;
    events.push(`-${name}`);
  };
  const leave = async (name: string) => {
    doors.get(name)?.resolve();
    await setImmediate();
  };
  const all = [
    lock.shared(hold('a')),
    lock.shared(hold('b')),
    lock.exclusive(hold('X')),
    lock.shared(hold('c')),
    lock.exclusive(hold('Y')),
  ];
  await setImmediate();
  for (const name of ['a', 'b', 'X', 'c', 'Y']) await leave(name);
  await Promise.all(all);
  assert.deepEqual(events, ['+a', '+b', '-a', '-b', '+X', '-X', '+c', '-c', '+Y', '-Y']);
  await assert.rejects(
    lock.exclusive(() => Promise.reject(new Error('inside'))),
    /inside/,
  );
  assert.equal(await lock.shared(async () => 'free again'), 'free again');
});

test('a batch starts when it is full or when nothing more is on its way', async () => {
  const batches: (readonly number[])[] = [];
  const batcher = new Batcher<number, number>(3, async (items) => {
    batches.push(items);
    if (items.includes(13)) throw new Error('unlucky');
    return items.map((item) => item * 2);
  });
  const many = [1, 2, 3, 4].map((item) => batcher.add(Promise.resolve(item)));
  assert.deepEqual(await Promise.all(many), [2, 4, 6, 8]);
  assert.deepEqual(batches, [[1, 2, 3], [4]]);

  const late = Promise.withResolvers<number>();
  const first = batcher.add(Promise.resolve(5));
  const second = batcher.add(late.promise);
  await setImmediate();
  assert.equal(batches.length, 2, 'one more is expected');
  late.reject(new Error('never made'));
  await assert.rejects(second, /never made/);
  assert.equal(await first, 10);
  const failing = [13, 14].map((item) => batcher.add(Promise.resolve(item)));
  for (const one of failing) await assert.rejects(one, /unlucky/);
  assert.equal(await batcher.add(Promise.resolve(7)), 14);
});

test('what was used longest ago is forgotten first', () => {
  const lru = new Lru<string, number>(2);
  lru.set('a', 1);
  lru.set('b', 2);
  assert.equal(lru.get('a'), 1);
  lru.set('c', 3);
  lru.set('c', 4);
  assert.deepEqual(
    ['a', 'b', 'c'].map((key) => lru.get(key)),
    [1, undefined, 4],
  );
  lru.delete('a');
  assert.equal(lru.get('a'), undefined);
});

test('a cached value is disposed of when it is neither kept nor used, and made once', async () => {
  const disposed: string[] = [];
  const made: string[] = [];
  const cache = new PinnedCache<string>(2, (value) => disposed.push(value));
  const use = (key: string, done?: Promise<void>) =>
    cache.use(
      key,
      async () => {
        made.push(key);
        if (key === 'bad') throw new Error('cannot be made');
        return key;
      },
      async (value) => {
        await done;
        assert.ok(!disposed.includes(value), 'good while it is used');
        return value;
      },
    );
  const door = Promise.withResolvers<void>();
  const pinned = [use('a', door.promise), use('a', door.promise)];
  assert.deepEqual([await use('b'), await use('c'), await use('b')], ['b', 'c', 'b']);
  assert.deepEqual([made, disposed], [['a', 'b', 'c'], []]);
  door.resolve();
  assert.deepEqual(await Promise.all(pinned), ['a', 'a']);
  await setImmediate();
  assert.deepEqual(disposed, ['a']);
  await assert.rejects(use('bad'), /cannot be made/);
  await assert.rejects(use('bad'), /cannot be made/);
  const failing = cache.use(
    'd',
    async () => 'd',
    () => Promise.reject(new Error('cannot be used')),
  );
  await assert.rejects(failing, /cannot be used/);
  await setImmediate();
  assert.deepEqual(made, ['a', 'b', 'c', 'bad', 'bad']);
  assert.ok(disposed.includes('d'));
});

test('slots are handed out in order, and a closed codec refuses', async () => {
  const codec = new Codec(1);
  const held = await codec.acquire(32);
  const order: string[] = [];
  const eight = codec.acquire(8).then((slots) => {
    order.push('eight');
    return slots;
  });
  const one = codec.acquire(1).then((slots) => {
    order.push('one');
    return slots;
  });
  codec.release(held.slice(0, 4));
  await setImmediate();
  assert.deepEqual(order, [], 'one does not pass eight');
  codec.release(held.slice(4, 9));
  assert.equal((await eight).length + (await one).length, 9);
  assert.deepEqual(order, ['eight', 'one']);
  const waiting = codec.acquire(32);
  const [slot] = await one;
  const hashing = codec.hash(slot!);
  await Promise.all([assert.rejects(waiting, /closed/), assert.rejects(hashing), codec.close()]);
  await assert.rejects(codec.acquire(1), /closed/);
});
