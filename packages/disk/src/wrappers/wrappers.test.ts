import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { noise } from '../archives/tar/tar.testkit.ts';
import { convert } from '../convert/convert.ts';
import { diskDigest } from '../disk/digest.ts';
import { denyReferences } from '../disk/reference-gate.ts';
import { assertSameBytes, patternDisk, sourceBytes } from '../formats/images.testkit.ts';
import { openDisk } from '../formats/open.ts';
import { probeFormat } from '../formats/probe.ts';
import { formatNamed } from '../formats/registry.ts';
import { byteChunks } from '../io/byte-chunks.ts';
import type { ByteSource } from '../io/byte-source.ts';
import { memorySink, memorySource } from '../io/memory.ts';
import { unpack, type WrapperKind } from './unpack.ts';
import { arrivingSource, piped } from './wrappers.testkit.ts';

const references = denyReferences;
const size = 9 * 2 ** 20 + 512;
const runs = [
  [0, 70_000],
  [3 * 2 ** 20, 2_000_000],
  [9 * 2 ** 20, 512],
] as const;

async function imageBytes(format: string, options = {}): Promise<Uint8Array> {
  const sink = memorySink();
  await convert(patternDisk(size, runs), sink, { format, options });
  return sink.bytes();
}

/** Text, noise and zeros. */
function mixed(lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  const text = Buffer.from('the quick brown fox jumps over the lazy dog. ');
  const random = noise(Math.floor(lengthBytes / 4));
  for (let at = 0; at < lengthBytes / 4; at++) bytes[at] = text[(at * 7) % text.length] ?? 0;
  bytes.set(random, Math.floor(lengthBytes / 3));
  return bytes;
}

const forms: Readonly<Record<string, readonly [WrapperKind, (bytes: Uint8Array) => Promise<Buffer>]>> = {
  gzip: ['gzip', (bytes) => piped('gzip', ['-c'], bytes)],
  'gzip of two members': ['gzip', (bytes) => inHalves(bytes, (half) => piped('gzip', ['-1c'], half))],
  'zstd with its size': ['zstd', (bytes) => piped('zstd', ['-qc', `--stream-size=${bytes.length}`], bytes)],
  'zstd without its size': ['zstd', (bytes) => piped('zstd', ['-qc'], bytes)],
  'zstd of two frames': [
    'zstd',
    (bytes) => inHalves(bytes, (half) => piped('zstd', ['-qc', `--stream-size=${half.length}`], half)),
  ],
  'zstd behind a frame that is skipped': [
    'zstd',
    async (bytes) =>
      Buffer.concat([Buffer.from('502a4d1803000000aabbcc', 'hex'), await piped('zstd', ['-qc'], bytes)]),
  ],
  'xz -6': ['xz', (bytes) => piped('xz', ['-c'], bytes)],
  'xz -9e': ['xz', (bytes) => piped('xz', ['-9ec'], bytes)],
  'xz in blocks, SHA-256': [
    'xz',
    (bytes) => piped('xz', ['-c', '--block-size=1MiB', '--check=sha256'], bytes),
  ],
  'xz with CRC32': ['xz', (bytes) => piped('xz', ['-0c', '--check=crc32'], bytes)],
  'xz without a check': ['xz', (bytes) => piped('xz', ['-0c', '--check=none'], bytes)],
  'xz with other properties': [
    'xz',
    (bytes) => piped('xz', ['-c', '--lzma2=dict=64KiB,lc=1,lp=3,pb=0,nice=64'], bytes),
  ],
  'xz of two streams with padding': [
    'xz',
    async (bytes) =>
      Buffer.concat([await inHalves(bytes, (half) => piped('xz', ['-1c'], half)), Buffer.alloc(8)]),
  ],
};

async function inHalves(bytes: Uint8Array, pack: (half: Uint8Array) => Promise<Buffer>): Promise<Buffer> {
  const middle = Math.floor(bytes.length / 2) + 1;
  return Buffer.concat([await pack(bytes.subarray(0, middle)), await pack(bytes.subarray(middle))]);
}

for (const [name, [kind, pack]] of Object.entries(forms)) {
  test(`${name}: whole, in ranges and while it arrives, the bytes are those that were packed`, async () => {
    const bytes = mixed(5_000_001);
    const packed = await pack(bytes);
    assert.equal((await probeFormat(memorySource(packed))).name, kind);
    const source = await unpack(memorySource(packed), kind);
    assert.equal(source.lengthBytes, bytes.length);
    assertSameBytes(await sourceBytes(source), bytes);
    for (const at of [bytes.length - 10, 0, 3_000_000, 100, 4_999_000]) {
      const part = new Uint8Array(10);
      await source.read(at, part);
      assertSameBytes(part, bytes.subarray(at, at + 10), `at ${at}`);
    }
    await source.drain();
    await source.close();
    for (const isLengthKnown of [true, false]) {
      const arriving = await unpack(await arrivingSource(packed, isLengthKnown), kind);
      const parts: Uint8Array[] = [];
      for await (const part of byteChunks(arriving, 0)) parts.push(part);
      assertSameBytes(Buffer.concat(parts), bytes);
      await arriving.close();
    }
  });
}

for (const kind of ['gzip', 'zstd', 'xz'] as const) {
  test(`${kind}: nothing, and a byte, are unpacked`, async () => {
    for (const bytes of [new Uint8Array(), Uint8Array.of(7)]) {
      const source = await unpack(memorySource(await piped(kind, ['-c'], bytes)), kind);
      assertSameBytes(await sourceBytes(source), bytes);
    }
  });
}

