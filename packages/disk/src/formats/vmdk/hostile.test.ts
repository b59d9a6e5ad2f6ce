import assert from 'node:assert/strict';
import { test } from 'node:test';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { ImageError } from '../../errors.ts';
import { vmdk } from './format.ts';
import {
  edited,
  GRAIN,
  grainRecord,
  noise,
  openBytes,
  pattern,
  readAt,
  sparseDisk,
  tablesFirst,
  withDescriptor,
  written,
} from './vmdk.testkit.ts';

const MIB = 1024 * 1024;
const small = sparseDisk(
  3 * MIB,
  new Map([
    [0, noise(2 * GRAIN)],
    [2 * MIB, pattern(3 * GRAIN)],
  ]),
);
const sparse = await written(small, 'monolithicSparse');
const stream = await written(small, 'streamOptimized');
const plain = await readAt(small, 0, 3 * MIB);

/** Places in `sparse`: it has one grain table. */
const RGD = 21 * 512;
const GD = 26 * 512;
const GT = 27 * 512;

async function readWhole(file: Uint8Array): Promise<Uint8Array> {
  const disk = await openBytes(file);
  return readAt(disk, 0, disk.virtualSizeBytes);
}

const headers: readonly [string, string, Uint8Array][] = [
  ['a capacity of 2^62 sectors', 'IMAGE_LIMIT', edited(sparse, { 12: 2n ** 62n })],
  ['a capacity of 2^64 - 1 sectors', 'IMAGE_LIMIT', edited(sparse, { 12: 2n ** 64n - 1n })],
  ['a capacity of 65 TiB', 'IMAGE_LIMIT', edited(sparse, { 12: 65n * 2n ** 31n })],
  ['a capacity that needs more tables than there are', 'IMAGE_TRUNCATED', edited(sparse, { 12: 2n ** 36n })],
  [
    'a capacity of 0',
    'IMAGE_MALFORMED',
    withDescriptor(edited(sparse, { 12: 0n }), (text) => text.replace(/RW.*/, '')),
  ],
  ['a capacity of 0 and no descriptor', 'IMAGE_MALFORMED', edited(sparse, { 12: 0n, 28: 0n })],
  ['a grain of 0 sectors', 'IMAGE_MALFORMED', edited(sparse, { 20: 0n })],
  ['a grain of 3 sectors', 'IMAGE_MALFORMED', edited(sparse, { 20: 3n })],
  ['a grain of 4 sectors', 'IMAGE_MALFORMED', edited(sparse, { 20: 4n })],
  ['a grain of 2^22 sectors', 'IMAGE_MALFORMED', edited(sparse, { 20: 2n ** 22n })],
  ['a compressed grain of 2^21 sectors', 'IMAGE_LIMIT', edited(stream, { 20: 2n ** 21n })],
  ['0 entries in a grain table', 'IMAGE_MALFORMED', edited(sparse, { 44: 0 })],
  ['300 entries in a grain table', 'IMAGE_MALFORMED', edited(sparse, { 44: 300 })],
  ['2^20 entries in a grain table', 'IMAGE_MALFORMED', edited(sparse, { 44: 2 ** 20 })],
  ['a grain directory beyond the end', 'IMAGE_TRUNCATED', edited(sparse, { 56: 2n ** 33n })],
  ['a grain directory at sector 0', 'IMAGE_MALFORMED', edited(sparse, { 56: 0n })],
  ['a grain directory at the end and no footer', 'IMAGE_MALFORMED', edited(sparse, { 56: 2n ** 64n - 1n })],
  ['more metadata than the file has', 'IMAGE_TRUNCATED', edited(sparse, { 64: 2n ** 40n })],
  ['a descriptor of 2^30 sectors', 'IMAGE_LIMIT', edited(sparse, { 36: 2n ** 30n })],
  ['a descriptor beyond the end', 'IMAGE_TRUNCATED', edited(sparse, { 28: 2n ** 40n })],
  ['line ends changed by a transfer', 'IMAGE_MALFORMED', edited(sparse, { 73: '\n \n\n' })],
  ['an unknown incompatible flag', 'IMAGE_UNSUPPORTED', edited(sparse, { 8: 0x800003 })],
  ['version 0', 'IMAGE_UNSUPPORTED', edited(sparse, { 4: 0 })],
  ['version 4', 'IMAGE_UNSUPPORTED', edited(sparse, { 4: 4 })],
  ['compression 2', 'IMAGE_UNSUPPORTED', edited(stream, { 77: Uint8Array.of(2) })],
  ['compression that the flags deny', 'IMAGE_MALFORMED', edited(sparse, { 77: Uint8Array.of(1) })],
  ['compression without markers', 'IMAGE_UNSUPPORTED', edited(stream, { 8: 0x10001 })],
  ['a footer of another size', 'IMAGE_MALFORMED', edited(stream, { [stream.length - 1024 + 12]: 128n })],
  [
    'a footer without a directory',
    'IMAGE_MALFORMED',
    edited(stream, { [stream.length - 1024 + 56]: 2n ** 64n - 1n }),
  ],
  ['a footer without its mark', 'IMAGE_MALFORMED', edited(stream, { [stream.length - 1024]: 'KDMX' })],
  ['a footer without its marker', 'IMAGE_MALFORMED', edited(stream, { [stream.length - 1536 + 12]: 2 })],
  [
    'a footer marker of 2^60 sectors',
    'IMAGE_MALFORMED',
    edited(stream, { [stream.length - 1536]: 2n ** 60n }),
  ],
  ['no end of the stream', 'IMAGE_MALFORMED', edited(stream, { [stream.length - 8]: 1 })],
  ['no end at all', 'IMAGE_MALFORMED', stream.slice(0, 200 * 512)],
  ['a table beyond the end', 'IMAGE_TRUNCATED', edited(sparse, { [GD]: 0xffffffff })],
  ['a table in the descriptor', 'IMAGE_MALFORMED', edited(sparse, { [GD]: 1 })],
  ['a table in the directory', 'IMAGE_MALFORMED', edited(sparse, { [GD]: 25 })],
  ['a header cut short', 'IMAGE_TRUNCATED', sparse.slice(0, 100)],
  [
    'a delta',
    'IMAGE_REFERENCE',
    withDescriptor(sparse, (text) => text.replace('parentCID=ffffffff', 'parentCID=fffffffe')),
  ],
  [
    'a parentCID that is none',
    'IMAGE_MALFORMED',
    withDescriptor(sparse, (text) => text.replace('parentCID=ffffffff', 'parentCID=none')),
  ],
  ['a second extent', 'IMAGE_REFERENCE', withDescriptor(sparse, (text) => text.replace(/^RW.*$/m, '$&\n$&'))],
  [
    'an extent in another file',
    'IMAGE_REFERENCE',
    withDescriptor(sparse, (text) => text.replace(/SPARSE "disk.vmdk"/, 'FLAT "/etc/passwd" 0')),
  ],
  [
    'a subformat of several files',
    'IMAGE_REFERENCE',
    withDescriptor(sparse, (text) => text.replace('monolithicSparse', 'vmfs')),
  ],
  [
    'an extent of a negative size',
    'IMAGE_MALFORMED',
    withDescriptor(sparse, (text) => text.replace(/^RW \d+/m, 'RW -8')),
  ],
];

