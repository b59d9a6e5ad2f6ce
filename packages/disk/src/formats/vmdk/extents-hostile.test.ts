// What lies in the extents of disks of several files, and in tables that show one place twice.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Disk } from '../../disk/disk.ts';
import { ImageError } from '../../errors.ts';
import { memorySource } from '../../io/memory.ts';
import { bytesGate, cowdExtent, descriptorFile, SE_SPARSE, seSparseExtent } from './extents.testkit.ts';
import { vmdk } from './format.ts';
import {
  edited,
  GRAIN,
  grainRecord,
  noise,
  openBytes,
  readAt,
  sparseDisk,
  tablesFirst,
  written,
} from './vmdk.testkit.ts';

const MIB = 1024 * 1024;

function openExtent(type: string, sectors: number, extent: Uint8Array): Promise<Disk> {
  const text = descriptorFile({ createType: 'custom', extents: [`RW ${sectors} ${type} "e.vmdk"`] });
  return vmdk.open(memorySource(text, 'd.vmdk'), { references: bytesGate({ 'e.vmdk': extent }) });
}

async function readExtent(type: string, sectors: number, extent: Uint8Array): Promise<Uint8Array> {
  const disk = await openExtent(type, sectors, extent);
  return readAt(disk, 0, disk.virtualSizeBytes);
}

async function checkExtent(type: string, sectors: number, extent: Uint8Array) {
  const text = descriptorFile({ createType: 'custom', extents: [`RW ${sectors} ${type} "e.vmdk"`] });
  return vmdk.check!(memorySource(text, 'd.vmdk'), { references: bytesGate({ 'e.vmdk': extent }) });
}

const SECTORS = 3 * 4096;
const cowd = cowdExtent(SECTORS, new Map([0, 1, 4096, 8192].map((grain) => [grain, noise(512, grain)])));
/** Places in `cowd`: the directory, then three tables. */
const COWD_GD = 2048;
const COWD_GT = 5 * 512;

const cowdFiles: readonly [string, string, Uint8Array][] = [
  ['version 2', 'IMAGE_UNSUPPORTED', edited(cowd, { 4: 2 })],
  ['no sectors', 'IMAGE_MALFORMED', edited(cowd, { 12: 0 })],
  ['more sectors than its line says', 'IMAGE_MALFORMED', edited(cowd, { 12: SECTORS + 1 })],
  ['grains of 0 sectors', 'IMAGE_MALFORMED', edited(cowd, { 16: 0 })],
  ['grains of 3 sectors', 'IMAGE_MALFORMED', edited(cowd, { 16: 3 })],
  ['grains of 2^31 sectors', 'IMAGE_MALFORMED', edited(cowd, { 16: 2 ** 31 })],
  ['its directory in the header', 'IMAGE_MALFORMED', edited(cowd, { 20: 3 })],
  ['its directory at the first sector', 'IMAGE_MALFORMED', edited(cowd, { 20: 0 })],
  ['its directory beyond the end', 'IMAGE_TRUNCATED', edited(cowd, { 20: 0xffffffff })],
  ['a directory that is too small', 'IMAGE_MALFORMED', edited(cowd, { 24: 2 })],
  ['a table in the header', 'IMAGE_MALFORMED', edited(cowd, { [COWD_GD]: 1 })],
  ['a table beyond the end', 'IMAGE_TRUNCATED', edited(cowd, { [COWD_GD]: 0xfffffff0 })],
  ['one table for two parts of the disk', 'IMAGE_MALFORMED', edited(cowd, { [COWD_GD + 4]: 5 })],
  ['a grain in a table', 'IMAGE_MALFORMED', edited(cowd, { [COWD_GT]: 5 })],
  ['a grain in the header', 'IMAGE_MALFORMED', edited(cowd, { [COWD_GT]: 1 })],
  ['a grain beyond the end', 'IMAGE_TRUNCATED', edited(cowd, { [COWD_GT]: 0xffffffff })],
  ['two grains at one place', 'IMAGE_MALFORMED', edited(cowd, { [COWD_GT + 400]: 101 })],
  ['a header cut short', 'IMAGE_TRUNCATED', cowd.slice(0, 2000)],
];

for (const [what, code, file] of cowdFiles) {
  test(`a COWD extent with ${what} is refused: ${code}`, async () => {
    await assert.rejects(readExtent('VMFSSPARSE', SECTORS, file), { code });
  });
}

const seSectors = 3 * 4096 * 8;
const se = seSparseExtent(seSectors, new Map([0, 1, 4096, 8192].map((grain) => [grain, noise(4096, grain)])));
const SE_GD = SE_SPARSE.directory * 512;
const SE_GT = SE_GD + 512;
const VOLATILE = SE_SPARSE.volatileHeader * 512;
const entry = (type: bigint, number = 0n) => (type << 60n) + ((number & 0xfffn) << 48n) + (number >> 12n);

