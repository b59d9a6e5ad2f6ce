import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { KIB, MIB } from '../../bytes/numbers.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import type { ByteSource } from '../../io/byte-source.ts';
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
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';
import { vdi } from './format.ts';
import { FREE, guestBytes, oldVdiFile, storedByte, vdiFile, ZERO } from './vdi.testkit.ts';

const BLOCK = 128 * KIB;

test('files that qemu-img makes, dynamic and static, are read as the disk', async (t) => {
  const folder = await testFolder(t);
  const raw = join(folder, 'disk.raw');
  await writeRaw(raw, 9 * MIB + 512, [
    [512, 1000],
    [3 * MIB - 5000, 2 * MIB],
    [9 * MIB, 512],
  ]);
  const expected = await readFile(raw);
  for (const options of ['static=off', 'static=on']) {
    const path = join(folder, `${options}.vdi`);
    await tool('qemu-img', 'convert', '-f', 'raw', '-O', 'vdi', '-o', options, raw, path);
    const disk = await openFile(t, vdi, path);
    assert.equal(disk.details.type, options === 'static=on' ? 'fixed' : 'dynamic');
    assert.deepEqual(disk.warnings, []);
    assertSameBytes(await diskBytes(disk), expected);
    await assertExtentsTellTheTruth(disk);
  }
});

test('short and long headers, every block size and extra bytes are honoured', async () => {
  const map = [1, FREE, 0, ZERO, 2];
  for (const cbHeader of [384, 400]) {
    for (const cbBlock of [128 * KIB, 512 * KIB, MIB, 2 * MIB]) {
      for (const cbBlockExtra of [0, 512, 4096]) {
        const cbDisk = BigInt(map.length * cbBlock - 1536);
        const disk = await openBytes(vdi, vdiFile({ cbHeader, cbBlock, cbBlockExtra, cbDisk, map }));
        assert.deepEqual(disk.warnings, []);
        assert.equal(disk.details.headerSizeBytes, cbHeader);
        assertSameBytes(await diskBytes(disk), guestBytes(map, cbBlock, Number(cbDisk)));
        await assertExtentsTellTheTruth(disk);
      }
    }
  }
});

test('blocks of 8 MiB are read', async () => {
  const disk = await openBytes(vdi, vdiFile({ cbBlock: 8 * MIB, map: [FREE, 0] }));
  const part = new Uint8Array(2 * MIB);
  await disk.read(7 * MIB, part);
  assert.ok(part.subarray(0, MIB).every((byte) => byte === 0));
  assert.equal(part[MIB], storedByte(0, 0));
});

test('any range is the slice of the whole disk', async () => {
  const map = [2, 3, 4, FREE, 0, 1, ZERO, ZERO, 5];
  for (const cbBlockExtra of [0, 512]) {
    const disk = await openBytes(vdi, vdiFile({ map, cbBlockExtra }));
    const whole = guestBytes(map, BLOCK, map.length * BLOCK);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length), fc.nat(3 * BLOCK), async (from, length) => {
        const part = new Uint8Array(Math.min(length, whole.length - from)).fill(0x77);
        await disk.read(from, part);
        assertSameBytes(part, whole.subarray(from, from + part.length));
      }),
      { numRuns: 100 },
    );
  }
});

test('extents name the kind of every block and join those that stand side by side', async () => {
  const disk = await openBytes(vdi, vdiFile({ map: [1, 2, FREE, FREE, ZERO, 0] }));
  assert.deepEqual(await Array.fromAsync(disk.extents(100, 6 * BLOCK - 100)), [
    { offsetBytes: 100, lengthBytes: 2 * BLOCK - 100, kind: 'data' },
    { offsetBytes: 2 * BLOCK, lengthBytes: 2 * BLOCK, kind: 'hole' },
    { offsetBytes: 4 * BLOCK, lengthBytes: BLOCK, kind: 'zero' },
    { offsetBytes: 5 * BLOCK, lengthBytes: BLOCK - 100, kind: 'data' },
  ]);
});

