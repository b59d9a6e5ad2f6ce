import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { Disk } from '../../disk/disk.ts';
import type { ReferenceGate } from '../../disk/reference-gate.ts';
import { ImageError, type ImageErrorCode } from '../../errors.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { memorySource } from '../../io/memory.ts';
import { assertSameBytes, testFolder, tool } from '../images.testkit.ts';
import { checkQcow2 } from './check.ts';
import { qcow2 } from './format.ts';
import { inFolder, qemuBytes, qemuImage } from './qcow2.testkit.ts';

const OFFSET = 0x00ff_ffff_ffff_fe00n;

/** Nothing that an image names is ever asked for, unless a case says so. */
const neverAsked: ReferenceGate = {
  resolve: () => assert.fail('no name was to be resolved'),
};
const denied: ReferenceGate = {
  async resolve({ kind, name, structure }) {
    throw new ImageError('IMAGE_REFERENCE', `${kind} ${name}`, { structure });
  },
};

interface Image {
  readonly bytes: Buffer;
  readonly l1: number;
  readonly l2: number;
  readonly fileEnd: number;
}

/** 1 MiB in clusters of 4 KiB, with data in the first 40 KiB. */
async function image(context: TestContext, options = 'cluster_size=4k'): Promise<Image> {
  const at = inFolder(await testFolder(context));
  const bytes = await readFile(await qemuImage(at('a.qcow2'), '1m', options, ['write -P 1 0 40k']));
  const l1 = Number(bytes.readBigUInt64BE(40));
  return { bytes, l1, l2: Number(bytes.readBigUInt64BE(l1) & OFFSET), fileEnd: bytes.length };
}

/** Opens, walks and reads the whole disk. */
async function readAll(source: ByteSource, references: ReferenceGate = neverAsked): Promise<Disk> {
  const disk = await qcow2.open(source, { references });
  for await (const _ of disk.extents(0, disk.virtualSizeBytes));
  await disk.read(0, new Uint8Array(Math.min(disk.virtualSizeBytes, 2 ** 20)));
  return disk;
}

type Case = readonly [
  what: string,
  code: ImageErrorCode,
  change: (bytes: Buffer, image: Image) => Buffer | unknown,
];

