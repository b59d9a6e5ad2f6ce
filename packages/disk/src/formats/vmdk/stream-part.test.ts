import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { convert } from '../../convert/convert.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { ImageError } from '../../errors.ts';
import { memorySink } from '../../io/memory.ts';
import { vmdk } from './format.ts';
import {
  arriving,
  END,
  marker,
  piped,
  progress,
  readArriving,
  type StreamPiece,
  streamOf,
} from './streams.testkit.ts';
import {
  edited,
  folder,
  GRAIN,
  grainRecord,
  noise,
  openBytes,
  pattern,
  readAt,
  run,
  sparseDisk,
  tablesFirst,
  writeRaw,
  written,
} from './vmdk.testkit.ts';

const MIB = 1024 * 1024;

const disk = sparseDisk(
  100 * MIB + 700,
  new Map([
    [3 * GRAIN + 5, noise(20 * GRAIN)],
    [31 * MIB, pattern(3 * MIB)],
    [70 * MIB, noise(MIB)],
    [100 * MIB, noise(700)],
  ]),
);
const plain = await readAt(disk, 0, 100 * MIB + 700);

function assertReads(bytes: Uint8Array): void {
  assert.ok(Buffer.from(bytes.subarray(0, plain.length)).equals(plain));
}

test('our own files of every form are read while they arrive, in chunks of any length', async () => {
  const forms = [
    ['monolithicSparse', {}],
    ['streamOptimized', { tables: 'end' }],
    ['streamOptimized', { tables: 'front' }],
  ] as const;
  for (const [subformat, options] of forms) {
    const file = await written(disk, subformat, options);
    for (const chunkBytes of [7001, MIB]) {
      for (const source of [arriving(file, chunkBytes), await piped(file, chunkBytes)]) {
        const { disk: read, bytes } = await readArriving(source);
        assert.equal(read.sequential, true);
        assertReads(bytes);
      }
    }
  }
});

test('a streamOptimized by qemu-img is read while it arrives', async (t) => {
  const path = await folder(t);
  const [raw, image] = [join(path, 'disk.raw'), join(path, 'disk.vmdk')];
  await writeRaw(disk, raw);
  await run('qemu-img', 'convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=streamOptimized', raw, image);
  assertReads((await readArriving(arriving(await readFile(image)))).bytes);
});

test('an arriving stream is written as other formats in one pass', async () => {
  const file = await written(disk, 'streamOptimized');
  for (const target of [
    { format: 'raw' },
    { format: 'vmdk' },
    { format: 'vmdk', compression: 'zlib' },
  ] as const) {
    const read = await vmdk.open(arriving(file), { references: denyReferences });
    const sink = memorySink();
    await convert(read, sink, target);
    if (target.format === 'raw') assertReads(sink.bytes());
    else {
      const back = await openBytes(sink.bytes());
      assertReads(await readAt(back, 0, back.virtualSizeBytes));
    }
  }
});

const grains = [0, 1, 5, 511, 512, 1025];
const capacitySectors = 128 * 1026;
const contents = new Map(
  grains.map((grain) => [grain, grain % 2 === 0 ? noise(GRAIN, grain) : pattern(GRAIN)]),
);
const grainPiece = (grain: number): StreamPiece => ({
  kind: 'grain',
  grain,
  record: grainRecord(grain, contents.get(grain) ?? pattern(GRAIN, grain)),
});
const [g0, g1, g5, g511, g512, g1025] = grains.map(grainPiece) as [
  StreamPiece,
  StreamPiece,
  StreamPiece,
  StreamPiece,
  StreamPiece,
  StreamPiece,
];
const table: StreamPiece = { kind: 'table' };
const directory: StreamPiece = { kind: 'directory' };
const footer: StreamPiece = { kind: 'footer' };
const expected = new Uint8Array(capacitySectors * 512);
for (const [grain, bytes] of contents) expected.set(bytes, grain * GRAIN);

const wellFormed: Readonly<Record<string, readonly StreamPiece[]>> = {
  'tables behind their grains': [g0, g1, g5, g511, table, g512, table, g1025, table, directory, footer, END],
  'all tables at the end': [g0, g1, g5, g511, g512, g1025, table, table, table, directory, footer, END],
  'progress markers': [
    progress(0),
    g0,
    progress(17),
    progress(2 ** 40),
    g1,
    g5,
    g511,
    table,
    progress(99),
    g512,
    table,
    g1025,
    table,
    directory,
    progress(100),
    footer,
    END,
  ],
};

