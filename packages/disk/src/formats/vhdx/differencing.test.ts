import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MIB } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences, type ResolvedReference, suppliedReferences } from '../../disk/reference-gate.ts';
import { memorySource } from '../../io/memory.ts';
import { assertExtentsTellTheTruth, assertSameBytes, diskBytes } from '../images.testkit.ts';
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';
import { vhdx } from './format.ts';
import {
  BLOCKS,
  DATA_WRITE_GUID,
  guestBytes,
  type StoredBlock,
  setEntry,
  storedByte,
  type VhdxFields,
  vhdxFile,
} from './vhdx.testkit.ts';

const linkage = ['parent_linkage', `{${DATA_WRITE_GUID.toUpperCase()}}`] as const;
const relative = ['relative_path', '..\\base\\parent.vhdx'] as const;
const absolute = ['absolute_win32_path', 'C:\\base\\parent.vhdx'] as const;
const CHUNK = 4096;

/** A differencing disk of up to one chunk; the entry behind the chunk is its sector bitmap, at this MiB. */
function childFields(blocks: readonly (StoredBlock | number)[], bitmapAt?: number): VhdxFields {
  const rest = Array.from({ length: CHUNK - blocks.length }, () => 0);
  const bitmap = bitmapAt === undefined ? 0 : { at: bitmapAt };
  return {
    table: [...blocks, ...rest, bitmap],
    diskSize: blocks.length * MIB,
    locator: [linkage, relative, absolute],
    dataWriteGuid: '99999999-2222-4333-8444-555555555555',
  };
}

async function openOver(
  child: Uint8Array,
  parent: Uint8Array,
  name: string = relative[1],
  format?: string,
): Promise<Disk> {
  const open = async (): Promise<ResolvedReference> => ({
    source: memorySource(parent, 'parent.vhdx'),
    format,
  });
  const references = suppliedReferences(new Map([[name, open]]));
  return vhdx.open(memorySource(child, 'child.vhdx'), { references });
}

const parentFields: VhdxFields = { table: [{ at: 0 }, { at: 1 }, { at: 2 }, { at: 3 }, 0, 2] };
const parent = vhdxFile(parentFields);
const parentBytes = guestBytes(parentFields);

test('blocks that are not there show the parent, blocks without content hide it', async () => {
  const disk = await openOver(vhdxFile(childFields([0, 1, 2, { at: 0 }, 3, 5])), parent);
  const expected = parentBytes.slice();
  expected.fill(0, MIB, 3 * MIB);
  for (let at = 0; at < MIB; at += 512) expected.fill(storedByte(0, at), 3 * MIB + at, 3 * MIB + at + 512);
  assertSameBytes(await diskBytes(disk), expected);
  assert.equal(disk.details.type, 'differencing');
  assert.equal(disk.details.parent, relative[1]);
  const kinds = (await Array.fromAsync(disk.extents(0, 6 * MIB))).map(({ kind }) => kind);
  assert.deepEqual(kinds, ['data', 'zero', 'data', 'zero']);
  await assertExtentsTellTheTruth(disk);
  await assertRunsTellTheTruth(disk);
  await disk.close();
});

test('sectors with a bit are the image’s own, the lowest bit is the first sector', async () => {
  const file = vhdxFile(childFields([0, { at: 0, state: 7 }, 0, 0, { at: 1, state: 7 }, 0], 2));
  const bitmap = BLOCKS + 2 * MIB;
  file.fill(0, bitmap, bitmap + MIB);
  // 2048 sectors of block 1 take 256 bytes, from byte 256 on.
  file[bitmap + 256] = 0x01;
  file[bitmap + 256 + 7] = 0x80;
  file[bitmap + 4 * 256] = 0xff;
  const disk = await openOver(file, parent);
  const expected = parentBytes.slice();
  const own = (block: number, at: number, sector: number) =>
    expected.fill(storedByte(at, sector * 512), block * MIB + sector * 512, block * MIB + sector * 512 + 512);
  own(1, 0, 0);
  own(1, 0, 63);
  for (let sector = 0; sector < 8; sector++) own(4, 1, sector);
  assertSameBytes(await diskBytes(disk), expected);
  await assertExtentsTellTheTruth(disk);
  await assertRunsTellTheTruth(disk);
  await assertRunsTellTheTruth(disk, MIB + 100, 4 * MIB + 700);
});

test('with sectors of 4096 bytes a bit stands for as many', async () => {
  // 2^23 sectors of 4096 bytes are 512 blocks of 64 MiB.
  const table = [{ at: 0, state: 7 }, ...Array.from({ length: 511 }, () => 0), 0];
  const fields: VhdxFields = { ...childFields([0]), blockSize: 64 * MIB, logicalSector: 4096, table };
  const file = vhdxFile({ ...fields, diskSize: 4 * MIB, storedMib: 5 });
  const bitmap = BLOCKS + 4 * MIB;
  setEntry(file, 512, 6, bitmap);
  file.fill(0, bitmap, bitmap + MIB);
  file[bitmap] = 0x02;
  const disk = await openOver(file.subarray(0, BLOCKS + 5 * MIB), parent).catch((error) => error);
  // The block's place reaches over its own bitmap: the disk shows 4 MiB of it, and it is 64 MiB long.
  assert.equal(disk.code, 'IMAGE_MALFORMED');
  const apart = new Uint8Array(BLOCKS + 65 * MIB);
  apart.set(file.subarray(0, BLOCKS), 0);
  apart.set(file.subarray(BLOCKS, BLOCKS + MIB), BLOCKS + MIB);
  setEntry(apart, 0, 7, BLOCKS + MIB);
  setEntry(apart, 512, 6, BLOCKS);
  apart[BLOCKS] = 0x02;
  const opened = await openOver(apart, parent);
  const expected = parentBytes.slice(0, 4 * MIB);
  for (let at = 4096; at < 8192; at += 512) expected.fill(storedByte(0, at), at, at + 512);
  assertSameBytes(await diskBytes(opened), expected);
});

