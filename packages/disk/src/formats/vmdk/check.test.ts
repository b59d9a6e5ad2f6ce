import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import type { CheckReport } from '../format.ts';
import { vmdk } from './format.ts';
import {
  edited,
  GRAIN,
  grainRecord,
  noise,
  pattern,
  sparseDisk,
  tablesFirst,
  withDescriptor,
  written,
} from './vmdk.testkit.ts';

const MIB = 1024 * 1024;
const disk = sparseDisk(40 * MIB, new Map([[0, noise(4 * GRAIN)]]));
const sparse = await written(disk, 'monolithicSparse');
const stream = await written(disk, 'streamOptimized');

/** Places in `sparse`: it has two grain tables. */
const RGD = 21 * 512;
const RGT = 22 * 512;
const GD = 30 * 512;
const GT = 31 * 512;
const GRAINS = 128;

async function check(file: Uint8Array): Promise<CheckReport> {
  return vmdk.check!(memorySource(file), { references: denyReferences });
}

const clean = { corruptionCount: 0, leakCount: 0, warningCount: 0 };

test('our own files have no findings', async () => {
  for (const file of [sparse, stream])
    assert.deepEqual(await check(file), { format: 'vmdk', findings: [], ...clean });
});

const damages: readonly [string, RegExp, number, Uint8Array][] = [
  [
    'a table beyond the end',
    /table 1, .* beyond the end/,
    GD + 4,
    edited(sparse, { [GD + 4]: 99999, [RGD + 4]: 0 }),
  ],
  [
    'a table in the header',
    /table 1, .* inside other metadata/,
    GD + 4,
    edited(sparse, { [GD + 4]: 1, [RGD + 4]: 0 }),
  ],
  ['a grain beyond the end', /grain 1: .* beyond the end/, GT + 4, edited(sparse, both(4, 99999))],
  ['a grain in the metadata', /grain 1: .* inside the metadata/, GT + 4, edited(sparse, both(4, 30))],
  ['two grains at one place', /grain 1 shares .* at sector 128/, GT + 4, edited(sparse, both(4, GRAINS))],
  ['two grains that overlap', /grain 1 shares .* at sector 130/, GT + 4, edited(sparse, both(4, GRAINS + 2))],
  ['a table unlike its copy', /table 0 differs/, GT, edited(sparse, { [RGT]: GRAINS + 128 })],
  ['directories for other parts of the disk', /same parts/, RGD, edited(sparse, { [RGD + 4]: 0 })],
  [
    'a redundant directory beyond the end',
    /redundant grain directory needs/,
    2 ** 40,
    edited(sparse, { 48: 2n ** 31n }),
  ],
  ['a header that cannot be believed', /grainSize is 7/, 20, edited(sparse, { 20: 7n })],
];

/** One entry of the grain table changed in both copies. */
function both(entryBytes: number, sector: number): Record<number, number> {
  return { [GT + entryBytes]: sector, [RGT + entryBytes]: sector };
}

for (const [what, message, offsetBytes, file] of damages) {
  test(`${what}: the check says so, and where`, async () => {
    const { findings, corruptionCount } = await check(file);
    assert.ok(corruptionCount >= 1);
    const found = findings.find((finding) => message.test(finding.message));
    assert.equal(found?.severity, 'corruption', JSON.stringify(findings));
    assert.equal(found?.offsetBytes, offsetBytes);
  });
}

test('every damaged entry is counted', async () => {
  const file = edited(sparse, { ...both(0, 1), ...both(4, 2), ...both(8, 99999) });
  assert.equal((await check(file)).corruptionCount, 3);
});

test('an entry for a grain after the end of the disk is a leak', async () => {
  const { leakCount, corruptionCount } = await check(
    edited(sparse, { [GT + 2048 + 511 * 4]: GRAINS, [RGT + 2048 + 511 * 4]: GRAINS }),
  );
  assert.deepEqual([leakCount, corruptionCount], [1, 0]);
});

test('markers of compressed grains are looked at', async () => {
  const records = new Map([
    [0, grainRecord(0, pattern(GRAIN))],
    [1, grainRecord(5, pattern(GRAIN))],
    [2, edited(grainRecord(2, pattern(GRAIN)), { 8: 0 })],
    [3, edited(grainRecord(3, pattern(GRAIN)), { 8: 100000 })],
  ]);
  const { findings, corruptionCount } = await check(tablesFirst({ capacitySectors: 1024, records }));
  assert.equal(corruptionCount, 3);
  assert.match(findings[0]!.message, /for sector 128 says sector 640/);
  assert.match(findings[1]!.message, /no data/);
  assert.match(findings[2]!.message, /beyond the end of the file/);
});

test('a stream without its end is a warning, since its tables are there', async () => {
  const records = new Map([[0, grainRecord(0, noise(GRAIN))]]);
  const file = tablesFirst({ capacitySectors: 1024, records, endOfStream: false });
  const { findings, warningCount, corruptionCount } = await check(file);
  assert.deepEqual([warningCount, corruptionCount], [1, 0]);
  assert.match(findings[0]!.message, /no end-of-stream marker/);
  assert.deepEqual((await check(tablesFirst({ capacitySectors: 1024, records }))).findings, []);
});

test('what opening warns about is in the report', async () => {
  const { findings, warningCount } = await check(
    withDescriptor(edited(sparse, { 72: Uint8Array.of(1) }), (text) => text.replace(/createType.*/, '')),
  );
  assert.equal(warningCount, 2);
  assert.ok(findings.every((finding) => finding.severity === 'warning'));
});

test('a check stops when it is aborted', async () => {
  const reason = new Error('enough');
  const options = { references: denyReferences, signal: AbortSignal.abort(reason) };
  await assert.rejects(vmdk.check!(memorySource(sparse), options), reason);
});
