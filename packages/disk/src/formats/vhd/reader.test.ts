import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { KIB, MIB } from '../../bytes/numbers.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import {
  assertExtentsTellTheTruth,
  assertSameBytes,
  diskBytes,
  openBytes,
  openFile,
  recordingSource,
  testFolder,
  tool,
  writeRaw,
} from '../images.testkit.ts';
import { probeFormat } from '../probe.ts';
import { vhd } from './format.ts';
import {
  BLOCK_BYTES,
  BLOCKS_OFFSET,
  fixedVhd,
  guestBytes,
  STRIDE_BYTES,
  storedByte,
  UNUSED,
  vhdFile,
} from './vhd.testkit.ts';

test('files that qemu-img makes, dynamic and fixed, are read as the disk', async (t) => {
  const folder = await testFolder(t);
  const raw = join(folder, 'disk.raw');
  await writeRaw(raw, 9 * MIB + 512, [
    [512, 1000],
    [3 * MIB - 5000, 2 * MIB],
    [9 * MIB, 512],
  ]);
  const expected = await readFile(raw);
  for (const subformat of ['dynamic', 'fixed']) {
    for (const forceSize of ['on', 'off']) {
      const path = join(folder, 'disk.vhd');
      const options = `subformat=${subformat},force_size=${forceSize}`;
      await tool('qemu-img', 'convert', '-f', 'raw', '-O', 'vpc', '-o', options, raw, path);
      const disk = await openFile(t, vhd, path);
      assert.equal(disk.details.diskType, subformat);
      assert.deepEqual(disk.warnings, []);
      // Without force_size qemu-img rounds up to a whole geometry.
      const padded = new Uint8Array(disk.virtualSizeBytes);
      padded.set(expected);
      assert.equal(disk.virtualSizeBytes === expected.length, forceSize === 'on');
      assertSameBytes(await diskBytes(disk), padded, options);
      await assertExtentsTellTheTruth(disk);
    }
  }
});

test('a fixed image is known by the footer at its end, of 512 or 511 bytes', async () => {
  const content = new Uint8Array(70 * KIB).map((_, i) => i % 251);
  for (const footerBytes of [512, 511] as const) {
    const file = fixedVhd(content, { footerBytes });
    assert.equal((await probeFormat(memorySource(file))).name, 'vhd');
    const disk = await openBytes(vhd, file);
    assert.deepEqual(disk.warnings, []);
    assertSameBytes(await diskBytes(disk), content);
  }
});

test('a dynamic image with a footer of 511 bytes is read', async () => {
  const disk = await openBytes(vhd, vhdFile({ footerBytes: 511 }));
  assert.deepEqual(disk.warnings, []);
  assertSameBytes(await diskBytes(disk), guestBytes([1, UNUSED, 0, UNUSED]));
});

test('a dynamic image without a footer, or with a damaged one, is read by its copy and with a warning', async () => {
  const damaged = vhdFile();
  damaged.fill(0x55, damaged.length - 100);
  for (const file of [vhdFile({ footerBytes: 0 }), damaged]) {
    const disk = await openBytes(vhd, file);
    assert.equal(disk.warnings.length, 1);
    assertSameBytes(await diskBytes(disk), guestBytes([1, UNUSED, 0, UNUSED]));
  }
});

test('the footer goes before a copy that says otherwise, is damaged or is missing, with a warning', async () => {
  const copies = [
    vhdFile({ currentSize: 1024n }).subarray(0, 512),
    new Uint8Array(512),
    vhdFile().subarray(1, 513),
  ];
  for (const copy of copies) {
    const file = vhdFile();
    file.set(copy);
    const disk = await openBytes(vhd, file);
    assert.equal(disk.virtualSizeBytes, 4 * BLOCK_BYTES);
    assert.equal(disk.warnings.length, 1);
    assertSameBytes(await diskBytes(disk), guestBytes([1, UNUSED, 0, UNUSED]));
  }
});

test('the disk is as large as the current size says, whatever the geometry names', async () => {
  const disk = await openBytes(vhd, vhdFile({ currentSize: BigInt(4 * BLOCK_BYTES - 512) }));
  assert.equal(disk.virtualSizeBytes, 4 * BLOCK_BYTES - 512);
  assert.equal(disk.details.creatorApplication, 'vpc ');
  assert.equal(disk.details.diskGeometry, '100/4/17');
  assert.equal(disk.details.chsSizeBytes, 100 * 4 * 17 * 512);
});

test('any range is the slice of the whole disk', async () => {
  const table = [2, 3, 4, UNUSED, 0, 1, UNUSED, UNUSED, 5];
  const disk = await openBytes(vhd, vhdFile({ table }));
  const whole = guestBytes(table);
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length), fc.nat(3 * BLOCK_BYTES), async (from, length) => {
      const part = new Uint8Array(Math.min(length, whole.length - from)).fill(0x77);
      await disk.read(from, part);
      assertSameBytes(part, whole.subarray(from, from + part.length));
    }),
    { numRuns: 200 },
  );
});

