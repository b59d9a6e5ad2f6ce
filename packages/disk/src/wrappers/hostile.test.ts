import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { sourceBytes } from '../formats/images.testkit.ts';
import { memorySource } from '../io/memory.ts';
import { unpack } from './unpack.ts';
import { piped } from './wrappers.testkit.ts';

function crcOf(bytes: Uint8Array): Buffer {
  const crc = Buffer.alloc(4);
  crc.writeUInt32LE(crc32(bytes));
  return crc;
}

function vli(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 0x80n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 0x7fn) | 0x80);
  }
}

interface XzParts {
  readonly filter?: number[];
  /** Packed data, padding and check of the one block. */
  readonly block?: Buffer;
  readonly records?: [unpaddedBytes: bigint, lengthBytes: bigint][];
  readonly flags?: number;
  /** How many records the index says it has. */
  readonly count?: bigint;
}

/** An xz file with right CRCs around whatever the test says. */
function xzFile({
  filter = [0x21, 1, 22],
  block = Buffer.from([0, 0, 0, 0]),
  records,
  flags = 0,
  count,
}: XzParts): Buffer {
  const streamFlags = Buffer.from([0, flags]);
  const start = Buffer.concat([Buffer.from('fd377a585a00', 'hex'), streamFlags, crcOf(streamFlags)]);
  const body = Buffer.alloc(Math.ceil((2 + filter.length) / 4) * 4);
  body.set([body.length / 4, 0, ...filter]);
  const header = Buffer.concat([body, crcOf(body)]);
  const listed = records ?? [[BigInt(header.length + 1), 0n]];
  const fields = [0, ...vli(count ?? BigInt(listed.length)), ...listed.flatMap((pair) => pair.flatMap(vli))];
  const indexBody = Buffer.alloc(Math.ceil(fields.length / 4) * 4);
  indexBody.set(fields);
  const index = Buffer.concat([indexBody, crcOf(indexBody)]);
  const backward = Buffer.alloc(6);
  backward.writeUInt32LE(index.length / 4 - 1);
  backward.set(streamFlags, 4);
  const footer = Buffer.concat([crcOf(backward), backward, Buffer.from('YZ')]);
  return Buffer.concat([start, header, block, index, footer]);
}