for (const [what, pieces] of Object.entries(wellFormed)) {
  test(`a stream with ${what} is read the same whether it arrives or not`, async () => {
    const file = streamOf(capacitySectors, pieces);
    const { bytes } = await readArriving(arriving(file, 4096));
    assert.ok(Buffer.from(bytes).equals(expected));
    const whole = await openBytes(file);
    assert.ok(Buffer.from(await readAt(whole, 0, whole.virtualSizeBytes)).equals(expected));
  });
}

test('tables without grains, named or not, and zeros behind the end are taken', async () => {
  const empty = { kind: 'table', entries: new Array<number>(512).fill(0) } as const;
  const file = streamOf(capacitySectors, [empty, g0, table, g1025, table, directory, footer, END, END, END]);
  const { bytes } = await readArriving(arriving(file));
  assert.deepEqual(bytes.subarray(0, GRAIN), contents.get(0));
  assert.deepEqual(bytes.subarray(1025 * GRAIN), contents.get(1025));
});

const end = [directory, footer, END];
const badRecord = (edits: Record<number, number | bigint>): StreamPiece => ({
  kind: 'sectors',
  bytes: edited(grainRecord(1, noise(GRAIN)), edits),
});
const broken: readonly [string, string, readonly StreamPiece[]][] = [
  ['no end', 'IMAGE_TRUNCATED', [g0, table, directory, footer]],
  ['nothing behind its header', 'IMAGE_TRUNCATED', []],
  ['an early end', 'IMAGE_MALFORMED', [g0, END, g1, table, ...end]],
  ['an end before its footer', 'IMAGE_MALFORMED', [g0, table, directory, END]],
  ['grains behind its end', 'IMAGE_MALFORMED', [g0, table, ...end, g1]],
  [
    'an end that is not all zeros',
    'IMAGE_MALFORMED',
    [g0, table, directory, footer, { kind: 'sectors', bytes: marker(0, 1) }],
  ],
  ['a grain twice', 'IMAGE_MALFORMED', [g0, g0, table, ...end]],
  ['grains in another order', 'IMAGE_NOT_SEQUENTIAL', [g1, g0, table, ...end]],
  ['a grain that begins nowhere', 'IMAGE_MALFORMED', [badRecord({ 0: 5n }), ...end]],
  ['a grain beyond the disk', 'IMAGE_MALFORMED', [badRecord({ 0: 128n * 1026n }), ...end]],
  ['a grain at sector 2^64 - 128', 'IMAGE_MALFORMED', [badRecord({ 0: 2n ** 64n - 128n }), ...end]],
  ['a grain of 4 GiB', 'IMAGE_MALFORMED', [badRecord({ 8: 0xffffffff }), ...end]],
  ['a grain beyond the end of the file', 'IMAGE_TRUNCATED', [badRecord({ 8: 100_000 })]],
  ['a grain behind its table', 'IMAGE_MALFORMED', [g0, table, g1, table, ...end]],
  ['a grain behind the directory', 'IMAGE_MALFORMED', [g0, table, directory, g1, table, footer, END]],
  ['a table that contradicts its grains', 'IMAGE_MALFORMED', [g0, { kind: 'table', entries: [129] }, ...end]],
  ['a table of grains that never came', 'IMAGE_MALFORMED', [{ kind: 'table', entries: [128] }, ...end]],
  ['a table behind the directory', 'IMAGE_MALFORMED', [g0, table, directory, table, footer, END]],
  ['a table that did not come', 'IMAGE_MALFORMED', [g0, ...end]],
  [
    'a table of 2^60 sectors',
    'IMAGE_MALFORMED',
    [g0, { kind: 'sectors', bytes: marker(1, 2 ** 60) }, ...end],
  ],
  ['a table of no sectors', 'IMAGE_MALFORMED', [g0, { kind: 'sectors', bytes: marker(1, 0) }, ...end]],
  [
    'a directory that contradicts its tables',
    'IMAGE_MALFORMED',
    [g0, table, { kind: 'directory', changed: [0, 128] }, footer, END],
  ],
  [
    'a directory with a table too many',
    'IMAGE_MALFORMED',
    [g0, table, { kind: 'directory', changed: [1, 128] }, footer, END],
  ],
  ['two directories', 'IMAGE_MALFORMED', [g0, table, directory, directory, footer, END]],
  [
    'a footer of another disk',
    'IMAGE_MALFORMED',
    [g0, table, directory, { kind: 'footer', capacitySectors: 128 }, END],
  ],
  [
    'a footer that names another directory',
    'IMAGE_MALFORMED',
    [g0, table, directory, { kind: 'footer', directorySector: 128 }, END],
  ],
  ['a footer before the directory', 'IMAGE_MALFORMED', [g0, table, footer, directory, END]],
  ['two footers', 'IMAGE_MALFORMED', [g0, table, directory, footer, footer, END]],
  [
    'a marker of no known type',
    'IMAGE_MALFORMED',
    [g0, { kind: 'sectors', bytes: marker(5) }, table, ...end],
  ],
];

