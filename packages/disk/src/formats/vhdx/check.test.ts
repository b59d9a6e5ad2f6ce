import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { viewOf } from '../../bytes/fields.ts';
import { MIB } from '../../bytes/numbers.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { repairedSource } from '../../repair/repaired-source.ts';
import {
  assertSameBytes,
  diskBytes,
  openBytes,
  sourceBytes,
  testFolder,
  tool,
  writeRaw,
} from '../images.testkit.ts';
import { checkVhdx } from './check.ts';
import { vhdx } from './format.ts';
import { repairVhdx } from './repair.ts';
import {
  BLOCKS,
  guestBytes,
  HEADERS,
  LOG_GUID,
  logEntry,
  page,
  REGION_TABLES,
  seal,
  setEntry,
  setLog,
  vhdxFile,
} from './vhdx.testkit.ts';

const options = { references: denyReferences };
const check = (file: Uint8Array) => checkVhdx(memorySource(file), options);

async function counts(file: Uint8Array): Promise<readonly number[]> {
  const { corruptionCount, leakCount, warningCount } = await check(file);
  return [corruptionCount, leakCount, warningCount];
}

async function repaired(
  file: Uint8Array,
): Promise<{ bytes: Uint8Array; actions: readonly string[]; remaining: readonly string[] }> {
  const source = memorySource(file);
  const plan = await repairVhdx(source, options);
  return { ...plan, bytes: await sourceBytes(repairedSource(source, plan)) };
}

test('sound files have no findings: ours, and those of qemu-img', async (t) => {
  assert.deepEqual(await counts(vhdxFile()), [0, 0, 0]);
  const folder = await testFolder(t);
  const raw = join(folder, 'disk.raw');
  await writeRaw(raw, 20 * MIB, [[3 * MIB, 9 * MIB]]);
  for (const choice of ['subformat=dynamic', 'subformat=fixed', 'block_size=1M']) {
    const path = join(folder, 'disk.vhdx');
    await tool('qemu-img', 'convert', '-f', 'raw', '-O', 'vhdx', '-o', choice, raw, path);
    assert.deepEqual((await check(await readFile(path))).findings, [], choice);
  }
});

test('every bad entry is a corruption, with its place', async () => {
  const file = vhdxFile({
    table: [{ at: 0 }, 4, { at: 0 }, { at: 9 }, { at: 1, state: 7 }, 0],
    storedMib: 2,
  });
  const report = await check(file);
  assert.deepEqual(
    report.findings.map(({ severity, offsetBytes }) => [severity, offsetBytes]),
    [8, 16, 24, 32].map((at) => ['corruption', 3 * MIB + at]),
  );
});

test('MiB among the blocks that belong to nothing are a leak', async () => {
  assert.deepEqual(await counts(vhdxFile({ table: [{ at: 2 }, { at: 0 }] })), [0, 1, 0]);
  assert.deepEqual(await counts(vhdxFile({ table: [{ at: 0 }], storedMib: 2 })), [0, 1, 0]);
  assert.deepEqual(await counts(vhdxFile({ table: [{ at: 2 }, 0] })), [0, 0, 0], 'before the first block');
  const kept = vhdxFile({ table: [{ at: 2 }, { at: 0 }, { at: 1, state: 2 }] });
  assert.deepEqual(await counts(kept), [0, 0, 0], 'a block without content may keep its place');
});

test('an image that cannot be used is refused as it is on opening', async () => {
  const file = vhdxFile();
  file.fill(0, HEADERS[0], HEADERS[1] + 4096);
  await assert.rejects(check(file), { code: 'IMAGE_MALFORMED' });
});

test('the parent of a differencing image is not needed to check it', async () => {
  const locator = [
    ['parent_linkage', '{83ed9d31-6e5c-4b7c-b1d4-36ab5e0a1dff}'],
    ['relative_path', 'parent.vhdx'],
  ] as const;
  const table = [{ at: 0, state: 7 }, ...Array.from({ length: 4095 }, () => 0), { at: 1 }];
  assert.deepEqual(await counts(vhdxFile({ locator, diskSize: 4 * MIB, table })), [0, 0, 0]);
});

test('a sound file needs no repair', async () => {
  const plan = await repairVhdx(memorySource(vhdxFile()), options);
  const { lengthBytes } = memorySource(vhdxFile());
  assert.deepEqual(plan, { format: 'vhdx', actions: [], remaining: [], patches: [], lengthBytes });
});