const hostile: Readonly<Record<string, { bytes: () => Buffer; code: string }>> = {
  'a dictionary of 4 GiB': {
    bytes: () => xzFile({ filter: [0x21, 1, 40], records: [[13n, 1n]] }),
    code: 'IMAGE_LIMIT',
  },
  'a dictionary of no known size': {
    bytes: () => xzFile({ filter: [0x21, 1, 41], records: [[13n, 1n]] }),
    code: 'IMAGE_MALFORMED',
  },
  'the x86 filter': {
    bytes: () => xzFile({ filter: [4, 0], records: [[9n, 1n]] }),
    code: 'IMAGE_UNSUPPORTED',
  },
  'an unknown filter': {
    bytes: () => xzFile({ filter: [0x30, 0], records: [[9n, 1n]] }),
    code: 'IMAGE_UNSUPPORTED',
  },
  'an unknown check': { bytes: () => xzFile({ flags: 9 }), code: 'IMAGE_UNSUPPORTED' },
  'reserved flags': { bytes: () => xzFile({ flags: 0x11 }), code: 'IMAGE_UNSUPPORTED' },
  'an index of 2^62 bytes': { bytes: () => xzFile({ records: [[13n, 2n ** 62n]] }), code: 'IMAGE_LIMIT' },
  'an index of a petabyte': { bytes: () => xzFile({ records: [[13n, 2n ** 50n]] }), code: 'IMAGE_LIMIT' },
  'an index of 2^60 records': { bytes: () => xzFile({ count: 2n ** 60n }), code: 'IMAGE_LIMIT' },
  'an index of more records than it has': { bytes: () => xzFile({ count: 4n }), code: 'IMAGE_MALFORMED' },
  'an index whose blocks begin before the file': {
    bytes: () => xzFile({ records: [[4096n, 1n]] }),
    code: 'IMAGE_MALFORMED',
  },
  'a block of another length than its index says': {
    bytes: () => xzFile({ records: [[13n, 9n]] }),
    code: 'IMAGE_MALFORMED',
  },
  'data that needs a dictionary before there is one': {
    bytes: () => xzFile({ block: Buffer.from([2, 0, 0, 65, 0, 0, 0, 0]), records: [[17n, 1n]] }),
    code: 'IMAGE_MALFORMED',
  },
  'an LZMA chunk without properties': {
    bytes: () =>
      xzFile({
        block: Buffer.from([1, 0, 0, 65, 0x80, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        records: [[29n, 2n]],
      }),
    code: 'IMAGE_MALFORMED',
  },
  'properties that LZMA2 does not have': {
    bytes: () =>
      xzFile({ block: Buffer.from([0xe0, 0, 0, 0, 4, 224, 0, 0, 0, 0, 0, 0]), records: [[21n, 1n]] }),
    code: 'IMAGE_MALFORMED',
  },
  'a match before the start': {
    // The range decoder of all ones takes every improbable way.
    bytes: () =>
      xzFile({
        block: Buffer.from([0xe0, 0, 9, 0, 8, 93, 0, 255, 255, 255, 254, 1, 2, 3, 4, 0, 0, 0, 0, 0]),
        records: [[29n, 10n]],
      }),
    code: 'IMAGE_MALFORMED',
  },
  'no footer': { bytes: () => xzFile({}).subarray(0, -12), code: 'IMAGE_TRUNCATED' },
  'padding of three bytes': {
    bytes: () => Buffer.concat([xzFile({}), Buffer.alloc(3)]),
    code: 'IMAGE_MALFORMED',
  },
};

for (const [what, { bytes, code }] of Object.entries(hostile)) {
  test(`an xz file with ${what} is refused`, async () => {
    const read = async () => sourceBytes(await unpack(memorySource(bytes()), 'xz'));
    await assert.rejects(read, { name: 'ImageError', code });
  });
}

/** A zstd frame that says what it unpacks to, and a last raw block of these bytes. */
function zstdFrame(contentBytes: bigint, data: Buffer): Buffer {
  const header = Buffer.alloc(14);
  header.writeUInt32LE(0xfd2fb528);
  header.writeUInt8(0xc0, 4);
  header.writeUInt8(0x50, 5);
  header.writeBigUInt64LE(contentBytes, 6);
  const block = Buffer.alloc(3);
  block.writeUIntLE(1 + data.length * 8, 0, 3);
  return Buffer.concat([header, block, data]);
}

const hostileZstd: Readonly<Record<string, { bytes: () => Buffer; code: string }>> = {
  'a size above 2^53': { bytes: () => zstdFrame(2n ** 60n, Buffer.alloc(1)), code: 'IMAGE_LIMIT' },
  'a size out of all proportion': { bytes: () => zstdFrame(2n ** 45n, Buffer.alloc(1)), code: 'IMAGE_LIMIT' },
  'a size that is too small': { bytes: () => zstdFrame(1n, Buffer.alloc(5)), code: 'IMAGE_MALFORMED' },
  'a size that is too large': { bytes: () => zstdFrame(9n, Buffer.alloc(5)), code: 'IMAGE_MALFORMED' },
  'garbage behind its frame': {
    bytes: () => Buffer.concat([zstdFrame(1n, Buffer.alloc(1)), Buffer.from('garbage')]),
    code: 'IMAGE_MALFORMED',
  },
  'a skipped frame beyond its end': {
    bytes: () => Buffer.concat([zstdFrame(1n, Buffer.alloc(1)), Buffer.from('502a4d18ffffffff', 'hex')]),
    code: 'IMAGE_TRUNCATED',
  },
};

for (const [what, { bytes, code }] of Object.entries(hostileZstd)) {
  test(`a zstd file with ${what} is refused`, async () => {
    const read = async () => {
      const unpacked = await unpack(memorySource(bytes()), 'zstd');
      await sourceBytes(unpacked);
      await unpacked.drain();
    };
    await assert.rejects(read, { name: 'ImageError', code });
  });
}

test('a zstd file that needs a window above 128 MiB is refused', async () => {
  const packed = await piped('zstd', ['-qc', '--long=30', '-1'], Buffer.alloc(1000, 1));
  // The window of a small file is small: the header is made to ask for 1 GiB.
  const header = Buffer.concat([packed.subarray(0, 4), Buffer.from([0x00, 0xa0])]);
  const bytes = Buffer.concat([header, Buffer.from([0x09, 0, 0, 65])]);
  await assert.rejects(unpack(memorySource(bytes), 'zstd'), { code: 'IMAGE_LIMIT' });
});

test('what follows a gzip member and is none is refused', async () => {
  const packed = await piped('gzip', ['-c'], Buffer.from('hello'));
  await assert.rejects(unpack(memorySource(Buffer.concat([packed, Buffer.from('garbage')])), 'gzip'), {
    code: 'IMAGE_MALFORMED',
  });
});
