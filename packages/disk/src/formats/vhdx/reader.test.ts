import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { viewOf } from '../../bytes/fields.ts';
import { GIB, MIB, TIB } from '../../bytes/numbers.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { viewOfLayout } from '../../view/view.ts';
import {
  assertExtentsTellTheTruth,
  assertSameBytes,
  diskBytes,
  openBytes,
  openFile,
  patternDisk,
  planLayout,
  recordingSource,
  testFolder,
  tool,
  writeRaw,
} from '../images.testkit.ts';
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';
import { vhdx } from './format.ts';
import {
  BLOCKS,
  DATA_WRITE_GUID,
  guestBytes,
  HEADERS,
  REGION_TABLES,
  seal,
  type VhdxFields,
  vhdxFile,
} from './vhdx.testkit.ts';

test('files that qemu-img makes, dynamic and fixed, are read as the disk', async (t) => {
  const folder = await testFolder(t);
  const raw = join(folder, 'disk.raw');
  await writeRaw(raw, 21 * MIB + 512, [
    [512, 1000],
    [3 * MIB - 5000, 2 * MIB],
    [10 * MIB, 5 * MIB],
    [21 * MIB, 512],
  ]);
  const expected = await readFile(raw);
  for (const [i, options] of [
    '',
    'block_size=1M',
    'block_size=32M',
    'block_size=1M,block_state_zero=off',
    'subformat=fixed',
    'subformat=fixed,block_size=1M,log_size=2M',
  ].entries()) {
    const path = join(folder, `${i}.vhdx`);
    const withOptions = options === '' ? [] : ['-o', options];
    await tool('qemu-img', 'convert', '-f', 'raw', '-O', 'vhdx', ...withOptions, raw, path);
    const disk = await openFile(t, vhdx, path);
    assert.equal(disk.details.type, options.includes('fixed') ? 'fixed' : 'dynamic');
    assert.match(String(disk.details.creator), /^QEMU/);
    assert.deepEqual(disk.warnings, []);
    assertSameBytes(await diskBytes(disk), expected, options);
    await assertExtentsTellTheTruth(disk);
    await assertRunsTellTheTruth(disk);
  }
});

test('images that qemu writes to out of order are read as qemu reads them', async (t) => {
  const folder = await testFolder(t);
  const path = join(folder, 'disk.vhdx');
  await tool('qemu-img', 'create', '-q', '-f', 'vhdx', '-o', 'block_size=1M', path, '6G');
  const writes = [
    'write -P 0x11 5g 3m',
    'write -P 0x22 4095m 2m',
    'write -P 0x33 1000 5000',
    'write -z 5g 1m',
  ];
  await tool('qemu-io', '-f', 'vhdx', ...writes.flatMap((command) => ['-c', command]), path);
  const disk = await openFile(t, vhdx, path);
  const expect = async (offsetBytes: number, lengthBytes: number, value: number) => {
    const bytes = new Uint8Array(lengthBytes);
    await disk.read(offsetBytes, bytes);
    assertSameBytes(bytes, new Uint8Array(lengthBytes).fill(value), `at ${offsetBytes}`);
  };
  await expect(0, 512, 0);
  await expect(1024, 4976, 0x33);
  await expect(4095 * MIB, 2 * MIB, 0x22);
  await expect(5 * GIB, MIB, 0);
  await expect(5 * GIB + MIB, 2 * MIB, 0x11);
});

test('every block size and both sector sizes are honoured', async () => {
  for (const blockSize of [MIB, 2 * MIB, 8 * MIB]) {
    for (const logicalSector of [512, 4096]) {
      const fields: VhdxFields = {
        blockSize,
        logicalSector,
        table: [{ at: 1 }, 0, { at: 0 }, 2],
        diskSize: 4 * blockSize - 4096,
      };
      const disk = await openBytes(vhdx, vhdxFile(fields));
      assertSameBytes(await diskBytes(disk), guestBytes(fields, fields.diskSize));
      assert.equal(disk.details.logicalSectorSizeBytes, logicalSector);
      await assertExtentsTellTheTruth(disk);
    }
  }
});

test('entries of sector bitmaps between the chunks are passed over', async () => {
  // 2^23 sectors of 512 bytes are 4096 blocks of 1 MiB.
  const table = Array.from({ length: 4099 }, (_, index) => (index === 4097 ? { at: 1 } : 0));
  const disk = await openBytes(vhdx, vhdxFile({ table, diskSize: 4098 * MIB }));
  const extents = await Array.fromAsync(disk.extents(0, disk.virtualSizeBytes));
  const data = extents.filter(({ kind }) => kind === 'data');
  assert.deepEqual(data, [{ offsetBytes: 4096 * MIB, lengthBytes: MIB, kind: 'data' }]);
});

test('states without content read as zeros, and only blocks that are not there are holes', async () => {
  const disk = await openBytes(vhdx, vhdxFile({ table: [0, 1, 2, 3, 5, { at: 0 }, { at: 9, state: 3 }] }));
  const kinds = (await Array.fromAsync(disk.extents(0, disk.virtualSizeBytes))).map(({ kind }) => kind);
  assert.deepEqual(kinds, ['hole', 'zero', 'data', 'zero']);
  await assertExtentsTellTheTruth(disk);
});

test('any range is the slice of the whole disk', async () => {
  const table = [{ at: 2 }, { at: 3 }, 0, { at: 0 }, { at: 1 }, 2];
  const disk = await openBytes(vhdx, vhdxFile({ table }));
  const whole = guestBytes({ table });
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length), fc.nat(3 * MIB), async (from, length) => {
      const part = new Uint8Array(Math.min(length, whole.length - from)).fill(0x77);
      await disk.read(from, part);
      assertSameBytes(part, whole.subarray(from, from + part.length));
    }),
    { numRuns: 50 },
  );
  await assertRunsTellTheTruth(disk, 5000, 3 * MIB + 70_000);
});