const seFiles: readonly [string, string, Uint8Array][] = [
  ['another version', 'IMAGE_UNSUPPORTED', edited(se, { 8: 0x0000000300000001n })],
  ['no sectors', 'IMAGE_MALFORMED', edited(se, { 16: 0n })],
  ['2^63 sectors', 'IMAGE_LIMIT', edited(se, { 16: 2n ** 63n })],
  ['65 TiB', 'IMAGE_LIMIT', edited(se, { 16: 65n * 2n ** 31n })],
  ['grains of 16 sectors', 'IMAGE_UNSUPPORTED', edited(se, { 24: 16n })],
  ['tables of 32 sectors', 'IMAGE_UNSUPPORTED', edited(se, { 32: 32n })],
  ['a flag', 'IMAGE_UNSUPPORTED', edited(se, { 40: 1n })],
  ['a reserved field', 'IMAGE_UNSUPPORTED', edited(se, { 72: 1n })],
  ['bytes behind its header', 'IMAGE_UNSUPPORTED', edited(se, { 500: 1 })],
  ['no volatile header', 'IMAGE_MALFORMED', edited(se, { 88: 0n })],
  ['its volatile header beyond the end', 'IMAGE_TRUNCATED', edited(se, { 80: 2n ** 40n })],
  ['a volatile header without its mark', 'IMAGE_MALFORMED', edited(se, { [VOLATILE]: 0n })],
  ['a journal to be replayed', 'IMAGE_UNSUPPORTED', edited(se, { [VOLATILE + 24]: 1n })],
  ['its directory beyond the end', 'IMAGE_TRUNCATED', edited(se, { 128: 2n ** 40n })],
  ['its directory at 2^60', 'IMAGE_LIMIT', edited(se, { 128: 2n ** 60n })],
  ['a directory that is too small', 'IMAGE_MALFORMED', edited(se, { 136: 0n })],
  ['its directory in the volatile header', 'IMAGE_MALFORMED', edited(se, { 128: 1n })],
  ['its grains in its tables', 'IMAGE_MALFORMED', edited(se, { 192: BigInt(SE_GT / 512) })],
  ['its grains at the first sector', 'IMAGE_MALFORMED', edited(se, { 192: 0n })],
  ['a directory entry without its mark', 'IMAGE_MALFORMED', edited(se, { [SE_GD]: 1n })],
  ['a table beyond the tables', 'IMAGE_MALFORMED', edited(se, { [SE_GD]: 0x1000000000000003n })],
  ['a table at 2^32 - 1', 'IMAGE_MALFORMED', edited(se, { [SE_GD]: 0x10000000ffffffffn })],
  ['tables beyond the end', 'IMAGE_TRUNCATED', edited(se, { 144: 2n ** 40n })],
  [
    'one table for two parts of the disk',
    'IMAGE_MALFORMED',
    edited(se, { [SE_GD + 8]: 0x1000000000000000n }),
  ],
  ['an unallocated grain with a number', 'IMAGE_MALFORMED', edited(se, { [SE_GT]: entry(0n, 5n) })],
  ['a grain of an unknown type', 'IMAGE_MALFORMED', edited(se, { [SE_GT]: entry(4n) })],
  ['a grain of type 15', 'IMAGE_MALFORMED', edited(se, { [SE_GT]: 2n ** 64n - 1n })],
  ['a grain beyond the end', 'IMAGE_TRUNCATED', edited(se, { [SE_GT]: entry(3n, 4n) })],
  ['a grain at 2^59', 'IMAGE_TRUNCATED', edited(se, { [SE_GT]: entry(3n, 2n ** 59n) })],
  ['a grain behind the grains', 'IMAGE_MALFORMED', edited(se, { 200: 24n })],
  ['two grains at one place', 'IMAGE_MALFORMED', edited(se, { [SE_GT + 80]: entry(3n, 1n) })],
  ['a header cut short', 'IMAGE_TRUNCATED', se.slice(0, 300)],
];

for (const [what, code, file] of seFiles) {
  test(`a seSparse extent with ${what} is refused: ${code}`, async () => {
    await assert.rejects(readExtent('SESPARSE', seSectors, file), { code });
  });
}

test('an extent by itself is no disk, and the hint says what to open', async () => {
  for (const file of [cowd, se]) {
    await assert.rejects(openBytes(file), { code: 'IMAGE_UNSUPPORTED', hint: /open the descriptor/ });
  }
});

