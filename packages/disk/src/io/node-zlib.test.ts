import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { testFolder } from '../formats/images.testkit.ts';
import type { Compression } from './codec.ts';
import { codecTier, useAccelerator } from './node-accelerator.ts';
import { type CompressOptions, compressedBound, compressInto, decompressInto } from './node-zlib.ts';

const kinds: readonly Compression[] = ['deflate-raw', 'zlib', 'zstd'];

/** Bytes of all sorts: text, noise, zeros, what comes again. */
const contents = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 400 }),
      fc.string({ maxLength: 200 }).map((text) => Buffer.from(text)),
      fc
        .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 1, max: 9000 }))
        .map(([byte, count]) => Buffer.alloc(count, byte)),
    ),
    { maxLength: 12 },
  )
  .chain((parts) =>
    fc
      .array(fc.nat({ max: Math.max(0, parts.length - 1) }), { maxLength: 30 })
      .map((order) => Buffer.concat(order.map((i) => parts[i] ?? Buffer.alloc(0)))),
  );

const unit = Buffer.concat([
  Buffer.alloc(30_000, readFileSync(new URL(import.meta.url))),
  randomBytes(15_536),
  Buffer.alloc(20_000),
]);

function packed(kind: Compression, plain: Uint8Array, options?: CompressOptions): Uint8Array {
  const target = new Uint8Array(compressedBound(plain.length));
  const lengthBytes = compressInto(target, kind, plain, options);
  assert.ok(lengthBytes > 0);
  return target.subarray(0, lengthBytes);
}