test('blocks that follow each other in the file are one read, holes are none', async () => {
  const source = recordingSource(vdiFile({ map: [1, 2, 3, FREE, 0] }));
  const disk = await vdi.open(source, { references: denyReferences });
  await Array.fromAsync(disk.extents(0, 1));
  source.reads.length = 0;
  await disk.read(1000, new Uint8Array(5 * BLOCK - 2000));
  assert.deepEqual(source.reads, [
    [1024 + BLOCK + 1000, 3 * BLOCK - 1000],
    [1024, BLOCK - 1000],
  ]);
});

test('a file that ends after the last shown byte of its last block is whole', async () => {
  const file = vdiFile({ map: [0, 1], cbDisk: BigInt(BLOCK + 512) });
  const disk = await openBytes(vdi, file.slice(0, 1024 + BLOCK + 512));
  assertSameBytes(await diskBytes(disk), guestBytes([0, 1], BLOCK, BLOCK + 512));
});

test('oddities are told, and the disk is read', async () => {
  const odd = vdiFile({ cbDisk: 1000n, map: [0], uuidModify: 0, uuidParentModify: 7, lchsSectorBytes: 0 });
  const disk = await openBytes(vdi, odd);
  assert.equal(disk.warnings.length, 4);
  assertSameBytes(await diskBytes(disk), guestBytes([0], BLOCK, 1000));
});

test('an aborted read throws the reason', async () => {
  const disk = await openBytes(vdi, vdiFile());
  const reason = new Error('enough');
  await assert.rejects(disk.read(0, new Uint8Array(10), AbortSignal.abort(reason)), reason);
});

test('files of version 0.2 are read', async () => {
  for (const map of [
    [0, 1, 2],
    [1, FREE, 0, ZERO],
  ]) {
    const cbDisk = BigInt(map.length * MIB - 512);
    const disk = await openBytes(vdi, oldVdiFile({ map, cbBlock: MIB, cbDisk, comment: 'old' }));
    assert.deepEqual([disk.details.version, disk.details.comment, disk.warnings.length], ['0.2', 'old', 0]);
    assertSameBytes(await diskBytes(disk), guestBytes(map, MIB, Number(cbDisk)));
    await assertExtentsTellTheTruth(disk);
  }
});

test('stored runs name every byte where it stands', async () => {
  for (const cbBlockExtra of [0, 512]) {
    const disk = await openBytes(vdi, vdiFile({ map: [1, 2, FREE, 0, ZERO, 3], cbBlockExtra }));
    await assertRunsTellTheTruth(disk);
    const runs = await assertRunsTellTheTruth(disk, 5000, 5 * BLOCK + 7);
    assert.equal(runs.filter(({ kind }) => kind === 'plain').length, cbBlockExtra === 0 ? 3 : 4);
  }
});

test('the holes of a sparse fixed image are holes', async () => {
  const file = vdiFile({ type: 2, map: [0, 1, 2] });
  file.fill(0, 1024 + BLOCK, 1024 + 2 * BLOCK);
  const source: ByteSource = {
    ...memorySource(file),
    async *allocatedRanges(from, to) {
      for (const [start, end] of [
        [0, 1024 + BLOCK],
        [1024 + 2 * BLOCK, file.length],
      ] as const) {
        const at = Math.max(from, start);
        if (at < Math.min(to, end)) yield { offsetBytes: at, lengthBytes: Math.min(to, end) - at };
      }
    },
  };
  const disk = await vdi.open(source, { references: denyReferences });
  await assertExtentsTellTheTruth(disk);
  await assertRunsTellTheTruth(disk);
  const kinds = (await Array.fromAsync(disk.extents(0, 3 * BLOCK))).map(({ kind }) => kind);
  assert.deepEqual(kinds, ['data', 'hole', 'data']);
});
