import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIB } from '../../bytes/numbers.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import { openEndedSource } from '../../io/forward.ts';
import {
  assertSameBytes,
  diskBytes,
  layoutBytes,
  openBytes,
  patternDisk,
  planLayout,
} from '../images.testkit.ts';
import { assertArrivesAs, readArriving } from '../sequential.testkit.ts';
import { vhd } from './format.ts';
import { BLOCK_BYTES, fixedVhd, guestBytes, UNUSED, type VhdFields, vhdFile } from './vhd.testkit.ts';

/** Less than the disks here, more than one read and what stands beside it. */
const limits = { headBytes: 16 * 1024, windowBytes: 3 * BLOCK_BYTES };
const table = [0, 1, UNUSED, 2, 3, UNUSED, UNUSED, 4, 5, 6, 7, 8];

test('a dynamic disk arrives front to back, and its end is not asked for before', async () => {
  await assertArrivesAs(vhd, vhdFile({ table }), guestBytes(table), limits);
  await assertArrivesAs(vhd, vhdFile({ table, footerBytes: 511 }), guestBytes(table), limits);
  const partly = vhdFile({ table, bitmaps: { 3: 0x0f } });
  await assertArrivesAs(vhd, partly, await diskBytes(await openBytes(vhd, partly)), limits);
});

test('a missing end is told as it is of a file that is there', async () => {
  const { disk } = await readArriving(vhd, vhdFile({ table, footerBytes: 0 }), limits);
  assert.equal(disk.warnings.length, 1);
});

test('blocks far out of their order cannot be read while they arrive', async () => {
  const file = vhdFile({ table: [8, 1, 2, 3, 4, 5, 6, 7, 0] });
  await assert.rejects(readArriving(vhd, file, limits), { code: 'IMAGE_NOT_SEQUENTIAL' });
});

test('a fixed disk arrives, its size known from the length of the file', async () => {
  const content = Uint8Array.from({ length: MIB + 512 }, (_, i) => (i * 7) % 251);
  await assertArrivesAs(vhd, fixedVhd(content), content, limits);
  const disk = patternDisk(MIB, [[5000, 70_000]]);
  const file = await layoutBytes(await planLayout(vhd, disk, { subformat: 'fixed' }), disk);
  await assertArrivesAs(vhd, file, await diskBytes(disk), limits);
});

test('a fixed disk whose footer says otherwise is refused at its end', async () => {
  const content = new Uint8Array(MIB).fill(7);
  const cases: readonly (readonly [Uint8Array, string])[] = [
    [fixedVhd(content, { currentSize: BigInt(MIB - 512) }), 'IMAGE_NOT_SEQUENTIAL'],
    [fixedVhd(content, { footerBytes: 511 }), 'IMAGE_NOT_SEQUENTIAL'],
    [content, 'IMAGE_MALFORMED'],
    [vhdFile({ table }).subarray(512), 'IMAGE_NOT_SEQUENTIAL'],
  ];
  for (const [file, code] of cases) await assert.rejects(readArriving(vhd, file, limits), { code });
  await assert.rejects(readArriving(vhd, new Uint8Array(512), limits), { code: 'IMAGE_TRUNCATED' });
});

test('a guest that writes a dynamic disk to the start of a fixed one is found out at its end', async () => {
  const inner = vhdFile({ table: [0, UNUSED] });
  const content = new Uint8Array(MIB);
  content.set(inner);
  const otherEnds: readonly Uint8Array[] = [
    fixedVhd(content),
    Buffer.concat([inner.subarray(0, -512), vhdFile({ uniqueId: 9 }).subarray(-512)]),
  ];
  for (const file of otherEnds) {
    const wide = { ...limits, windowBytes: 2 * MIB };
    await assert.rejects(readArriving(vhd, file, wide), { code: 'IMAGE_MALFORMED' });
  }
});

test('what stands between the last block and the footer is let go by', async () => {
  const file = vhdFile({ table });
  const longer = Buffer.concat([file.subarray(0, -512), new Uint8Array(20 * MIB), file.subarray(-512)]);
  await assertArrivesAs(vhd, longer, guestBytes(table), { ...limits, windowBytes: 9 * MIB });
});

test('a damaged copy of the footer leaves nothing to go by', async () => {
  const file = vhdFile({ table });
  file[30] = 0xff;
  await assert.rejects(readArriving(vhd, file, limits), { code: 'IMAGE_NOT_SEQUENTIAL' });
});

test('a block that lies over the footer is refused when the footer arrives', async () => {
  const fields: VhdFields = { table: [0, 1, UNUSED] };
  const file = vhdFile(fields);
  const cut = Buffer.concat([file.subarray(0, -1024), file.subarray(-512)]);
  await assert.rejects(readArriving(vhd, cut, limits), { code: 'IMAGE_TRUNCATED' });
});

test('a pipe whose length nobody said gives a dynamic disk, and cannot give a fixed one', async () => {
  async function* pipe(file: Uint8Array): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < file.length; at += 50_000) yield file.subarray(at, at + 50_000);
  }
  const read = async (file: Uint8Array) => {
    const source = await openEndedSource(pipe(file), 'pipe');
    const disk = await vhd.open(source, { references: denyReferences });
    const content = await diskBytes(disk);
    await disk.drain?.();
    return content;
  };
  assertSameBytes(await read(vhdFile({ table })), guestBytes(table));
  await assert.rejects(read(vhdFile({ table }).slice(0, -5000)), { code: 'IMAGE_TRUNCATED' });
  await assert.rejects(read(fixedVhd(new Uint8Array(MIB))), { code: 'IMAGE_NOT_SEQUENTIAL' });
});