test('blocks that follow each other in the file are one read, holes are none', async () => {
  const source = recordingSource(vhdxFile({ table: [{ at: 1 }, { at: 2 }, { at: 3 }, 0, { at: 0 }] }));
  const disk = await vhdx.open(source, { references: denyReferences });
  source.reads.length = 0;
  await disk.read(1000, new Uint8Array(5 * MIB - 2000));
  assert.deepEqual(source.reads, [
    [BLOCKS + MIB + 1000, 3 * MIB - 1000],
    [BLOCKS, MIB - 1000],
  ]);
});

test('a file that ends after the last shown byte of its last block is whole', async () => {
  const fields = { table: [{ at: 0 }, { at: 1 }], diskSize: MIB + 512 };
  const disk = await openBytes(vhdx, vhdxFile(fields).slice(0, BLOCKS + MIB + 512));
  assertSameBytes(await diskBytes(disk), guestBytes(fields, MIB + 512));
});

test('of two valid headers the one with the greater number counts, of a damaged one nothing', async () => {
  const opened = async (change: (view: DataView) => void, damage: (view: DataView) => void = () => {}) => {
    const file = vhdxFile();
    const view = viewOf(file);
    // The copies are told apart by the last byte of DataWriteGuid.
    for (const [i, at] of HEADERS.entries()) view.setUint8(at + 47, 0xa0 + i);
    change(view);
    seal(file);
    damage(view);
    const disk = await openBytes(vhdx, file);
    return [String(disk.details.dataWriteGuid).slice(-2), disk.warnings.length];
  };
  const first = (view: DataView) => view.setBigUint64(HEADERS[0] + 8, 2n ** 64n - 1n, true);
  assert.deepEqual(await opened(() => {}), ['a1', 0]);
  assert.deepEqual(await opened(first), ['a0', 0]);
  assert.deepEqual(await opened(first, (view) => view.setUint8(HEADERS[0] + 30, 1)), ['a1', 1]);
  assert.deepEqual(
    await opened(
      () => {},
      (view) => view.setUint8(HEADERS[1] + 4000, 1),
    ),
    ['a0', 1],
  );
});

test('two headers that are the same are one, as disk2vhd writes them', async () => {
  const file = vhdxFile();
  viewOf(file).setBigUint64(HEADERS[1] + 8, 7n, true);
  const disk = await openBytes(vhdx, seal(file));
  assert.equal(disk.details.dataWriteGuid, DATA_WRITE_GUID);
  assert.deepEqual(disk.warnings, []);
});

test('one valid copy of the region table is enough, and copies that differ are told', async () => {
  for (const at of REGION_TABLES) {
    const file = vhdxFile();
    file[at + 40_000] = 1;
    const disk = await openBytes(vhdx, file);
    assert.match(disk.warnings.join(), new RegExp(`region table at byte ${at} is damaged`));
    assertSameBytes(await diskBytes(disk), guestBytes({}));
  }
  const file = vhdxFile();
  file[REGION_TABLES[1] + 12] = 1;
  assert.match((await openBytes(vhdx, seal(file))).warnings.join(), /differ/);
});

test('a region that is not required is passed over', async () => {
  const file = vhdxFile();
  const view = viewOf(file);
  for (const at of REGION_TABLES) {
    view.setUint32(at + 8, 3, true);
    view.setBigUint64(at + 96, BigInt(30 * MIB), true);
    view.setUint32(at + 104, MIB, true);
  }
  assertSameBytes(await diskBytes(await openBytes(vhdx, seal(file))), guestBytes({}));
});

/** Counts the bytes that are read of a source. */
function counting(source: ByteSource): ByteSource & { readBytes: number } {
  return {
    ...source,
    readBytes: 0,
    async read(offsetBytes, into, signal) {
      this.readBytes += into.length;
      await source.read(offsetBytes, into, signal);
    },
  };
}

test('of a large table only the pages that are asked for are read again', async () => {
  const disk = patternDisk(4 * TIB, [
    [3 * TIB + 5, 100],
    [4 * TIB - 512, 512],
  ]);
  const layout = await planLayout(vhdx, disk, { block_size: String(MIB) });
  const source = counting(viewOfLayout(layout, disk));
  const again = await vhdx.open(source, { references: denyReferences });
  const tableBytes = 4 * MIB * 8;
  assert.ok(source.readBytes < tableBytes + MIB, 'opening reads the table once');
  source.readBytes = 0;
  const part = new Uint8Array(200);
  for (let i = 0; i < 10; i++) await again.read(3 * TIB, part);
  assert.equal(part[4], 0);
  assert.notEqual(part[5], 0);
  assert.ok(source.readBytes <= 65536 + 10 * 200, 'one page for reads of one place');
  const extents = await Array.fromAsync(again.extents(0, 4 * TIB));
  assert.deepEqual(
    extents.filter(({ kind }) => kind === 'data').map(({ offsetBytes }) => offsetBytes),
    [3 * TIB, 4 * TIB - MIB],
  );
});

test('an aborted read throws the reason', async () => {
  const disk = await openBytes(vhdx, vhdxFile());
  const reason = new Error('enough');
  await assert.rejects(disk.read(0, new Uint8Array(10), AbortSignal.abort(reason)), reason);
  const extents = disk.extents(0, MIB, AbortSignal.abort(reason));
  await assert.rejects(Array.fromAsync(extents), reason);
});