test('sectors whose bit is 0 read as zeros, in any range, and a warning says once that they hold data', async () => {
  const table = [0, 1, UNUSED, 2];
  const whole = guestBytes(table);
  // Bits of every byte: 1010 0101, so the 2nd, 4th, 5th and 7th of eight sectors are unused.
  for (let sector = 0; sector < BLOCK_BYTES / 512; sector++) {
    if (![0, 2, 5, 7].includes(sector % 8)) {
      whole.fill(0, BLOCK_BYTES + sector * 512, BLOCK_BYTES + sector * 512 + 512);
    }
  }
  const disk = await openBytes(vhd, vhdFile({ table, bitmaps: { 1: 0b1010_0101 } }));
  assert.deepEqual(disk.warnings, []);
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length), fc.nat(2 * BLOCK_BYTES), async (from, length) => {
      const part = new Uint8Array(Math.min(length, whole.length - from)).fill(0x77);
      await disk.read(from, part);
      assertSameBytes(part, whole.subarray(from, from + part.length));
    }),
    { numRuns: 200 },
  );
  assert.equal(disk.warnings.length, 1);
  assert.match(disk.warnings[0] ?? '', /^block 1 /);
});

test('sectors whose bit is 0 and that hold zeros anyway are no reason to warn', async () => {
  const file = vhdFile({ table: [0], bitmaps: { 0: 0 } });
  file.fill(0, BLOCKS_OFFSET + 512, BLOCKS_OFFSET + STRIDE_BYTES);
  const disk = await openBytes(vhd, file);
  assertSameBytes(await diskBytes(disk), new Uint8Array(BLOCK_BYTES));
  assert.deepEqual(disk.warnings, []);
});

test('bits of sectors beyond the end of the disk mean nothing', async () => {
  const file = vhdFile({ table: [0], currentSize: 512n * 3n });
  file.fill(0, BLOCKS_OFFSET, BLOCKS_OFFSET + 512);
  file[BLOCKS_OFFSET] = 0b1110_0000;
  assertSameBytes(await diskBytes(await openBytes(vhd, file)), guestBytes([0], 512 * 3));
});

test('a full bitmap is read once, beside the data, and opening reads none', async () => {
  const source = recordingSource(vhdFile({ table: [0, UNUSED] }));
  const disk = await vhd.open(source, { references: denyReferences });
  await Array.fromAsync(disk.extents(0, disk.virtualSizeBytes));
  assert.ok(
    source.reads.every(([offset, length]) => offset + length <= 4096 || offset >= source.lengthBytes - 512),
  );
  source.reads.length = 0;
  await Promise.all([disk.read(0, new Uint8Array(1000)), disk.read(1000, new Uint8Array(2000))]);
  await disk.read(3000, new Uint8Array(BLOCK_BYTES));
  assert.deepEqual(source.reads, [
    [BLOCKS_OFFSET + 512, 1000],
    [BLOCKS_OFFSET, 512],
    [BLOCKS_OFFSET + 1512, 2000],
    [BLOCKS_OFFSET + 3512, BLOCK_BYTES - 3000],
  ]);
});

test('more partly used blocks than the cache keeps are read right', async () => {
  const table = Array.from({ length: 90 }, (_, i) => 89 - i);
  const bitmaps = Object.fromEntries(table.map((position) => [position, 0b0111_1111]));
  const disk = await openBytes(vhd, vhdFile({ table, bitmaps }));
  for (let round = 0; round < 2; round++) {
    for (const [block, position] of table.entries()) {
      const sectors = new Uint8Array(1024);
      await disk.read(block * BLOCK_BYTES, sectors);
      assert.deepEqual([sectors[0], sectors[512]], [0, storedByte(position, 512)]);
    }
  }
});

test('a bitmap that could not be read is read again', async () => {
  const file = memorySource(vhdFile({ table: [0] }));
  let failures = 1;
  const source = {
    ...file,
    async read(offset: number, into: Uint8Array) {
      if (offset === BLOCKS_OFFSET && failures-- > 0) throw new Error('lost');
      await file.read(offset, into);
    },
  };
  const disk = await vhd.open(source, { references: denyReferences });
  await assert.rejects(diskBytes(disk), /lost/);
  assertSameBytes(await diskBytes(disk), guestBytes([0]));
});

test('a saved state and a size that is no whole number of sectors are told', async () => {
  const disk = await openBytes(vhd, vhdFile({ savedState: 1, currentSize: 1000n }));
  assert.equal(disk.warnings.length, 2);
});

test('bytes between a fixed disk and its footer are ignored with a warning', async () => {
  const disk = await openBytes(vhd, fixedVhd(new Uint8Array(2048).fill(9), { currentSize: 1024n }));
  assert.equal(disk.virtualSizeBytes, 1024);
  assert.equal(disk.warnings.length, 1);
});