/** What the zlib and zstd of Node, not ours, make of it. */
function unpackedByNode(kind: Compression, bytes: Uint8Array): Uint8Array {
  if (kind === 'zstd') return zlib.zstdDecompressSync(bytes);
  return kind === 'zlib' ? zlib.inflateSync(bytes) : zlib.inflateRawSync(bytes);
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

for (const tier of ['native', 'node'] as const) {
  describe(`the codecs of the tier ${tier}`, () => {
    before(() => useAccelerator(tier === 'native' ? 'required' : 'off'));
    after(() => useAccelerator('auto'));

    test('they say who they are', () => {
      assert.equal(codecTier().tier, tier);
      assert.ok(codecTier().name.includes(process.versions.zstd ?? ''));
    });

    for (const kind of kinds) {
      test(`${kind}: what is compressed decompresses to it, here and by Node, whatever follows`, () => {
        fc.assert(
          fc.property(
            contents,
            fc.uint8Array({ maxLength: 600 }),
            fc.nat({ max: 7 }),
            (plain, rest, shift) => {
              const bytes = packed(kind, plain);
              assert.ok(same(unpackedByNode(kind, bytes), plain));
              // Where it stands in memory does not matter.
              const stored = Buffer.concat([Buffer.alloc(shift), bytes, rest]).subarray(shift);
              const target = new Uint8Array(plain.length);
              const done = decompressInto(target, kind, stored);
              assert.deepEqual(
                { ...done },
                { writtenBytes: plain.length, usedBytes: bytes.length, isWhole: true },
              );
              assert.ok(same(target, plain));
            },
          ),
          { numRuns: 60 },
        );
      });

      test(`${kind}: memory that is shared with threads serves as any other`, () => {
        const shared = new Uint8Array(new SharedArrayBuffer(400_000));
        const plain = shared.subarray(1, 1 + unit.length);
        plain.set(unit);
        const lengthBytes = compressInto(shared.subarray(100_003, 200_000), kind, plain);
        const target = shared.subarray(200_001, 200_001 + unit.length);
        const bytes = shared.subarray(100_003, 100_003 + lengthBytes);
        assert.equal(decompressInto(target, kind, bytes).writtenBytes, unit.length);
        assert.ok(same(target, unit));
      });

      test(`${kind}: the same bytes come out every time`, () => {
        const first = packed(kind, unit);
        packed(kind, randomBytes(5000));
        packed(kind, unit, { level: 1 });
        assert.ok(same(packed(kind, unit), first));
      });

      test(`${kind}: output that does not fit is 0, and nothing is written behind the target`, () => {
        const bytes = packed(kind, unit);
        for (const room of [0, 1, 100, bytes.length - 1]) {
          const target = new Uint8Array(room + 64).fill(0xee);
          assert.equal(compressInto(target.subarray(0, room), kind, unit), 0);
          assert.ok(target.subarray(room).every((byte) => byte === 0xee));
        }
        // A few bytes of room more than the data takes are enough for every codec.
        assert.equal(compressInto(new Uint8Array(bytes.length + 16), kind, unit), bytes.length);
      });

      test(`${kind}: more output than the target takes throws, and nothing is written behind it`, () => {
        const bytes = packed(kind, unit);
        for (const room of [0, 1, 1000, unit.length - 1]) {
          const target = new Uint8Array(room + 64).fill(0xee);
          assert.throws(() => decompressInto(target.subarray(0, room), kind, bytes));
          assert.ok(target.subarray(room).every((byte) => byte === 0xee));
        }
        const roomy = decompressInto(new Uint8Array(unit.length + 5000), kind, bytes);
        assert.deepEqual({ ...roomy }, { writtenBytes: unit.length, usedBytes: bytes.length, isWhole: true });
      });

      test(`${kind}: nothing compresses, and decompresses to nothing`, () => {
        const bytes = packed(kind, new Uint8Array(0));
        const done = decompressInto(new Uint8Array(0), kind, bytes);
        assert.deepEqual({ ...done }, { writtenBytes: 0, usedBytes: bytes.length, isWhole: true });
      });
    }

    for (const kind of ['deflate-raw', 'zlib'] as const) {
      test(`${kind}: data whose end is missing is told from whole data`, () => {
        const plain = randomBytes(40_000);
        const stored = kind === 'zlib' ? zlib.deflateSync(plain) : zlib.deflateRawSync(plain);
        const target = new Uint8Array(plain.length);
        const open = zlib.deflateRawSync(plain, { finishFlush: zlib.constants.Z_SYNC_FLUSH });
        const cut = kind === 'zlib' ? stored.subarray(0, -3) : open;
        const done = decompressInto(target, kind, cut);
        assert.ok(same(target, plain));
        assert.deepEqual({ ...done }, { writtenBytes: plain.length, usedBytes: cut.length, isWhole: false });
        assert.equal(decompressInto(target, kind, stored.subarray(0, 20_000)).isWhole, false);
      });
    }

    test('a wrong checksum throws', () => {
      const bytes = Buffer.from(packed('zlib', unit));
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
      assert.throws(() => decompressInto(new Uint8Array(unit.length), 'zlib', bytes), {
        code: 'Z_DATA_ERROR',
      });
      const params = { [zlib.constants.ZSTD_c_checksumFlag]: 1 };
      const frame = zlib.zstdCompressSync(unit, { params });
      assert.equal(decompressInto(new Uint8Array(unit.length), 'zstd', frame).writtenBytes, unit.length);
      frame[frame.length - 1] = (frame.at(-1) ?? 0) ^ 1;
      assert.throws(() => decompressInto(new Uint8Array(unit.length), 'zstd', frame));
    });

    test('a narrow deflate window is kept to', () => {
      const block = randomBytes(5000);
      const plain = Buffer.concat([block, block]);
      const narrow = packed('deflate-raw', plain, { windowBits: 12 });
      assert.deepEqual(zlib.inflateRawSync(narrow, { windowBits: 12 }), plain);
      // The repetition lies further back than 4 KiB: only the wide window sees it.
      assert.ok(packed('deflate-raw', plain).length < narrow.length);
    });

    test('zstd frames fill the target one after the other, and what follows is left alone', () => {
      const parts = [
        unit.subarray(0, 3000),
        Buffer.alloc(0),
        unit.subarray(3000, 3001),
        unit.subarray(3001, 9000),
      ];
      const frames = parts.map((part) => Buffer.from(packed('zstd', part)));
      const bytes = Buffer.concat([...frames, Buffer.alloc(300)]);
      const target = new Uint8Array(9000);
      assert.equal(decompressInto(target, 'zstd', bytes).usedBytes, bytes.length - 300);
      assert.ok(same(target, unit.subarray(0, 9000)));
      const [first] = frames;
      const alone = decompressInto(target.subarray(0, 3000), 'zstd', bytes);
      assert.deepEqual({ ...alone }, { writtenBytes: 3000, usedBytes: first?.length, isWhole: true });
      const torn = bytes.subarray(0, bytes.length - 320);
      assert.throws(() => decompressInto(target, 'zstd', torn));
    });

    test('zstd frames that give next to nothing are not followed for ever', () => {
      const empty = Buffer.from(packed('zstd', new Uint8Array(0)));
      const bytes = Buffer.concat(Array.from({ length: 10_000 }, () => empty));
      assert.throws(() => decompressInto(new Uint8Array(100), 'zstd', bytes), /too many zstd frames/);
    });

    test('skippable frames and dictionaries are refused', () => {
      const skippable = Buffer.from('502a4d180400000000000000', 'hex');
      assert.throws(() => decompressInto(new Uint8Array(8), 'zstd', skippable), /no whole zstd frame/);
      const withDictionary = Buffer.from(zlib.deflateSync(unit, { dictionary: Buffer.from('import') }));
      assert.throws(() => decompressInto(new Uint8Array(unit.length), 'zlib', withDictionary));
    });

    test("Python's zlib and the zstd command read what is written, and the reverse", async (context) => {
      const folder = await testFolder(context);
      for (const kind of kinds) writeFileSync(join(folder, kind), packed(kind, unit));
      writeFileSync(join(folder, 'plain'), unit);
      const script = `
import sys, zlib
name = lambda n: sys.argv[1] + '/' + n
plain = open(name('plain'), 'rb').read()
assert zlib.decompress(open(name('deflate-raw'), 'rb').read(), -15) == plain
assert zlib.decompress(open(name('zlib'), 'rb').read()) == plain
for level in (0, 1, 6, 9):
    for strategy in range(5):
        for kind, bits in (('deflate-raw', -15), ('deflate-raw', -9), ('zlib', 15), ('zlib', 10)):
            c = zlib.compressobj(level, zlib.DEFLATED, bits, 9, strategy)
            with open(name('%s.%d.%d.%d' % (kind, bits, level, strategy)), 'wb') as f: f.write(c.compress(plain) + c.flush())
`;
      execFileSync('python3', ['-c', script, folder]);
      const target = new Uint8Array(unit.length);
      for (const level of [0, 1, 6, 9]) {
        for (const strategy of [0, 1, 2, 3, 4]) {
          for (const [kind, bits] of [
            ['deflate-raw', -15],
            ['deflate-raw', -9],
            ['zlib', 15],
            ['zlib', 10],
          ] as const) {
            const stored = readFileSync(join(folder, `${kind}.${bits}.${level}.${strategy}`));
            const done = decompressInto(target.fill(0), kind, stored);
            assert.deepEqual(
              { ...done },
              { writtenBytes: unit.length, usedBytes: stored.length, isWhole: true },
            );
            assert.ok(same(target, unit));
          }
        }
      }
      assert.ok(same(execFileSync('zstd', ['-dc'], { input: packed('zstd', unit) }), unit));
      for (const options of [['-1'], ['-19'], ['--no-check', '-3'], ['--ultra', '-22'], ['--fast=5']]) {
        // Read from a pipe, so the frame does not say how much it holds.
        const frame = execFileSync('zstd', ['-cq', ...options], { input: unit });
        const done = decompressInto(target.fill(0), 'zstd', Buffer.concat([frame, Buffer.alloc(100)]));
        assert.equal(done.usedBytes, frame.length);
        assert.ok(same(target, unit));
      }
    });
  });
}

test('zstd makes the same bytes with the accelerator and without', () => {
  const made = (['required', 'off'] as const).map((use) => {
    useAccelerator(use);
    return [1, 3, 9].map((level) => packed('zstd', unit, { level }));
  });
  useAccelerator('auto');
  assert.deepEqual(made[0], made[1]);
});

test('each tier decompresses what the other compressed', () => {
  for (const [writer, reader] of [
    ['required', 'off'],
    ['off', 'required'],
  ] as const) {
    for (const kind of kinds) {
      useAccelerator(writer);
      const bytes = packed(kind, unit);
      useAccelerator(reader);
      const target = new Uint8Array(unit.length);
      assert.equal(decompressInto(target, kind, bytes).usedBytes, bytes.length);
      assert.ok(same(target, unit));
    }
  }
  useAccelerator('auto');
});
