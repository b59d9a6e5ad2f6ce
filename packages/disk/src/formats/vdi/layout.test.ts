import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { viewOf } from '../../bytes/fields.ts';
import { GIB, KIB, MIB, TIB } from '../../bytes/numbers.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { viewOfLayout } from '../../view/view.ts';
import {
  assertSameBytes,
  diskBytes,
  layoutBytes,
  openBytes,
  patternDisk,
  planLayout,
  type Runs,
  sourceBytes,
  testFolder,
  tool,
  writeLayoutFile,
  writeRaw,
} from '../images.testkit.ts';
import { checkVdi } from './check.ts';
import { vdi } from './format.ts';

const golden: readonly (readonly [
  what: string,
  sizeBytes: number,
  runs: Runs,
  subformats: readonly string[],
])[] = [
  ['a disk without data', 3 * MIB, [], ['dynamic', 'fixed']],
  ['one sector', 512, [[0, 512]], ['dynamic', 'fixed']],
  [
    'data across blocks and in the last sector',
    5 * MIB + 512,
    [
      [700 * KIB, MIB],
      [4 * MIB, 100],
      [5 * MIB, 512],
    ],
    ['dynamic', 'fixed'],
  ],
  ['a disk that is full', 4 * MIB, [[0, 4 * MIB]], ['dynamic', 'fixed']],
  [
    '20 GiB and 4 KiB, sparse',
    20 * GIB + 4096,
    [
      [0, 4096],
      [7 * GIB - 2048, 4096],
      [20 * GIB, 4096],
    ],
    ['dynamic'],
  ],
];

test('qemu-img reads our files as the disk and finds no error in them', async (t) => {
  const folder = await testFolder(t);
  for (const [what, sizeBytes, runs, subformats] of golden) {
    const raw = join(folder, 'disk.raw');
    await writeRaw(raw, sizeBytes, runs);
    for (const subformat of subformats) {
      const disk = patternDisk(sizeBytes, runs);
      const path = join(folder, 'disk.vdi');
      await writeLayoutFile(path, await planLayout(vdi, disk, { subformat }), disk);
      const compared = await tool('qemu-img', 'compare', '-f', 'vdi', '-F', 'raw', path, raw);
      assert.equal(compared, 'Images are identical.\n', what);
      await tool('qemu-img', 'check', '-f', 'vdi', path);
    }
  }
});

/** Asserts what VirtualBox checks on opening and before it writes (VDI.cpp), on a file made with its defaults. */
function assertVirtualBoxOpens(file: Uint8Array, subformat: string, sizeBytes: number): void {
  const view = viewOf(file);
  const u32 = (at: number) => view.getUint32(at, true);
  const blockCount = Math.ceil(sizeBytes / MIB);
  assert.equal(u32(64), 0xbeda107f, 'signature');
  assert.equal(u32(68), 0x00010001, 'version');
  assert.equal(u32(72), 400, 'header of version 1.1+');
  assert.equal(u32(76), subformat === 'fixed' ? 2 : 1, 'type');
  assert.equal(u32(80), 0, 'flags');
  assert.ok(
    file.subarray(84, 340).every((byte) => byte === 0),
    'comment',
  );
  assert.equal(u32(340), MIB, 'offBlocks');
  assert.equal(u32(344) % MIB, 0, 'offData is aligned');
  assert.ok(u32(344) >= MIB + blockCount * 4, 'the map ends before the data');
  assert.equal(u32(360), 512, 'sector size of the legacy geometry (qemu)');
  assert.equal(view.getBigUint64(368, true), BigInt(sizeBytes), 'cbDisk');
  assert.equal(u32(376), MIB, 'cbBlock');
  assert.equal(u32(380), 0, 'cbBlockExtra');
  assert.equal(u32(384), blockCount, 'cBlocks');
  const uuids = [392, 408, 424, 440].map((at) => file.subarray(at, at + 16));
  const isNull = uuids.map((uuid) => uuid.every((byte) => byte === 0));
  assert.deepEqual(isNull, [false, false, true, true], 'UUIDs are set, links are not');
  for (const uuid of uuids.slice(0, 2)) {
    assert.equal((uuid[7] ?? 0) >> 4, 4, 'version 4, in the third field, which is little endian');
    assert.equal((uuid[8] ?? 0) >> 6, 2, 'variant');
  }
  assert.deepEqual([456, 460, 464, 468].map(u32), [0, 0, 0, 512], 'LCHS geometry is left to VirtualBox');
  const positions = Array.from({ length: blockCount }, (_, block) => u32(MIB + block * 4));
  const used = positions.filter((position) => position < 0xfffffffe);
  assert.deepEqual(used, Array.from(used.keys()), 'positions are in guest order without gaps');
  assert.equal(u32(388), used.length, 'cBlocksAllocated');
  if (subformat === 'fixed') assert.equal(used.length, blockCount, 'a fixed image has every block');
  assert.equal(file.length, u32(344) + used.length * MIB, 'the file ends with the last block');
}

