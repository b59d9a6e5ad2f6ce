import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Compression } from './codec.ts';
import { decompress } from './node-codec.ts';
import { type CompressOptions, compressedBound, compressInto } from './node-zlib.ts';

const kinds: readonly Compression[] = ['deflate-raw', 'zlib', 'zstd'];

const contents = fc
  .tuple(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.integer({ min: 1, max: 400 }))
  .map(([part, count]) =>
    Uint8Array.from({ length: part.length * count }, (_, i) => part[i % part.length] ?? 0),
  );

function compress(kind: Compression, plain: Uint8Array, options?: CompressOptions): Uint8Array {
  const target = new Uint8Array(compressedBound(plain.length));
  return target.subarray(0, compressInto(target, kind, plain, options));
}

for (const kind of kinds) {
  test(`${kind} gives back what was compressed, whatever follows it`, async () => {
    await fc.assert(
      fc.asyncProperty(contents, fc.uint8Array({ maxLength: 600 }), async (plain, rest) => {
        const packed = Buffer.concat([compress(kind, plain), rest]);
        assert.ok(Buffer.from(plain).equals(await decompress(kind, packed, plain.length, 'cluster')));
      }),
      { numRuns: 40 },
    );
  });

  test(`${kind} data of another length, cut or damaged is malformed and names its place`, async () => {
    const plain = Uint8Array.from({ length: 70_000 }, (_, i) => (i * i) >> 3);
    const packed = compress(kind, plain);
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
    const bomb = compress(kind, new Uint8Array(64 * 1024 * 1024));
    await assert.rejects(decompress(kind, bomb, 65536, 'cluster'), { code: 'IMAGE_MALFORMED' });
  });
}

test('several zstd frames that follow each other are one cluster', async () => {
  const plain = Uint8Array.from({ length: 9000 }, (_, i) => i >> 4);
  const parts = [
    plain.subarray(0, 3000),
    new Uint8Array(0),
    plain.subarray(3000, 3001),
    plain.subarray(3001),
  ];
  const frames = parts.map((part) => compress('zstd', part));
  const packed = Buffer.concat([...frames, new Uint8Array(300)]);
  assert.deepEqual(new Uint8Array(await decompress('zstd', packed, 9000, 'cluster')), plain);
});

test('zstd frames that give next to nothing are not followed for ever', async () => {
  const empty = compress('zstd', new Uint8Array(0));
  const packed = Buffer.concat(Array.from({ length: 10_000 }, () => empty));
  await assert.rejects(decompress('zstd', packed, 65536, 'cluster'), { code: 'IMAGE_MALFORMED' });
});