for (const [what, code, file] of headers) {
  test(`a file with ${what} is not opened: ${code}`, async () => {
    await assert.rejects(openBytes(file), { code });
  });
}

test('version 2 is read', async () => {
  assert.ok(Buffer.from(await readWhole(edited(sparse, { 4: 2 }))).equals(plain));
});

test('one table for two parts of the disk is refused', async () => {
  const file = await written(sparseDisk(40 * MIB, new Map()), 'monolithicSparse');
  const directory = new DataView(file.buffer).getBigUint64(56, true);
  const at = Number(directory) * 512;
  const first = new DataView(file.buffer).getUint32(at, true);
  for (const second of [first, first + 1]) {
    await assert.rejects(openBytes(edited(file, { [at + 4]: second })), { code: 'IMAGE_MALFORMED' });
  }
});

const entries: readonly [string, string, number][] = [
  ['the header', 'IMAGE_MALFORMED', 1],
  ['the descriptor', 'IMAGE_MALFORMED', 20],
  ['the redundant directory', 'IMAGE_MALFORMED', RGD / 512],
  ['a redundant table', 'IMAGE_MALFORMED', 22],
  ['the directory', 'IMAGE_MALFORMED', GD / 512],
  ['its own table', 'IMAGE_MALFORMED', GT / 512],
  ['the last sector of its table', 'IMAGE_MALFORMED', GT / 512 + 3],
  ['the end of the file', 'IMAGE_TRUNCATED', sparse.length / 512],
  ['sector 2^32 - 1', 'IMAGE_TRUNCATED', 0xffffffff],
];