test('any bitmap and any range show what the bits say', async () => {
  const blocks = [0, { at: 0, state: 7 }, { at: 1, state: 7 }, 0];
  const bytes = fc.uint8Array({ minLength: 512, maxLength: 512 });
  const runs = fc.constantFrom(0x00, 0xff, undefined);
  await fc.assert(
    fc.asyncProperty(bytes, runs, fc.nat(3 * MIB), fc.nat(MIB), async (bits, fill, from, length) => {
      const file = vhdxFile(childFields(blocks, 2));
      const bitmap = BLOCKS + 2 * MIB;
      if (fill !== undefined) bits.fill(fill, 100, 400);
      file.set(bits, bitmap + 256);
      const expected = parentBytes.slice(0, 4 * MIB);
      for (let sector = 0; sector < 4096; sector++) {
        if (((bits[Math.floor(sector / 8)] ?? 0) & (1 << (sector % 8))) === 0) continue;
        const value = storedByte(Math.floor(sector / 2048), (sector % 2048) * 512);
        expected.fill(value, MIB + sector * 512, MIB + sector * 512 + 512);
      }
      const disk = await openOver(file, parent);
      assertSameBytes(await diskBytes(disk), expected);
      const part = new Uint8Array(length);
      await disk.read(from, part);
      assertSameBytes(part, expected.subarray(from, from + length));
      await assertExtentsTellTheTruth(disk);
    }),
    { numRuns: 10 },
  );
});

test('behind a parent that is shorter are zeros', async () => {
  const disk = await openOver(vhdxFile(childFields([0, 0, 0, 0, 0, 0, 0, { at: 0 }])), parent);
  const bytes = await diskBytes(disk);
  assertSameBytes(bytes.subarray(0, 6 * MIB), parentBytes);
  assert.ok(bytes.subarray(6 * MIB, 7 * MIB).every((byte) => byte === 0));
  await assertRunsTellTheTruth(disk);
});

test('a chain of three is read through', async () => {
  const middle = vhdxFile({
    ...childFields([{ at: 0 }, 0, 2, 0, 0, 0]),
    dataWriteGuid: '77777777-2222-4333-8444-555555555555',
  });
  const top = vhdxFile({
    ...childFields([0, 0, 0, { at: 0 }, 0, 0]),
    locator: [['parent_linkage2', '{77777777-2222-4333-8444-555555555555}'], absolute],
  });
  const opener = (bytes: Uint8Array, name: string) => async (): Promise<ResolvedReference> => ({
    source: memorySource(bytes, name),
  });
  const references = suppliedReferences(
    new Map([
      [absolute[1], opener(middle, 'middle')],
      [relative[1], opener(parent, 'parent')],
    ]),
  );
  const disk = await vhdx.open(memorySource(top, 'top'), { references });
  const expected = parentBytes.slice();
  expected.fill(0, 2 * MIB, 3 * MIB);
  for (let at = 0; at < MIB; at += 512) {
    expected.fill(storedByte(0, at), at, at + 512);
    expected.fill(storedByte(0, at), 3 * MIB + at, 3 * MIB + at + 512);
  }
  assertSameBytes(await diskBytes(disk), expected);
  await assertRunsTellTheTruth(disk);
});

test('the parent is asked for by the name in the image, and closed with the disk', async () => {
  const child = vhdxFile(childFields([0, 0]));
  await assert.rejects(vhdx.open(memorySource(child), { references: denyReferences }), {
    code: 'IMAGE_REFERENCE',
    message: /parent, "\.\.\\\\base\\\\parent\.vhdx"/,
  });
  let closed = 0;
  const source = { ...memorySource(parent, 'p'), close: async () => void closed++ };
  const references = suppliedReferences(new Map([[relative[1], async () => ({ source })]]));
  const disk = await vhdx.open(memorySource(child), { references });
  assert.equal(closed, 0);
  await disk.close();
  assert.equal(closed, 1);
});

test('a parent that is another file, of another format or the image itself is refused', async () => {
  const child = vhdxFile(childFields([0, 0]));
  const other = vhdxFile({ ...parentFields, dataWriteGuid: '55555555-2222-4333-8444-555555555555' });
  await assert.rejects(openOver(child, other), { code: 'IMAGE_REFERENCE', message: /DataWriteGuid/ });
  await assert.rejects(openOver(child, parent, relative[1], 'raw'), { code: 'IMAGE_REFERENCE' });
  const references = suppliedReferences(
    new Map([[relative[1], async () => ({ source: memorySource(child, 'child.vhdx') })]]),
  );
  const opened = vhdx.open(memorySource(child, 'child.vhdx'), { references });
  await assert.rejects(opened, { code: 'IMAGE_REFERENCE', message: /comes back/ });
});

test('an image that is its own parent by its GUID, too, ends', async () => {
  const child = vhdxFile({ ...childFields([0]), dataWriteGuid: DATA_WRITE_GUID });
  let count = 0;
  const references = {
    resolve: async () => ({ source: memorySource(child, `copy ${count++}`) }),
  };
  await assert.rejects(vhdx.open(memorySource(child, 'first'), { references }), { code: 'IMAGE_REFERENCE' });
  assert.ok(count < 100);
});