const headerCases: readonly Case[] = [
  ['no magic', 'IMAGE_MALFORMED', (b) => b.writeUInt8(0, 0)],
  ['version 4', 'IMAGE_UNSUPPORTED', (b) => b.writeUInt32BE(4, 4)],
  ['l1_size 0x7fffffff', 'IMAGE_LIMIT', (b) => b.writeUInt32BE(0x7fffffff, 36)],
  ['l1_size 0xffffffff', 'IMAGE_LIMIT', (b) => b.writeUInt32BE(0xffffffff, 36)],
  ['an L1 table smaller than the size needs', 'IMAGE_MALFORMED', (b) => b.writeBigUInt64BE(2n ** 40n, 24)],
  ['no L1 table', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(0, 36)],
  ['a size of 2^60', 'IMAGE_LIMIT', (b) => b.writeBigUInt64BE(2n ** 60n, 24)],
  ['a size of 2^63', 'IMAGE_LIMIT', (b) => b.writeBigUInt64BE(2n ** 63n, 24)],
  ['a size above 64 TiB', 'IMAGE_LIMIT', (b) => b.writeBigUInt64BE(2n ** 46n + 512n, 24)],
  ['cluster_bits 8', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(8, 20)],
  ['cluster_bits 22', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(22, 20)],
  ['cluster_bits 64', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(64, 20)],
  ['cluster_bits 2^31', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(2 ** 31, 20)],
  ['a refcount table of no cluster', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(0, 56)],
  ['a refcount table of 0xffffffff clusters', 'IMAGE_LIMIT', (b) => b.writeUInt32BE(0xffffffff, 56)],
  ['an L1 table beyond the end', 'IMAGE_TRUNCATED', (b) => b.writeBigUInt64BE(2n ** 40n, 40)],
  ['an L1 table at 2^63', 'IMAGE_LIMIT', (b) => b.writeBigUInt64BE(2n ** 63n, 40)],
  [
    'an L1 table inside of a cluster',
    'IMAGE_MALFORMED',
    (b, { l1 }) => b.writeBigUInt64BE(BigInt(l1 + 8), 40),
  ],
  ['the header as L1 table', 'IMAGE_MALFORMED', (b) => b.writeBigUInt64BE(0n, 40)],
  ['a refcount table inside of a cluster', 'IMAGE_MALFORMED', (b) => b.writeBigUInt64BE(4104n, 48)],
  ['header_length 0xfffffff8', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(0xfffffff8, 100)],
  ['header_length 96', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(96, 100)],
  ['header_length 107', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(107, 100)],
  ['an unknown incompatible feature', 'IMAGE_UNSUPPORTED', (b) => b.writeUInt8(0x80, 72)],
  ['the corrupt bit', 'IMAGE_MALFORMED', (b) => b.writeUInt8(2, 79)],
  ['an external data file without a name', 'IMAGE_REFERENCE', (b) => b.writeUInt8(4, 79)],
  ['the zstd bit with type 0', 'IMAGE_MALFORMED', (b) => b.writeUInt8(8, 79)],
  ['type 1 without the zstd bit', 'IMAGE_MALFORMED', (b) => b.writeUInt8(1, 104)],
  [
    'an unknown compression type',
    'IMAGE_UNSUPPORTED',
    (b) => {
      b.writeUInt8(8, 79);
      b.writeUInt8(7, 104);
    },
  ],
  ['subclusters in clusters of 4 KiB', 'IMAGE_MALFORMED', (b) => b.writeUInt8(16, 79)],
  ['refcount_order 7', 'IMAGE_MALFORMED', (b) => b.writeUInt32BE(7, 96)],
  ['65537 snapshots', 'IMAGE_LIMIT', (b) => b.writeUInt32BE(65537, 60)],
  ['an extension of 0xfffffff0 bytes', 'IMAGE_MALFORMED', (b) => b.write('12345678fffffff0', 112, 'hex')],
  [
    'an extension that ends beyond its cluster',
    'IMAGE_MALFORMED',
    (b) => b.write('1234567800000f90', 112, 'hex'),
  ],
  ['encryption by an extension', 'IMAGE_UNSUPPORTED', (b) => b.writeUInt32BE(0x0537be77, 112)],
  ['AES', 'IMAGE_UNSUPPORTED', (b) => b.writeUInt32BE(1, 32)],
  [
    'a backing name of 1024 bytes',
    'IMAGE_MALFORMED',
    (b) => {
      b.writeBigUInt64BE(1024n, 8);
      b.writeUInt32BE(1024, 16);
    },
  ],
  [
    'a backing name outside of the first cluster',
    'IMAGE_MALFORMED',
    (b) => {
      b.writeBigUInt64BE(4090n, 8);
      b.writeUInt32BE(10, 16);
    },
  ],
  [
    'a backing name at 2^63',
    'IMAGE_MALFORMED',
    (b) => {
      b.writeBigUInt64BE(2n ** 63n, 8);
      b.writeUInt32BE(10, 16);
    },
  ],
  ['an empty file', 'IMAGE_TRUNCATED', () => Buffer.alloc(0)],
  ['71 bytes', 'IMAGE_TRUNCATED', (b) => b.subarray(0, 71)],
  ['72 bytes of version 3', 'IMAGE_TRUNCATED', (b) => b.subarray(0, 72)],
  ['a header alone', 'IMAGE_TRUNCATED', (b) => b.subarray(0, 112)],
  ['a file that ends in its L1 table', 'IMAGE_TRUNCATED', (b, { l1 }) => b.subarray(0, l1 + 4)],
];