for (const [what, code, pieces] of broken) {
  test(`an arriving stream with ${what} is refused: ${code}`, async () => {
    const file = streamOf(capacitySectors, pieces);
    await assert.rejects(readArriving(arriving(file)), { code });
  });
}

test('a stream that ends at any sector is refused as truncated, and never read as a smaller disk', async () => {
  const record = grainRecord(1, pattern(GRAIN));
  const pieces = [progress(1), { kind: 'grain', grain: 1, record }, table, ...end] as const;
  const file = streamOf(3 * 128, pieces);
  assert.ok(file.length < 150 * 512);
  for (let length = 512 * 21; length < file.length; length += 512) {
    const cut = file.subarray(0, length);
    for (const source of [arriving(cut, MIB), await piped(cut, 30_000)]) {
      await assert.rejects(readArriving(source), { code: 'IMAGE_TRUNCATED' }, `${length}`);
    }
  }
  await assert.rejects(readArriving(arriving(file.subarray(0, -512), MIB, file.length)), {
    code: 'STORE_IO',
  });
});

test('a stream with any bytes changed is refused, or read as what its records hold', async () => {
  const record = (grain: number) => grainRecord(grain, pattern(GRAIN, grain));
  const grain = (index: number) => ({ kind: 'grain', grain: index, record: record(index) }) as const;
  const file = streamOf(600 * 128, [grain(1), grain(2), table, progress(1), grain(520), table, ...end]);
  const change = fc.tuple(fc.nat(file.length - 4), fc.nat());
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      const source = arriving(edited(file, Object.fromEntries(changes)), MIB);
      await readArriving(source).catch((error) => assert.ok(error instanceof ImageError, String(error)));
    }),
    { numRuns: 100 },
  );
});

test('what has passed is not read again, and the end is looked at when the rest is taken in', async () => {
  const full = sparseDisk(120 * MIB, new Map([[0, noise(120 * MIB)]]));
  const file = await written(full, 'streamOptimized');
  const read = await vmdk.open(arriving(file, MIB), { references: denyReferences });
  assert.deepEqual(await readAt(read, 110 * MIB, 512), await readAt(full, 110 * MIB, 512));
  await assert.rejects(readAt(read, 40 * MIB, 512), { code: 'IMAGE_NOT_SEQUENTIAL' });
  await read.drain?.();
  const cut = await vmdk.open(arriving(file.subarray(0, -512), MIB), { references: denyReferences });
  await readAt(cut, 0, 512);
  await assert.rejects(async () => cut.drain?.(), { code: 'IMAGE_TRUNCATED' });
  await assert.rejects(async () => cut.drain?.(), { code: 'IMAGE_TRUNCATED' }, 'it stays refused');
});

test('where the tables arrive first, grains may stand in any order within what is kept', async () => {
  const records = new Map([900, 3, 0].map((grain) => [grain, grainRecord(grain, noise(GRAIN, grain))]));
  const { bytes } = await readArriving(arriving(tablesFirst({ capacitySectors: 128 * 901, records })));
  for (const grain of records.keys()) {
    assert.deepEqual(bytes.subarray(grain * GRAIN, (grain + 1) * GRAIN), noise(GRAIN, grain));
  }
});

test('a stream with two sets of tables is not read while it arrives', async () => {
  const file = edited(await written(disk, 'streamOptimized'), { 8: 0x30003, 48: 2n ** 64n - 1n });
  const opened = vmdk.open(arriving(edited(file, { 48: 21n })), { references: denyReferences });
  await assert.rejects(opened, { code: 'IMAGE_NOT_SEQUENTIAL' });
});

test('an aborted walk ends with its reason', async () => {
  const reason = new Error('enough');
  const read = await vmdk.open(arriving(await written(disk, 'streamOptimized')), {
    references: denyReferences,
  });
  await assert.rejects(Array.fromAsync(read.extents(0, MIB, AbortSignal.abort(reason))), reason);
});