test('our files hold to what VirtualBox asks of an image', async () => {
  for (const [, sizeBytes, runs, subformats] of golden.filter(([, size]) => size < GIB)) {
    for (const subformat of subformats) {
      const disk = patternDisk(sizeBytes, runs);
      const file = await layoutBytes(await planLayout(vdi, disk, { subformat }), disk);
      assertVirtualBoxOpens(file, subformat, sizeBytes);
    }
  }
});

test('our reader sees the disk again, and our check finds nothing', async () => {
  for (const [, sizeBytes, runs, subformats] of golden.filter(([, size]) => size < GIB)) {
    for (const subformat of subformats) {
      const disk = patternDisk(sizeBytes, runs);
      const view = viewOfLayout(await planLayout(vdi, disk, { subformat }), disk);
      const again = await openBytes(vdi, await sourceBytes(view));
      assertSameBytes(await diskBytes(again), await diskBytes(disk));
      assert.deepEqual(again.warnings, []);
      assert.deepEqual((await checkVdi(view, { references: denyReferences })).findings, []);
    }
  }
});

test('any range of a file is the slice of the whole, and a second plan gives the same bytes', async () => {
  const disk = patternDisk(6 * MIB, [
    [MIB + 5000, 20000],
    [3 * MIB, 2 * MIB + 7],
  ]);
  for (const subformat of ['dynamic', 'fixed']) {
    const whole = await layoutBytes(await planLayout(vdi, disk, { subformat }), disk);
    const view = viewOfLayout(await planLayout(vdi, disk, { subformat }), disk);
    assertSameBytes(await sourceBytes(view), whole);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length), fc.nat(100_000), async (from, length) => {
        const part = new Uint8Array(Math.min(length, whole.length - from)).fill(0x77);
        await view.read(from, part);
        assertSameBytes(part, whole.subarray(from, from + part.length));
      }),
      { numRuns: 100 },
    );
  }
});

test('another seed changes the two UUIDs and nothing else', async () => {
  const disk = patternDisk(MIB, []);
  const one = await layoutBytes(await planLayout(vdi, disk), disk);
  const two = await layoutBytes(await planLayout(vdi, disk, {}, new Uint8Array(32).fill(1)), disk);
  for (const at of [392, 408]) {
    assert.notDeepEqual(one.subarray(at, at + 16), two.subarray(at, at + 16));
    two.set(one.subarray(at, at + 16), at);
  }
  assertSameBytes(two, one);
});

test('a size that is no whole number of sectors is rounded up', async () => {
  const disk = patternDisk(MIB + 1, [[MIB, 1]]);
  const again = await openBytes(vdi, await layoutBytes(await planLayout(vdi, disk), disk));
  assert.equal(again.virtualSizeBytes, MIB + 512);
});

test('1 TiB with little data is planned, opened and mapped without its holes', async () => {
  const runs: Runs = [
    [5 * GIB, 100],
    [700 * GIB, 3 * MIB],
    [TIB - 512, 512],
  ];
  const disk = patternDisk(TIB, runs);
  const layout = await planLayout(vdi, disk);
  assert.equal(layout.lengthBytes, 5 * MIB + 5 * MIB);
  const again = await vdi.open(viewOfLayout(layout, disk), { references: denyReferences });
  const extents = await Array.fromAsync(again.extents(0, TIB));
  assert.deepEqual(
    extents
      .filter(({ kind }) => kind === 'data')
      .map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
    [
      [5 * GIB, MIB],
      [700 * GIB, 3 * MIB],
      [TIB - MIB, MIB],
    ],
  );
});

test('a whole run of blocks is one piece', async () => {
  const layout = await planLayout(vdi, patternDisk(64 * GIB, [[GIB, 50 * GIB]]));
  const pieces = [...layout.pieces(2 * MIB, layout.lengthBytes)];
  assert.deepEqual(pieces, [{ kind: 'disk', offsetBytes: GIB, lengthBytes: 50 * GIB }]);
});

test('an empty disk, one above 64 TiB and an unknown subformat are refused', async () => {
  await assert.rejects(planLayout(vdi, patternDisk(0, [])), { code: 'IMAGE_LIMIT' });
  await assert.rejects(planLayout(vdi, patternDisk(64 * TIB + 1, [])), { code: 'IMAGE_LIMIT' });
  const sparse = planLayout(vdi, patternDisk(MIB, []), { subformat: 'sparse' });
  await assert.rejects(sparse, { code: 'IMAGE_OPTION' });
});