const tableCases: readonly Case[] = [
  [
    'an L2 table inside of a cluster',
    'IMAGE_MALFORMED',
    (b, { l1, l2 }) => b.writeBigUInt64BE(BigInt(l2 + 512), l1),
  ],
  ['an L2 table beyond the end', 'IMAGE_TRUNCATED', (b, { l1 }) => b.writeBigUInt64BE(2n ** 50n, l1)],
  [
    'an L2 table that the file ends in',
    'IMAGE_TRUNCATED',
    (b, { l1, fileEnd }) => [b.writeBigUInt64BE(BigInt(fileEnd), l1), Buffer.alloc(1)],
  ],
  ['the L1 table as its own L2 table', 'IMAGE_MALFORMED', (b, { l1 }) => b.writeBigUInt64BE(BigInt(l1), l1)],
  ['a reserved bit of an L1 entry', 'IMAGE_MALFORMED', (b, { l1 }) => b.writeUInt8(0x90, l1)],
  [
    'an L1 entry with a flag and no place',
    'IMAGE_MALFORMED',
    (b, { l1 }) => b.writeBigUInt64BE(2n ** 63n, l1),
  ],
  ['data in the header', 'IMAGE_MALFORMED', (b, { l2 }) => b.writeBigUInt64BE(2n ** 63n, l2)],
  ['data in the L1 table', 'IMAGE_MALFORMED', (b, { l1, l2 }) => b.writeBigUInt64BE(BigInt(l1), l2)],
  ['data in the refcount table', 'IMAGE_MALFORMED', (b, { l2 }) => b.writeBigUInt64BE(4096n, l2)],
  ['data inside of a cluster', 'IMAGE_MALFORMED', (b, { l2 }) => b.writeUInt8(0x02, l2 + 6)],
  ['data beyond the end', 'IMAGE_TRUNCATED', (b, { l2 }) => b.writeBigUInt64BE(2n ** 50n, l2)],
  ['a reserved bit of an L2 entry', 'IMAGE_MALFORMED', (b, { l2 }) => b.writeUInt8(0x90, l2)],
  [
    'a compressed cluster beyond the end',
    'IMAGE_TRUNCATED',
    (b, { l2 }) => b.writeBigUInt64BE(2n ** 62n + 2n ** 50n, l2),
  ],
  [
    'a compressed cluster at 2^57',
    'IMAGE_MALFORMED',
    (b, { l2 }) => b.writeBigUInt64BE(2n ** 62n + 2n ** 57n, l2),
  ],
  [
    'a compressed cluster with COPIED',
    'IMAGE_MALFORMED',
    (b, { l2 }) => b.writeBigUInt64BE(2n ** 63n + 2n ** 62n + 4096n, l2),
  ],
  [
    'a compressed cluster of garbage',
    'IMAGE_MALFORMED',
    (b, { l2 }) => b.writeBigUInt64BE(2n ** 62n + 0x1003n, l2),
  ],
  ['a file cut in the middle', 'IMAGE_TRUNCATED', (b, { l2 }) => b.subarray(0, l2 + 3 * 4096)],
];

test('a hostile header or table is refused with the code of what is wrong', async (context) => {
  const made = await image(context);
  for (const [what, code, change] of [...headerCases, ...tableCases]) {
    const copy = Buffer.from(made.bytes);
    const changed = change(copy, made);
    const parts = Buffer.isBuffer(changed)
      ? changed
      : Array.isArray(changed)
        ? Buffer.concat([copy, changed[1]])
        : copy;
    await assert.rejects(readAll(memorySource(parts, what)), { code }, what);
  }
});

test('a version 2 image knows no zero flag', async (context) => {
  const made = await image(context, 'cluster_size=4k,compat=0.10');
  made.bytes.writeBigUInt64BE(1n, made.l2);
  await assert.rejects(readAll(memorySource(made.bytes)), { code: 'IMAGE_MALFORMED' });
});

test('bits of subclusters that contradict each other are malformed', async (context) => {
  const made = await image(context, 'extended_l2=on,cluster_size=16k');
  const both = Buffer.from(made.bytes);
  both.writeUInt32BE(0xffffffff, made.l2 + 8);
  await assert.rejects(readAll(memorySource(both)), { code: 'IMAGE_MALFORMED' });
  const compressed = Buffer.from(made.bytes);
  compressed.writeUInt8(0x40, made.l2);
  await assert.rejects(readAll(memorySource(compressed)), { code: 'IMAGE_MALFORMED' });
});

