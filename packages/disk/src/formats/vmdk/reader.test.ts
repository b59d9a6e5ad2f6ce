import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences } from '../../disk/reference-gate.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { memorySource } from '../../io/memory.ts';
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';
import { vmdk } from './format.ts';
import {
  edited,
  folder,
  GRAIN,
  grainRecord,
  noise,
  openBytes,
  pattern,
  readAt,
  run,
  sparseDisk,
  tablesFirst,
  withDescriptor,
  written,
} from './vmdk.testkit.ts';

const MIB = 1024 * 1024;

/** 40 MiB with grains in both of its tables, whose records stand in the file in this order. */
function streamWith(order: readonly number[], endOfStream = true): { file: Uint8Array; plain: Uint8Array } {
  const plain = new Uint8Array(40 * MIB);
  for (const grain of order)
    plain.set(grain % 2 === 0 ? noise(GRAIN, grain) : pattern(GRAIN, grain), grain * GRAIN);
  const record = (grain: number) => grainRecord(grain, plain.subarray(grain * GRAIN, (grain + 1) * GRAIN));
  const records = new Map(order.map((grain) => [grain, record(grain)]));
  return { plain, file: tablesFirst({ capacitySectors: (40 * MIB) / 512, records, endOfStream }) };
}

async function assertReads(disk: Disk, plain: Uint8Array): Promise<void> {
  const whole = await readAt(disk, 0, disk.virtualSizeBytes);
  assert.ok(Buffer.from(whole).equals(plain.subarray(0, disk.virtualSizeBytes)));
}

test('a streamOptimized with its tables in front is read as qemu-img reads it', async (t) => {
  const path = await folder(t);
  for (const endOfStream of [true, false]) {
    const { file, plain } = streamWith([0, 1, 2, 7, 8, 511, 512, 600], endOfStream);
    const [image, raw] = [join(path, `${endOfStream}.vmdk`), join(path, `${endOfStream}.raw`)];
    await Promise.all([writeFile(image, file), writeFile(raw, plain)]);
    await run('qemu-img', 'compare', '-f', 'vmdk', '-F', 'raw', image, raw);
    const disk = await openBytes(file);
    assert.deepEqual([disk.details.compressed, disk.details.footer], [true, false]);
    await assertReads(disk, plain);
  }
});

test('compressed grains that stand in any order in the file are read', async () => {
  const { file, plain } = streamWith([600, 3, 511, 0, 512, 1, 2, 8, 7]);
  await assertReads(await openBytes(file), plain);
});

test('small reads inside a compressed grain decompress it once', async () => {
  const { file, plain } = streamWith([0, 1]);
  const memory = memorySource(file);
  let readCount = 0;
  const source: ByteSource = {
    ...memory,
    read(offset, into, signal) {
      readCount++;
      return memory.read(offset, into, signal);
    },
  };
  const disk = await vmdk.open(source, { references: denyReferences });
  await readAt(disk, 0, 512);
  const before = readCount;
  for (let at = 512; at < GRAIN; at += 512) {
    assert.deepEqual(await readAt(disk, at, 512), plain.slice(at, at + 512));
  }
  assert.equal(readCount, before);
});

test('neighbouring grains are fetched with few reads', async () => {
  const full = sparseDisk(32 * MIB, new Map([[0, noise(32 * MIB)]]));
  for (const subformat of ['monolithicSparse', 'streamOptimized']) {
    const memory = memorySource(await written(full, subformat));
    let readCount = 0;
    const source: ByteSource = {
      ...memory,
      read(offset, into, signal) {
        readCount++;
        return memory.read(offset, into, signal);
      },
    };
    const disk = await vmdk.open(source, { references: denyReferences });
    const opened = readCount;
    await assertReads(disk, await readAt(full, 0, 32 * MIB));
    assert.ok(readCount - opened <= (subformat === 'monolithicSparse' ? 2 : 50));
  }
});

test('the size of a disk whose capacity was rounded up to a grain is the one of its extent line', async () => {
  const disk = sparseDisk(10 * MIB + 512, new Map([[10 * MIB, noise(512)]]));
  const file = await written(disk, 'monolithicSparse');
  const rounded = await openBytes(edited(file, { 12: BigInt((10 * MIB + GRAIN) / 512) }));
  assert.equal(rounded.virtualSizeBytes, 10 * MIB + 512);
  assert.deepEqual(rounded.warnings, []);
  assert.deepEqual(await readAt(rounded, 10 * MIB, 512), noise(512));
});

