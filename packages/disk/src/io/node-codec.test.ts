import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import type { Compression } from './codec.ts';
import { compress, decompress } from './node-codec.ts';

const kinds: readonly Compression[] = ['deflate-raw', 'zlib', 'zstd'];

const contents = fc
  .tuple(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.integer({ min: 1, max: 400 }))
  .map(([part, count]) =>
    Uint8Array.from({ length: part.length * count }, (_, i) => part[i % part.length] ?? 0),
  );

for (const kind of kinds) {
  test(`${kind} gives back what was compressed, whatever follows it`, async () => {
    await fc.assert(
      fc.asyncProperty(contents, fc.uint8Array({ maxLength: 600 }), async (plain, rest) => {
        const packed = Buffer.concat([await compress(kind, plain), rest]);
        assert.ok(Buffer.from(plain).equals(await decompress(kind, packed, plain.length, 'cluster')));
      }),
      { numRuns: 40 },
    );
  });

  test(`${kind} data of another length, cut or damaged is malformed and names its place`, async () => {
    const plain = Uint8Array.from({ length: 70_000 }, (_, i) => (i * i) >> 3);
    const packed = await compress(kind, plain);
    const attempts = [
      [packed, plain.length - 1],
      [packed, plain.length + 1],
      [packed.subarray(0, packed.length / 2), plain.length],
      [new Uint8Array(512).fill(0xff), plain.length],
      [new Uint8Array(0), plain.length],
    ] as const;
    for (const [bytes, length] of attempts) {
      await assert.rejects(decompress(kind, bytes, length, 'cluster', 7), {
        code: 'IMAGE_MALFORMED',
        structure: 'cluster',
        offsetBytes: 7,
      });
    }
  });

  test(`${kind} data that grows without end is stopped at the length asked for`, async () => {
    const bomb = await compress(kind, new Uint8Array(64 * 1024 * 1024));
    await assert.rejects(decompress(kind, bomb, 65536, 'cluster'), { code: 'IMAGE_MALFORMED' });
  });
}

test('a narrow deflate window is kept to', async () => {
  const block = randomBytes(5000);
  const plain = Buffer.concat([block, block]);
  const narrow = await compress('deflate-raw', plain, { windowBits: 12 });
  assert.deepEqual(zlib.inflateRawSync(narrow, { windowBits: 12 }), plain);
  // The repetition lies further back than 4 KiB: only the wide window sees it.
  assert.ok((await compress('deflate-raw', plain)).length < narrow.length);
});

test('several zstd frames that follow each other are one cluster', async () => {
  const plain = Uint8Array.from({ length: 9000 }, (_, i) => i >> 4);
  const parts = [
    plain.subarray(0, 3000),
    new Uint8Array(0),
    plain.subarray(3000, 3001),
    plain.subarray(3001),
  ];
  const frames = await Promise.all(parts.map((part) => compress('zstd', part)));
  const packed = Buffer.concat([...frames, new Uint8Array(300)]);
  assert.deepEqual(new Uint8Array(await decompress('zstd', packed, 9000, 'cluster')), plain);
});

test('zstd frames that give next to nothing are not followed for ever', async () => {
  const empty = await compress('zstd', new Uint8Array(0));
  const packed = Buffer.concat(Array.from({ length: 10_000 }, () => empty));
  await assert.rejects(decompress('zstd', packed, 65536, 'cluster'), { code: 'IMAGE_MALFORMED' });
});