test('an extent that ends anywhere is refused as truncated, or reads as the whole', async () => {
  for (const [type, sectors, file] of [
    ['VMFSSPARSE', SECTORS, cowd],
    ['SESPARSE', seSectors, se],
  ] as const) {
    const whole = Buffer.from(await readExtent(type, sectors, file));
    await fc.assert(
      fc.asyncProperty(fc.nat(file.length - 1), async (length) => {
        const outcome = await readExtent(type, sectors, file.slice(0, length)).catch((error) => error);
        if (outcome instanceof Uint8Array) assert.ok(whole.equals(outcome));
        else assert.match(String(outcome.code), /^IMAGE_(TRUNCATED|MALFORMED)$/);
      }),
      { numRuns: 60 },
    );
  }
});

test('an extent with any bytes of its metadata changed is read, or refused as an image', async () => {
  for (const [type, sectors, file, metadata] of [
    ['VMFSSPARSE', SECTORS, cowd, COWD_GT + 3 * 16384],
    ['SESPARSE', seSectors, se, SE_GT + 3 * 32768],
  ] as const) {
    const place = fc.oneof(fc.nat(300), fc.nat(metadata));
    const changes = fc.array(fc.tuple(place, fc.nat()), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(changes, async (edits) => {
        const changed = edited(file, Object.fromEntries(edits));
        await readExtent(type, sectors, changed).catch((error) => {
          assert.ok(error instanceof ImageError, String(error));
        });
      }),
      { numRuns: 100 },
    );
  }
});

test('the check says which file is damaged, and goes on with the others', async () => {
  const shared = edited(cowd, { [COWD_GT + 400]: 101, [COWD_GT + 404]: 7 });
  const { findings, corruptionCount } = await checkExtent('VMFSSPARSE', SECTORS, shared);
  assert.equal(corruptionCount, 2);
  assert.match(findings[0]?.message ?? '', /^e\.vmdk: grain 100 shares sectors/);
  const seReport = await checkExtent(
    'SESPARSE',
    seSectors,
    edited(se, { [SE_GT + 80]: entry(3n, 1n), [SE_GT + 88]: entry(9n) }),
  );
  assert.deepEqual(
    seReport.findings.map(({ message }) => message.replace(/^e\.vmdk: /, '')),
    [
      'grain 10 shares its place with another, at sector 229',
      'grain 11: a seSparse grain entry is of no known type',
    ],
  );
  const text = descriptorFile({
    createType: 'custom',
    extents: ['RW 9 FLAT "short" 0', `RW ${SECTORS} VMFSSPARSE "bad"`, `RW ${SECTORS} VMFSSPARSE "good"`],
  });
  const gate = bytesGate({ short: new Uint8Array(512), bad: shared, good: cowd });
  const report = await vmdk.check!(memorySource(text, 'd.vmdk'), { references: gate });
  assert.deepEqual([report.corruptionCount, gate.openCount()], [3, 0]);
  assert.match(report.findings[0]?.message ?? '', /^short: /);
});

test('tables that all name one grain of a small file are refused when they are walked', async () => {
  // 2 TiB of a disk whose every grain is the same 64 KiB: each table for itself, and all of them together.
  const disk = sparseDisk(64 * 32 * MIB, new Map([[0, noise(GRAIN)]]));
  const file = await written(disk, 'monolithicSparse');
  const view = new DataView(file.buffer, file.byteOffset);
  const [gd, grain] = [Number(view.getBigUint64(56, true)) * 512, Number(view.getBigUint64(64, true))];
  const tables = Array.from({ length: 64 }, (_, i) => view.getUint32(gd + i * 4, true) * 512);
  const inOneTable = edited(file, { [(tables[0] ?? 0) + 4]: grain });
  const inEvery = edited(file, Object.fromEntries(tables.map((at) => [at + 8, grain])));
  for (const bomb of [inOneTable, inEvery]) {
    const read = await openBytes(bomb);
    await assert.rejects(Array.fromAsync(read.extents(0, read.virtualSizeBytes)), {
      code: 'IMAGE_MALFORMED',
    });
    await assert.rejects(Array.fromAsync(read.storedRuns?.(0, read.virtualSizeBytes) ?? []), {
      code: 'IMAGE_MALFORMED',
    });
  }
});

test('compressed grains that name one record are refused by their markers where they are passed on', async () => {
  const records = new Map([
    [0, grainRecord(0, noise(GRAIN))],
    [600, grainRecord(600, noise(GRAIN))],
  ]);
  const file = tablesFirst({ capacitySectors: 128 * 1024, records });
  // The grain after the first table's first has the record of the second table's.
  const disk = await openBytes(edited(file, { [22 * 512 + 8]: 128 + 129 }));
  await assert.rejects(Array.fromAsync(disk.storedRuns?.(0, disk.virtualSizeBytes) ?? []), {
    code: 'IMAGE_MALFORMED',
  });
  await assert.rejects(readAt(disk, 2 * GRAIN, 512), { code: 'IMAGE_MALFORMED' });
});