test('ranges in any order give the bytes, beginning again where they have to', async () => {
  // Larger than what is kept, so that going back is.
  const bytes = noise(48 * 2 ** 20);
  const packed = await piped('zstd', ['-qc', '-1', `--stream-size=${bytes.length}`], bytes);
  const source = await unpack(memorySource(packed), 'zstd');
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 100_000 }), async (at, length) => {
      const part = new Uint8Array(Math.min(length, bytes.length - at));
      await source.read(at, part);
      assertSameBytes(part, bytes.subarray(at, at + part.length));
    }),
    { numRuns: 12 },
  );
  await source.drain();
});

for (const [form, options] of [
  ['qcow2', {}],
  ['vmdk', { subformat: 'streamOptimized' }],
  ['vhd', {}],
  ['vhd', { subformat: 'fixed' }],
  ['vdi', {}],
  ['raw', {}],
  ['oci', {}],
  ['ova', {}],
] as const) {
  for (const kind of ['gzip', 'zstd', 'xz'] as const) {
    test(`${form} ${Object.values(options).join()} in ${kind} is the disk`, async () => {
      const packed = await piped(kind, ['-1c'], await imageBytes(form, options));
      const disk = await openDisk(memorySource(packed), { references });
      assert.equal(disk.format, form);
      assert.equal(disk.details.wrapper, kind);
      assert.equal(await diskDigest(disk), await diskDigest(patternDisk(size, runs)));
      await disk.drain?.();
      await disk.close();
    });
  }
}

test('a declared format inside a wrapper is not looked for', async () => {
  const packed = await piped('gzip', ['-c'], await imageBytes('qcow2'));
  const open = async (format: string) => openDisk(memorySource(packed), { references, format });
  const plain = await open('raw');
  assert.equal(plain.virtualSizeBytes, packed.length);
  const inside = await open('raw.gz');
  assert.equal(inside.format, 'raw');
  assert.ok(inside.virtualSizeBytes > packed.length);
  assert.equal((await open('qcow2.gz')).format, 'qcow2');
  await assert.rejects(open('vdi.gz'), { code: /IMAGE_MALFORMED|IMAGE_TRUNCATED|IMAGE_UNSUPPORTED/ });
  await assert.rejects(open('raw.xz'), { code: /IMAGE_/ });
  for (const name of ['gzip.gz', 'raw.gz.gz', 'raw.bz2', '.gz', 'tar.gz']) {
    assert.throws(() => formatNamed(name), { code: 'IMAGE_UNSUPPORTED' }, name);
  }
});

test('what is compressed twice is refused', async () => {
  const once = await piped('gzip', ['-c'], await imageBytes('qcow2'));
  const twice = await piped('xz', ['-c'], once);
  await assert.rejects(openDisk(memorySource(twice), { references }), {
    code: 'IMAGE_UNSUPPORTED',
    message: /twice/,
  });
});

test('a check reaches the image inside and the checksum around it', async () => {
  const image = Buffer.from(await imageBytes('qcow2'));
  const check = async (bytes: Uint8Array) =>
    formatNamed('gzip').check?.(memorySource(await piped('gzip', ['-c'], bytes)), { references });
  assert.deepEqual((await check(image))?.findings, []);
  // A refcount of 0 for the cluster of the header.
  image.fill(0, 2 * 65536, 2 * 65536 + 2);
  assert.ok(((await check(image))?.corruptionCount ?? 0) > 0);
  await assert.rejects(async () => check(Buffer.alloc(70_000, 1)), { code: 'IMAGE_UNSUPPORTED' });
});

/** Opens, reads everything and ends, as a conversion does. */
async function readWhole(source: ByteSource, kind: WrapperKind): Promise<void> {
  const unpacked = await unpack(source, kind);
  for await (const _ of byteChunks(unpacked, 0));
  await unpacked.drain();
}

for (const [name, [kind, pack]] of Object.entries(forms)) {
  test(`${name}: one that is cut anywhere is never taken for a shorter one`, async () => {
    const bytes = mixed(300_000);
    const packed = await pack(bytes);
    const cuts = [1, 5, 12, 13, 30, 1000, packed.length >> 1, packed.length - 9, packed.length - 1];
    for (const cut of cuts.map((at) => Math.min(at, packed.length - 1))) {
      const piece = packed.subarray(0, cut);
      const refused = { name: 'ImageError', code: /^IMAGE_(TRUNCATED|MALFORMED)$/ };
      if (name.includes('padding') && packed.length - cut < 8 && (packed.length - cut) % 4 === 0) continue;
      await assert.rejects(readWhole(memorySource(piece), kind), refused, `file cut at ${cut}`);
      await assert.rejects(
        async () => readWhole(await arrivingSource(piece, false), kind),
        refused,
        `pipe cut at ${cut}`,
      );
    }
  });

  test(`${name}: a changed byte is found out where there is a check`, async () => {
    if (name.includes('without a check') || kind === 'zstd') return;
    const packed = await pack(mixed(30_000));
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: packed.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (at, change) => {
          const damaged = Buffer.from(packed);
          damaged.writeUInt8(damaged.readUInt8(at) ^ change, at);
          let found = Buffer.alloc(0);
          try {
            const unpacked = await unpack(memorySource(damaged), kind);
            found = Buffer.from(await sourceBytes(unpacked));
            await unpacked.drain();
          } catch (error) {
            assert.match((error as { code: string }).code, /^IMAGE_/);
            return;
          }
          // gzip's header says when and by whom: nothing checks that.
          assertSameBytes(found, mixed(30_000), `byte ${at} changed by ${change}`);
        },
      ),
      { numRuns: 60 },
    );
  });
}