for (const [where, code, sector] of entries) {
  test(`a grain at ${where} is not read, the others are`, async () => {
    const disk = await openBytes(edited(sparse, { [GT + 4]: sector }));
    assert.deepEqual(await readAt(disk, 0, GRAIN), plain.subarray(0, GRAIN));
    await assert.rejects(readAt(disk, GRAIN, 512), { code });
    await assert.rejects(Array.fromAsync(disk.extents(0, 3 * MIB)), { code });
  });
}

const grain = noise(GRAIN);
const records: readonly [string, string, Uint8Array][] = [
  ['belongs elsewhere', 'IMAGE_MALFORMED', grainRecord(2, grain)],
  ['has no data', 'IMAGE_MALFORMED', edited(grainRecord(1, grain), { 8: 0 })],
  ['says a size of 4 GiB', 'IMAGE_MALFORMED', edited(grainRecord(1, grain), { 8: 0xffffffff })],
  ['runs into the next', 'IMAGE_MALFORMED', edited(grainRecord(1, grain, new Uint8Array(20)), { 8: 600 })],
  [
    'inflates to more than a grain',
    'IMAGE_MALFORMED',
    grainRecord(1, grain, zlib.deflateSync(new Uint8Array(64 * MIB))),
  ],
  [
    'inflates to less than a grain',
    'IMAGE_MALFORMED',
    grainRecord(1, grain, zlib.deflateSync(grain.subarray(1))),
  ],
  ['is not compressed', 'IMAGE_MALFORMED', grainRecord(1, grain, grain)],
  [
    'is deflate without its zlib header',
    'IMAGE_MALFORMED',
    grainRecord(1, grain, zlib.deflateRawSync(grain)),
  ],
  ['has a wrong check sum', 'IMAGE_MALFORMED', brokenSum(grainRecord(1, grain))],
];

function brokenSum(record: Uint8Array): Uint8Array {
  const size = Buffer.from(record).readUInt32LE(8);
  return edited(record, { [12 + size - 4]: 0x12345678 });
}

for (const [what, code, record] of records) {
  test(`a compressed grain that ${what} is not read, its neighbours are`, async () => {
    const file = tablesFirst({
      capacitySectors: 1024,
      records: new Map([
        [0, grainRecord(0, pattern(GRAIN))],
        [1, record],
        [2, grainRecord(2, grain)],
      ]),
    });
    const disk = await openBytes(file);
    assert.deepEqual(await readAt(disk, 0, GRAIN), pattern(GRAIN));
    assert.deepEqual(await readAt(disk, 2 * GRAIN, GRAIN), grain);
    await assert.rejects(readAt(disk, GRAIN, GRAIN), { code });
  });
}

test('two grains at one record are refused where the record is not of that grain', async () => {
  const file = tablesFirst({ capacitySectors: 1024, records: new Map([[0, grainRecord(0, grain)]]) });
  const disk = await openBytes(edited(file, { [22 * 512 + 4]: 128 }));
  assert.deepEqual(await readAt(disk, 0, GRAIN), grain);
  await assert.rejects(readAt(disk, GRAIN, GRAIN), { code: 'IMAGE_MALFORMED' });
});

test('a short grain is taken at the end of the disk only, and only with all that the disk has', async () => {
  const file = (data: Uint8Array) =>
    tablesFirst({
      capacitySectors: 129,
      records: new Map([[1, grainRecord(1, grain, zlib.deflateSync(data))]]),
    });
  const tail = grain.slice(0, 512);
  assert.deepEqual(await readAt(await openBytes(file(tail)), GRAIN, 512), tail);
  assert.deepEqual(await readAt(await openBytes(file(grain)), GRAIN, 512), tail);
  await assert.rejects(readWhole(file(grain.subarray(0, 511))), { code: 'IMAGE_MALFORMED' });
  await assert.rejects(readWhole(file(grain.subarray(0, 513))), { code: 'IMAGE_MALFORMED' });
});