test('a damaged header or region table is a corruption, and is written again from the other', async () => {
  for (const [at, what] of [...HEADERS, ...REGION_TABLES].map((place) => [place, `byte ${place}`] as const)) {
    const file = vhdxFile();
    file.fill(0xdd, at, at + 4096);
    assert.deepEqual(await counts(file), [1, 0, 0], what);
    const { bytes, actions } = await repaired(file);
    assert.equal(actions.length, 1);
    assert.match(actions[0] ?? '', new RegExp(`at ${what}`));
    assert.deepEqual(await counts(bytes), [0, 0, 0], what);
    assertSameBytes(await diskBytes(await openBytes(vhdx, bytes)), guestBytes({}), what);
  }
});

test('a header that is restored next to the last sequence number does not become the current one', async () => {
  const file = vhdxFile();
  viewOf(file).setBigUint64(HEADERS[1] + 8, 2n ** 64n - 1n, true);
  seal(file).fill(0, HEADERS[0], HEADERS[0] + 4096);
  const { bytes } = await repaired(file);
  assert.equal(viewOf(bytes).getBigUint64(HEADERS[0] + 8, true), 1n);
  assert.deepEqual(await counts(bytes), [0, 0, 0]);
});

test('a log is replayed into the file and forgotten, with everything else that is certain', async () => {
  const fields = { table: [{ at: 0 }, { at: 1 }, 0], storedMib: 3, logGuid: LOG_GUID };
  const file = vhdxFile(fields);
  const table = file.slice(3 * MIB, 3 * MIB + 4096);
  viewOf(table).setBigUint64(16, BigInt(BLOCKS + 2 * MIB) + 6n, true);
  const writes = [
    { page: 3 * MIB, bytes: table },
    { zero: BLOCKS + MIB, length: 8192 },
    { page: BLOCKS + MIB + 4096, bytes: page(7) },
    { page: REGION_TABLES[0], bytes: file.slice(REGION_TABLES[0], REGION_TABLES[0] + 4096) },
  ];
  setLog(file, [[9, logEntry({ sequence: 3n, tail: 9, writes })]]);
  file.fill(0, HEADERS[0], HEADERS[0] + 100);
  file.fill(0, REGION_TABLES[1], REGION_TABLES[1] + 100);
  assert.deepEqual(await counts(file), [2, 0, 1]);
  const before = await diskBytes(await openBytes(vhdx, file));
  const { bytes, actions, remaining } = await repaired(file);
  assert.equal(actions.length, 4);
  assert.deepEqual(remaining, []);
  assert.deepEqual(await counts(bytes), [0, 0, 0]);
  const disk = await openBytes(vhdx, bytes);
  assert.deepEqual(disk.warnings, []);
  assert.equal(disk.details.log, 'empty');
  assertSameBytes(await diskBytes(disk), before);
});

test('a log that is said to be in use and holds nothing is a warning, and is marked as empty', async () => {
  const file = vhdxFile({ logGuid: LOG_GUID });
  assert.deepEqual(await counts(file), [0, 0, 1]);
  const { bytes, actions } = await repaired(file);
  assert.deepEqual(actions, ['the log is marked as empty in both headers']);
  assert.deepEqual(await counts(bytes), [0, 0, 0]);
});

test('a log that zeroes more than a repair writes out is left to Hyper-V', async () => {
  const file = vhdxFile({ table: [{ at: 0 }], storedMib: 40, logGuid: LOG_GUID });
  const writes = [{ zero: BLOCKS + MIB, length: 39 * MIB }];
  setLog(file, [[0, logEntry({ sequence: 1n, tail: 0, writes })]]);
  const { bytes, remaining } = await repaired(file);
  assert.equal(remaining.length, 1);
  assertSameBytes(bytes, file, 'nothing is changed');
});

test('what has no certain repair remains: bad entries, copies of the region table that differ', async () => {
  const file = vhdxFile();
  setEntry(file, 1, 4, 0);
  file[REGION_TABLES[1] + 12] = 1;
  seal(file);
  const { actions, remaining } = await repaired(file);
  assert.deepEqual([actions.length, remaining.length], [0, 2]);
});

test('qemu-img opens what was repaired', async (t) => {
  const folder = await testFolder(t);
  const path = join(folder, 'disk.vhdx');
  const raw = join(folder, 'disk.raw');
  await writeRaw(raw, 20 * MIB, [[3 * MIB, 9 * MIB]]);
  await tool('qemu-img', 'convert', '-f', 'raw', '-O', 'vhdx', raw, path);
  for (const at of [...HEADERS, ...REGION_TABLES]) {
    const file = await readFile(path);
    file.fill(0, at, at + 64);
    const { bytes } = await repaired(file);
    const copy = join(folder, 'repaired.vhdx');
    await writeFile(copy, bytes);
    const compared = await tool('qemu-img', 'compare', '-f', 'vhdx', '-F', 'raw', copy, raw);
    assert.equal(compared, 'Images are identical.\n');
  }
});