test('a backing name is text: nothing is opened for it that the gate does not give', async (context) => {
  const made = await image(context);
  const names = [
    '/etc/passwd',
    'json:{"driver":"file","filename":"/etc/passwd"}',
    'nbd://127.0.0.1:10809',
    'a.qcow2',
  ];
  for (const name of names) {
    const copy = Buffer.from(made.bytes);
    copy.writeBigUInt64BE(600n, 8);
    copy.writeUInt32BE(name.length, 16);
    copy.write(name, 600);
    const asked: string[] = [];
    const gate: ReferenceGate = {
      async resolve(reference) {
        asked.push(reference.name);
        return denied.resolve(reference);
      },
    };
    await assert.rejects(readAll(memorySource(copy, 'a.qcow2'), gate), { code: 'IMAGE_REFERENCE' });
    assert.deepEqual(asked, [name]);
  }
});

test('refcounts are not needed to read: a table that names itself does no harm', async (context) => {
  const made = await image(context);
  made.bytes.writeBigUInt64BE(4096n, 4096);
  await readAll(memorySource(made.bytes));
});

test('a small file cannot show a huge disk full of data', async (context) => {
  const made = await image(context, 'cluster_size=64k');
  // 64 TiB: every L1 entry names the one L2 table.
  const entryCount = 131072;
  const start = Math.ceil(made.fileEnd / 65536) * 65536;
  const table = Buffer.alloc(entryCount * 8, made.bytes.subarray(made.l1, made.l1 + 8));
  const bomb = Buffer.concat([made.bytes, Buffer.alloc(start - made.fileEnd), table]);
  bomb.writeBigUInt64BE(64n * 2n ** 40n, 24);
  bomb.writeBigUInt64BE(BigInt(start), 40);
  bomb.writeUInt32BE(entryCount, 36);
  await assert.rejects(qcow2.open(memorySource(bomb), { references: neverAsked }), {
    code: 'IMAGE_MALFORMED',
  });
  // The same size with no data costs nothing.
  bomb.fill(0, start);
  const disk = await qcow2.open(memorySource(bomb), { references: neverAsked });
  for await (const { kind } of disk.extents(0, disk.virtualSizeBytes)) assert.equal(kind, 'hole');
});

test('clusters of the guest that share one of the file are refused when they are more than the file', async (context) => {
  const made = await image(context);
  const entry = made.bytes.readBigUInt64BE(made.l2);
  for (let i = 0; i < 256; i++) made.bytes.writeBigUInt64BE(entry, made.l2 + i * 8);
  const disk = await qcow2.open(memorySource(made.bytes), { references: neverAsked });
  const walks = [disk.extents(0, 2 ** 20), disk.storedRuns?.(0, 2 ** 20) ?? []];
  for (const walk of walks) await assert.rejects(Array.fromAsync<unknown>(walk), { code: 'IMAGE_LIMIT' });
  await disk.read(0, new Uint8Array(4096));
});

test('compressed clusters of the guest that share their bytes in the file are refused', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await qemuImage(at('a.qcow2'), '512m', '', ['write -c -P 1 0 64k']);
  const bytes = await readFile(path);
  const l2 = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(40))) & OFFSET);
  const entry = bytes.readBigUInt64BE(l2);
  for (let i = 0; i < 8192; i++) bytes.writeBigUInt64BE(entry, l2 + i * 8);
  const disk = await qcow2.open(memorySource(bytes), { references: neverAsked });
  await assert.rejects(Array.fromAsync(disk.extents(0, disk.virtualSizeBytes)), { code: 'IMAGE_LIMIT' });
});

test('a sound image that compresses as far as can be is walked', async (context) => {
  const at = inFolder(await testFolder(context));
  for (const type of ['zlib', 'zstd']) {
    for (const size of ['512', '64k', '2M']) {
      const options = `compression_type=${type},cluster_size=${size}`;
      await qemuImage(at('plain.qcow2'), '6m', '', ['write -P 1 0 6m']);
      const convert = ['convert', '-c', '-f', 'qcow2', '-O', 'qcow2', '-o', options];
      await tool('qemu-img', ...convert, at('plain.qcow2'), at('packed.qcow2'));
      const bytes = await readFile(at('packed.qcow2'));
      await readAll(memorySource(bytes));
    }
  }
});