test('a file that ends anywhere is refused, or reads as the whole', async () => {
  for (const file of [sparse, stream]) {
    await fc.assert(
      fc.asyncProperty(fc.nat(file.length - 1), async (length) => {
        const outcome = await readWhole(file.slice(0, length)).catch((error) => error);
        if (outcome instanceof Uint8Array) assert.ok(Buffer.from(outcome).equals(plain));
        else assert.match(String(outcome.code), /^IMAGE_(TRUNCATED|MALFORMED)$/);
      }),
      { numRuns: 60 },
    );
  }
});

test('a file with any bytes of its metadata changed is read, or refused as an image', async () => {
  const places = [fc.nat(512), fc.nat(21 * 512), fc.integer({ min: RGD, max: 31 * 512 })];
  for (const file of [sparse, stream]) {
    const change = fc.tuple(
      fc.oneof(...places, fc.integer({ min: file.length - 8192, max: file.length - 4 })),
      fc.nat(),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const outcome = openBytes(edited(file, Object.fromEntries(changes))).then(async (disk) => {
          await readAt(disk, 0, Math.min(disk.virtualSizeBytes, 4 * MIB));
        });
        await outcome.catch((error) => assert.ok(error instanceof ImageError, String(error)));
      }),
      { numRuns: 150 },
    );
  }
});

/** Text descriptors are refused after the gate was asked. */
function descriptor(extents: string, header = ''): Uint8Array {
  return Buffer.from(
    `# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\n${header}\n${extents}\n`,
  );
}

const texts: readonly [string, string, Uint8Array][] = [
  ['an absolute path', 'IMAGE_REFERENCE', descriptor('RW 1 FLAT "/etc/passwd" 0')],
  ['a path upwards', 'IMAGE_REFERENCE', descriptor('RW 1 FLAT "../../secret.raw" 0')],
  ['a device', 'IMAGE_REFERENCE', descriptor('RW 1 FLAT "/dev/zero" 0')],
  ['an address', 'IMAGE_REFERENCE', descriptor('RW 1 FLAT "http://127.0.0.1/disk" 0')],
  ['itself', 'IMAGE_REFERENCE', descriptor('RW 1 SPARSE "memory"')],
  ['extents that may only be read', 'IMAGE_REFERENCE', descriptor('RDONLY 1 VMFS "flat.vmdk"')],
  [
    'a parent and no file of its own',
    'IMAGE_REFERENCE',
    descriptor('RW 1 ZERO', 'parentCID=1\nparentFileNameHint="base.vmdk"'),
  ],
  ['no extents', 'IMAGE_MALFORMED', descriptor('')],
  ['extents without a sector', 'IMAGE_MALFORMED', descriptor('RW 0 ZERO\nRW 0 ZERO')],
  ['more than 64 TiB of zeros', 'IMAGE_LIMIT', descriptor('RW 137438953472 ZERO\nRW 1 ZERO')],
  ['a device of the host', 'IMAGE_UNSUPPORTED', descriptor('RW 1 VMFSRDM "rdm.vmdk"')],
  ['an extent type that is not known', 'IMAGE_UNSUPPORTED', descriptor('RW 1 FANCY "a"')],
  ['a negative size', 'IMAGE_MALFORMED', descriptor('RW -8 FLAT "a" 0')],
  ['a size of 2^64 - 1', 'IMAGE_LIMIT', descriptor('RW 18446744073709551615 FLAT "a" 0')],
  ['a size of 2^55', 'IMAGE_LIMIT', descriptor('RW 36028797018963968 FLAT "a" 0')],
  ['a negative offset', 'IMAGE_MALFORMED', descriptor('RW 1 FLAT "a" -1')],
  ['an extent without a name', 'IMAGE_MALFORMED', descriptor('RW 1 FLAT')],
  ['a name without its end', 'IMAGE_MALFORMED', descriptor('RW 1 FLAT "a')],
  ['1101 extents', 'IMAGE_LIMIT', descriptor('RW 1 ZERO\n'.repeat(1101))],
  ['more than 1 MiB', 'IMAGE_LIMIT', descriptor('#'.repeat(MIB))],
];

for (const [what, code, bytes] of texts) {
  test(`a descriptor with ${what} is refused: ${code}`, async () => {
    assert.ok(vmdk.recognise({ head: bytes.subarray(0, 65536), tail: bytes, lengthBytes: bytes.length }));
    await assert.rejects(openBytes(bytes), { code });
  });
}