test('an entry of 1 is a grain of zeros where the flags say so, and refused where they do not', async () => {
  const file = await written(sparseDisk(MIB, new Map([[0, noise(GRAIN)]])), 'monolithicSparse');
  const firstTable = new DataView(file.buffer, file.byteOffset).getUint32(26 * 512, true) * 512;
  const zeroed = await openBytes(edited(file, { 8: 7, [firstTable]: 1 }));
  assert.deepEqual(await Array.fromAsync(zeroed.extents(0, 2 * GRAIN)), [
    { offsetBytes: 0, lengthBytes: GRAIN, kind: 'zero' },
    { offsetBytes: GRAIN, lengthBytes: GRAIN, kind: 'hole' },
  ]);
  assert.deepEqual(await readAt(zeroed, 0, GRAIN), new Uint8Array(GRAIN));
  const unflagged = await openBytes(edited(file, { [firstTable]: 1 }));
  await assert.rejects(readAt(unflagged, 0, 512), { code: 'IMAGE_MALFORMED' });
});

test('what is odd but tolerated is a warning', async () => {
  const disk = sparseDisk(MIB, new Map([[0, noise(GRAIN)]]));
  const file = await written(disk, 'monolithicSparse');
  const warningsOf = async (changed: Uint8Array) => {
    const read = await openBytes(changed);
    assert.deepEqual(await readAt(read, 0, GRAIN), noise(GRAIN));
    return read.warnings.join('\n');
  };
  assert.equal(await warningsOf(file), '');
  assert.match(await warningsOf(edited(file, { 72: Uint8Array.of(1) })), /not closed cleanly/);
  assert.match(await warningsOf(edited(file, { [21 * 512]: 0 })), /redundant grain directory/);
  assert.match(await warningsOf(edited(file, { 48: 10n ** 9n })), /redundant grain directory/);
  const described = (from: string | RegExp, to: string) =>
    warningsOf(withDescriptor(file, (text) => text.replace(from, to)));
  assert.match(
    await described('monolithicSparse', 'streamOptimized'),
    /streamOptimized, the header monolithicSparse/,
  );
  assert.match(await described(/createType.*\n/, ''), /no createType/);
  assert.match(await described('RW 2048', 'RW 2049'), /2049 sectors/);
  assert.match(await described(/RW.*\n/, ''), /no extent/);
  assert.match(await described('version=1', 'version=1\nCID=1\nCID=2'), /"cid" more than once/);
  assert.equal(await described(/\n/g, '\r\n'), '');
});

test('a compressed file without a descriptor is read, an uncompressed one is a part of a disk', async () => {
  const disk = sparseDisk(MIB, new Map([[0, noise(GRAIN)]]));
  for (const blank of [{ 28: 0n, 36: 0n }, { 512: new Uint8Array(20 * 512) }]) {
    const stream = await openBytes(
      edited(await written(disk, 'streamOptimized', { tables: 'front' }), blank),
    );
    assert.match(stream.warnings.join(), /no descriptor/);
    assert.deepEqual(await readAt(stream, 0, GRAIN), noise(GRAIN));
    const lone = openBytes(edited(await written(disk, 'monolithicSparse'), blank));
    await assert.rejects(lone, { code: 'IMAGE_UNSUPPORTED', hint: /open the descriptor/ });
  }
});

test('stored runs are the data, plain and compressed, and the short grain at the end is read through the disk', async () => {
  const disk = sparseDisk(
    40 * MIB + 700,
    new Map([
      [GRAIN, noise(3 * GRAIN)],
      [33 * MIB, pattern(MIB)],
      [40 * MIB, pattern(700)],
    ]),
  );
  const forms = [
    ['monolithicSparse', {}, 'plain'],
    ['streamOptimized', {}, 'packed'],
    ['streamOptimized', { tables: 'front' }, 'packed'],
  ] as const;
  for (const [subformat, options, kind] of forms) {
    const read = await openBytes(await written(disk, subformat, options));
    const kinds = new Set((await assertRunsTellTheTruth(read)).map((run) => run.kind));
    assert.deepEqual(kinds, new Set(['hole', kind, ...(kind === 'packed' ? ['opaque'] : [])]));
    await assertRunsTellTheTruth(read, 2 * GRAIN + 5, 40 * MIB + 3);
  }
});

test('facts of the descriptor are told as it gives them', async () => {
  const disk = await openBytes(await written(sparseDisk(MIB, new Map()), 'streamOptimized'));
  const { CID, longContentID, ...details } = disk.details;
  assert.ok(String(longContentID).endsWith(String(CID)));
  assert.match(String(details['uuid.image']), /^[0-9a-f-]{36}$/);
  assert.deepEqual(
    [details.createType, details.version, details.compressed, details.grainSizeBytes, details.parentCID],
    ['streamOptimized', 3, true, GRAIN, 'ffffffff'],
  );
});
