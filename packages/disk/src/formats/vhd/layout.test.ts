import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { latin1Text, viewOf } from '../../bytes/fields.ts';
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
import { checkVhd } from './check.ts';
import { checksumOf } from './footer.ts';
import { vhd } from './format.ts';
import { geometryOf } from './geometry.ts';

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
    9 * MIB + 512,
    [
      [1700 * KIB, MIB],
      [6 * MIB, 100],
      [9 * MIB, 512],
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

test('qemu-img and libvhdi read our files as the disk, to its exact size', async (t) => {
  const folder = await testFolder(t);
  for (const [what, sizeBytes, runs, subformats] of golden) {
    const raw = join(folder, 'disk.raw');
    await writeRaw(raw, sizeBytes, runs);
    for (const subformat of subformats) {
      const disk = patternDisk(sizeBytes, runs);
      const path = join(folder, 'disk.vhd');
      await writeLayoutFile(path, await planLayout(vhd, disk, { subformat }), disk);
      const compared = await tool('qemu-img', 'compare', '-f', 'vpc', '-F', 'raw', path, raw);
      assert.equal(compared, 'Images are identical.\n', what);
      const info = await tool('vhdiinfo', path);
      assert.match(info, new RegExp(`Disk type\\s*: ${subformat}`, 'i'), what);
      assert.match(info, new RegExp(`Media size\\s*: .*\\b${sizeBytes} bytes`), what);
    }
  }
});

/** Asserts what VirtualBox (VHD.cpp), Hyper-V and Azure ask of the footer. */
function assertFooter(footer: Uint8Array, subformat: string, sizeBytes: number): void {
  const view = viewOf(footer);
  assert.equal(latin1Text(footer.subarray(0, 8)), 'conectix', 'cookie');
  assert.equal(view.getUint32(8), 2, 'features');
  assert.equal(view.getUint32(12), 0x00010000, 'file format version');
  assert.equal(view.getBigUint64(16), subformat === 'fixed' ? 2n ** 64n - 1n : 512n, 'data offset');
  assert.equal(
    latin1Text(footer.subarray(28, 32)),
    'win ',
    'a creator whose current size every program takes',
  );
  assert.equal(latin1Text(footer.subarray(36, 40)), 'Wi2k', 'creator host OS');
  assert.equal(view.getBigUint64(40), BigInt(sizeBytes), 'original size');
  assert.equal(view.getBigUint64(48), BigInt(sizeBytes), 'current size');
  const { cylinders, heads, sectorsPerTrack } = geometryOf(sizeBytes / 512);
  assert.deepEqual(
    [view.getUint16(56), view.getUint8(58), view.getUint8(59)],
    [cylinders, heads, sectorsPerTrack],
  );
  assert.equal(view.getUint32(60), subformat === 'fixed' ? 2 : 3, 'disk type');
  assert.equal(view.getUint32(64), checksumOf(footer, 64), 'checksum');
  assert.ok(
    footer.subarray(68, 84).some((byte) => byte !== 0),
    'unique id',
  );
  assert.ok(
    footer.subarray(84).every((byte) => byte === 0),
    'no saved state, reserved bytes are zero',
  );
}

/** Asserts what VirtualBox, XenServer (vhd-lib) and Azure ask of a dynamic disk around its footer. */
function assertDynamic(file: Uint8Array, sizeBytes: number): void {
  assertSameBytes(file.subarray(0, 512), file.subarray(file.length - 512), 'the copy of the footer');
  const view = viewOf(file);
  const blockCount = Math.ceil(sizeBytes / (2 * MIB));
  assert.equal(latin1Text(file.subarray(512, 520)), 'cxsparse', 'header cookie');
  assert.equal(view.getBigUint64(520), 2n ** 64n - 1n, 'header data offset');
  assert.equal(view.getBigUint64(528), 1536n, 'table offset');
  assert.equal(view.getUint32(536), 0x00010000, 'header version');
  assert.equal(view.getUint32(540), blockCount, 'the table has exactly the entries that the disk needs');
  assert.equal(view.getUint32(544), 2 * MIB, 'block size');
  assert.equal(view.getUint32(548), checksumOf(file.subarray(512, 1536), 36), 'header checksum');
  assert.ok(
    file.subarray(552, 1536).every((byte) => byte === 0),
    'no parent',
  );
  const tableEnd = 1536 + Math.ceil((blockCount * 4) / 512) * 512;
  assert.ok(
    file.subarray(1536 + blockCount * 4, tableEnd).every((byte) => byte === 0xff),
    'table padding',
  );
  let previousEnd = tableEnd;
  for (let block = 0; block < blockCount; block++) {
    const sector = view.getUint32(1536 + block * 4);
    if (sector === 0xffffffff) continue;
    const bitmap = sector * 512;
    assert.ok(bitmap >= previousEnd, 'blocks follow the table and each other, in guest order');
    assert.equal((bitmap + 512) % 4096, 0, 'block data is aligned to 4 KiB');
    assert.ok(
      file.subarray(bitmap, bitmap + 512).every((byte) => byte === 0xff),
      'every sector is used',
    );
    previousEnd = bitmap + 512 + 2 * MIB;
  }
  assert.ok(file.length - 512 - previousEnd < 4096, 'the footer follows the last block');
}

test('our files hold to what VirtualBox, Hyper-V, XenServer and Azure ask of an image', async () => {
  for (const [, sizeBytes, runs, subformats] of golden.filter(([, size]) => size < GIB)) {
    for (const subformat of subformats) {
      const disk = patternDisk(sizeBytes, runs);
      const file = await layoutBytes(await planLayout(vhd, disk, { subformat }), disk);
      assertFooter(file.subarray(file.length - 512), subformat, sizeBytes);
      if (subformat === 'dynamic') assertDynamic(file, sizeBytes);
      else assert.equal(file.length, sizeBytes + 512, 'a fixed image is the disk and the footer');
    }
  }
});

test('our reader sees the disk again, and our check finds nothing', async () => {
  for (const [, sizeBytes, runs, subformats] of golden.filter(([, size]) => size < GIB)) {
    for (const subformat of subformats) {
      const disk = patternDisk(sizeBytes, runs);
      const view = viewOfLayout(await planLayout(vhd, disk, { subformat }), disk);
      const again = await openBytes(vhd, await sourceBytes(view));
      assertSameBytes(await diskBytes(again), await diskBytes(disk));
      assert.deepEqual(again.warnings, []);
      assert.deepEqual((await checkVhd(view, { references: denyReferences })).findings, []);
    }
  }
});

test('any range of a file is the slice of the whole, and a second plan gives the same bytes', async () => {
  const disk = patternDisk(9 * MIB + 512, [
    [MIB + 5000, 20000],
    [5 * MIB, 2 * MIB + 7],
  ]);
  for (const subformat of ['dynamic', 'fixed']) {
    const whole = await layoutBytes(await planLayout(vhd, disk, { subformat }), disk);
    const view = viewOfLayout(await planLayout(vhd, disk, { subformat }), disk);
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

test('another seed changes the unique id and its checksum and nothing else', async () => {
  const disk = patternDisk(MIB, []);
  const one = await layoutBytes(await planLayout(vhd, disk), disk);
  const two = await layoutBytes(await planLayout(vhd, disk, {}, new Uint8Array(32).fill(1)), disk);
  for (const footer of [0, one.length - 512]) {
    assert.notDeepEqual(one.subarray(footer + 68, footer + 84), two.subarray(footer + 68, footer + 84));
    two.set(one.subarray(footer + 64, footer + 84), footer + 64);
  }
  assertSameBytes(two, one);
});

test('sizes are rounded up to a sector, and to a MiB for Azure when asked', async () => {
  const disk = patternDisk(3 * MIB + 1, [[3 * MIB, 1]]);
  for (const subformat of ['dynamic', 'fixed']) {
    for (const [alignment, sizeBytes] of [
      ['512', 3 * MIB + 512],
      ['1M', 4 * MIB],
    ] as const) {
      const layout = await planLayout(vhd, disk, { subformat, size_alignment: alignment });
      const again = await openBytes(vhd, await layoutBytes(layout, disk));
      assert.equal(again.virtualSizeBytes, sizeBytes);
      assertSameBytes((await diskBytes(again)).subarray(0, disk.virtualSizeBytes), await diskBytes(disk));
    }
  }
});

test('a rounded size that needs one more block gets an entry for it', async () => {
  const disk = patternDisk(2 * MIB - 512, []);
  const plain = await openBytes(vhd, await layoutBytes(await planLayout(vhd, disk), disk));
  assert.equal(plain.details.maxTableEntries, 1);
  const larger = patternDisk(2 * MIB + 512, []);
  const layout = await planLayout(vhd, larger, { size_alignment: '1M' });
  const rounded = await openBytes(vhd, await layoutBytes(layout, larger));
  assert.deepEqual([rounded.virtualSizeBytes, rounded.details.maxTableEntries], [3 * MIB, 2]);
});

test('1 TiB with little data is planned, opened and mapped without its holes', async () => {
  const runs: Runs = [
    [5 * GIB, 100],
    [700 * GIB, 3 * MIB],
    [TIB - 512, 512],
  ];
  const disk = patternDisk(TIB, runs);
  const layout = await planLayout(vhd, disk);
  assert.ok(layout.lengthBytes < 11 * MIB);
  const again = await vhd.open(viewOfLayout(layout, disk), { references: denyReferences });
  const extents = await Array.fromAsync(again.extents(0, TIB));
  assert.deepEqual(
    extents
      .filter(({ kind }) => kind === 'data')
      .map(({ offsetBytes, lengthBytes }) => [offsetBytes, lengthBytes]),
    [
      [5 * GIB, 2 * MIB],
      [700 * GIB, 4 * MIB],
      [TIB - 2 * MIB, 2 * MIB],
    ],
  );
  const fixed = await planLayout(vhd, disk, { subformat: 'fixed' });
  assert.equal(fixed.lengthBytes, TIB + 512);
  assert.equal([...fixed.pieces(0, fixed.lengthBytes)].length, 7);
});

test('a full dynamic disk of the largest size fits the sector numbers of its table', async () => {
  const sizeBytes = 2040 * GIB;
  const disk = patternDisk(sizeBytes, [[0, sizeBytes]]);
  const layout = await planLayout(vhd, disk);
  const again = await vhd.open(viewOfLayout(layout, disk), { references: denyReferences });
  const sector = new Uint8Array(512);
  await again.read(sizeBytes - 512, sector);
  const expected = new Uint8Array(512);
  await disk.read(sizeBytes - 512, expected);
  assertSameBytes(sector, expected);
});

test('an empty disk, one that is too large and unknown values are refused', async () => {
  await assert.rejects(planLayout(vhd, patternDisk(0, [])), { code: 'IMAGE_LIMIT' });
  await assert.rejects(planLayout(vhd, patternDisk(2040 * GIB + 1, [])), { code: 'IMAGE_LIMIT' });
  await assert.rejects(planLayout(vhd, patternDisk(64 * TIB + 1, []), { subformat: 'fixed' }), {
    code: 'IMAGE_LIMIT',
  });
  await assert.rejects(planLayout(vhd, patternDisk(MIB, []), { subformat: 'sparse' }), {
    code: 'IMAGE_OPTION',
  });
  await assert.rejects(planLayout(vhd, patternDisk(MIB, []), { size_alignment: '1 MiB' }), {
    code: 'IMAGE_OPTION',
  });
});