test('any damaged byte of header and tables ends in an image error or a disk, never otherwise', async (context) => {
  const images = [
    await image(context),
    await image(context, 'cluster_size=4k,compat=0.10'),
    await image(context, 'extended_l2=on,cluster_size=16k'),
  ];
  const change = fc.record({
    where: fc.nat({ max: 1 }),
    at: fc.nat({ max: 600 }),
    value: fc.nat({ max: 255 }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...images),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      async (made, list) => {
        const copy = Buffer.from(made.bytes);
        for (const { where, at, value } of list) copy[([0, made.l1, made.l2][where] ?? 0) + at] = value;
        for (const attempt of [
          () => readAll(memorySource(copy), denied),
          () => checkQcow2(memorySource(copy), { references: denied }),
        ]) {
          await attempt().catch((error) => assert.ok(error instanceof ImageError, String(error.stack)));
        }
      },
    ),
    { numRuns: 400 },
  );
});

test('a read that fails while a table is still awaited is not left alone', async (context) => {
  const at = inFolder(await testFolder(context));
  const commands = ['write -P 1 0 512', 'write -P 2 32k 512'];
  const path = await qemuImage(at('a.qcow2'), '64k', 'cluster_size=512', commands);
  const bytes = await readFile(path);
  const l1 = Number(bytes.readBigUInt64BE(40));
  const l2s = [0, 8].map((entry) => Number(bytes.readBigUInt64BE(l1 + entry) & OFFSET));
  const memory = memorySource(bytes);
  const source: ByteSource = {
    ...memory,
    async read(offset, into) {
      const isTable = offset <= l1 || l2s.includes(offset);
      if (!isTable) throw new Error('the data cannot be read');
      // The second table comes late.
      for (let turn = 0; offset === l2s[1] && turn < 20; turn++)
        await new Promise((done) => setImmediate(done));
      await memory.read(offset, into);
    },
  };
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', note);
  try {
    const disk = await qcow2.open(source, { references: neverAsked });
    await assert.rejects(disk.read(0, new Uint8Array(65536)), /cannot be read/);
  } finally {
    process.off('unhandledRejection', note);
  }
  assert.deepEqual(unhandled, []);
});

test('a damaged image that is read at all reads as qemu reads it', async (context) => {
  const at = inFolder(await testFolder(context));
  const images = [
    await image(context),
    await image(context, 'cluster_size=4k,compat=0.10'),
    await image(context, 'extended_l2=on,cluster_size=16k'),
  ];
  const change = fc.record({
    where: fc.nat({ max: 2 }),
    at: fc.nat({ max: 300 }),
    value: fc.nat({ max: 255 }),
  });
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...images), change, async (made, { where, at: place, value }) => {
      const copy = Buffer.from(made.bytes);
      copy[([0, made.l1, made.l2][where] ?? 0) + place] = value;
      const disk = await qcow2.open(memorySource(copy), { references: denied }).catch(() => undefined);
      if (disk === undefined || disk.virtualSizeBytes > 2 ** 22) return;
      const bytes = new Uint8Array(disk.virtualSizeBytes);
      const isRead = await disk.read(0, bytes).then(
        () => true,
        () => false,
      );
      if (!isRead) return;
      await writeFile(at('damaged'), copy);
      const expected = await qemuBytes(at('damaged')).catch(() => undefined);
      if (expected === undefined) return;
      // qemu counts in whole sectors.
      const length = Math.min(expected.length, bytes.length);
      assert.ok(Math.abs(expected.length - bytes.length) < 512);
      assertSameBytes(bytes.subarray(0, length), expected.subarray(0, length));
      compared++;
    }),
    { numRuns: 80 },
  );
  assert.ok(compared > 0);
});
