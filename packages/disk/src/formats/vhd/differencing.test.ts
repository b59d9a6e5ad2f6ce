import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences, type ReferenceGate, suppliedReferences } from '../../disk/reference-gate.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { memorySource } from '../../io/memory.ts';
import { assertExtentsTellTheTruth, assertSameBytes, diskBytes, testFolder } from '../images.testkit.ts';
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';
import { checkVhd } from './check.ts';
import { vhd } from './format.ts';
import {
  BLOCK_BYTES,
  fixedVhd,
  guestBytes,
  libvhdiBytes,
  UNUSED,
  type VhdFields,
  vhdFile,
} from './vhd.testkit.ts';

const SECTORS = BLOCK_BYTES / 512;
const childData = (position: number, within: number) => 201 + ((position * 7 + within / 512) % 50);

function gateOf(files: Readonly<Record<string, Uint8Array | ByteSource>>): ReferenceGate {
  const sourceOf = (name: string, file: Uint8Array | ByteSource) =>
    file instanceof Uint8Array ? memorySource(file, name) : file;
  return suppliedReferences(
    new Map(
      Object.entries(files).map(([name, file]) => [name, async () => ({ source: sourceOf(name, file) })]),
    ),
  );
}

function child(fields: VhdFields = {}): Uint8Array {
  return vhdFile({
    type: 4,
    uniqueId: 0x55,
    parentUniqueId: 0x44,
    parentName: 'parent.vhd',
    data: childData,
    ...fields,
  });
}

async function openChild(file: Uint8Array, parent: Uint8Array): Promise<Disk> {
  return vhd.open(memorySource(file, 'child.vhd'), { references: gateOf({ 'parent.vhd': parent }) });
}

/** What the guest sees: the child's sectors whose bit is set over the parent's bytes, zeros behind them. */
function overlaid(
  parent: Uint8Array,
  table: readonly number[],
  bitmaps: Readonly<Record<number, Uint8Array>>,
  sizeBytes: number,
): Uint8Array {
  const bytes = new Uint8Array(table.length * BLOCK_BYTES);
  bytes.set(parent.subarray(0, bytes.length));
  for (const [block, position] of table.entries()) {
    for (let sector = 0; position !== UNUSED && sector < SECTORS; sector++) {
      const byte = bitmaps[position]?.[Math.floor(sector / 8)] ?? 0xff;
      if ((byte & (0x80 >> (sector % 8))) === 0) continue;
      const at = block * BLOCK_BYTES + sector * 512;
      bytes.fill(childData(position, sector * 512), at, at + 512);
    }
  }
  return bytes.subarray(0, sizeBytes);
}

/**
 * libvhdi mistakes the sectors of a byte whose bits differ, and reads no child that is larger than its parent: with
 * whole bytes, as Hyper-V writes them, and equal sizes it sees what the specification says.
 */
const plainBytes = [0, 0xff];

function children(bytes: fc.Arbitrary<number>, parentBlocks: number) {
  const bitmap = fc.oneof(
    fc.array(bytes, { minLength: SECTORS / 8, maxLength: SECTORS / 8 }).map((list) => Uint8Array.from(list)),
    bytes.map((byte) => new Uint8Array(SECTORS / 8).fill(byte)),
  );
  const entries = [0, 1, 2, UNUSED, UNUSED];
  return fc.record({
    parentTable: fc.shuffledSubarray(entries, { minLength: parentBlocks }),
    table: fc.shuffledSubarray(entries, { minLength: 5 }),
    bitmaps: fc.tuple(bitmap, bitmap, bitmap),
    cutSectors: fc.nat(SECTORS - 1),
  });
}

function makeChild(made: ReturnType<typeof children> extends fc.Arbitrary<infer Made> ? Made : never) {
  const { parentTable, table, cutSectors } = made;
  const bitmaps = Object.fromEntries(made.bitmaps.entries());
  const sizeBytes = table.length * BLOCK_BYTES - cutSectors * 512;
  return {
    parent: vhdFile({ table: parentTable, storedBlocks: 3 }),
    file: child({ table, bitmaps, storedBlocks: 3, currentSize: BigInt(sizeBytes) }),
    expected: overlaid(guestBytes(parentTable), table, bitmaps, sizeBytes),
  };
}

test('every sector comes from the child or its parent, as its bit says', async () => {
  const made = children(fc.nat(255), 3);
  await fc.assert(
    fc.asyncProperty(made, fc.nat(), fc.nat(), async (fields, from, length) => {
      const { parent, file, expected } = makeChild(fields);
      const disk = await openChild(file, parent);
      assert.deepEqual(disk.warnings, []);
      assertSameBytes(await diskBytes(disk), expected);
      await assertExtentsTellTheTruth(disk);
      await assertRunsTellTheTruth(disk);
      const start = from % expected.length;
      const part = new Uint8Array(length % (expected.length - start)).fill(0x77);
      await disk.read(start, part);
      assertSameBytes(part, expected.subarray(start, start + part.length));
      await assertRunsTellTheTruth(disk, start, start + part.length);
      await disk.close();
    }),
    { numRuns: 30 },
  );
});

test('libvhdi sees the same disk in a child and its parent', async (t) => {
  const folder = await testFolder(t);
  const [childPath, parentPath] = [join(folder, 'child.vhd'), join(folder, 'parent.vhd')];
  await fc.assert(
    fc.asyncProperty(children(fc.constantFrom(...plainBytes), 5), async (fields) => {
      const { parent, file, expected } = makeChild(fields);
      assertSameBytes(await diskBytes(await openChild(file, parent)), expected);
      await writeFile(parentPath, parent);
      await writeFile(childPath, file);
      assertSameBytes(await libvhdiBytes(folder, childPath, parentPath), expected, 'libvhdi');
    }),
    { numRuns: 25 },
  );
});

test('a chain of three is read through, and libvhdi sees the same', async (t) => {
  const folder = await testFolder(t);
  const files = {
    'base.vhd': vhdFile({ table: [0, 1, 2, UNUSED] }),
    'middle.vhd': child({
      parentName: 'base.vhd',
      table: [UNUSED, 0, UNUSED, UNUSED],
      bitmaps: { 0: new Uint8Array(4).fill(0xff) },
    }),
    'top.vhd': child({
      parentName: 'middle.vhd',
      uniqueId: 0x66,
      parentUniqueId: 0x55,
      table: [UNUSED, UNUSED, 0, UNUSED],
      bitmaps: { 0: new Uint8Array(8).fill(0xff) },
    }),
  };
  const disk = await vhd.open(memorySource(files['top.vhd'], 'top.vhd'), { references: gateOf(files) });
  const paths = Object.keys(files).map((name) => join(folder, name));
  for (const [i, bytes] of Object.values(files).entries()) await writeFile(paths[i] ?? '', bytes);
  assertSameBytes(await diskBytes(disk), await libvhdiBytes(folder, ...paths.reverse()));
  await assertExtentsTellTheTruth(disk);
  await assertRunsTellTheTruth(disk);
});

test('a fixed parent, a smaller one and a larger one show as far as they go', async () => {
  for (const parentBytes of [512, 3 * BLOCK_BYTES, 5 * BLOCK_BYTES]) {
    const content = Uint8Array.from({ length: parentBytes }, (_, i) => (i * 7) % 251);
    const table = [UNUSED, 0, UNUSED, UNUSED];
    const disk = await openChild(child({ table, bitmaps: { 0: 0x33 } }), fixedVhd(content));
    const bitmap = new Uint8Array(SECTORS / 8).fill(0x33);
    assertSameBytes(await diskBytes(disk), overlaid(content, table, { 0: bitmap }, 4 * BLOCK_BYTES));
    await assertExtentsTellTheTruth(disk);
    await assertRunsTellTheTruth(disk);
  }
});

const spellings: readonly (readonly [what: string, fields: VhdFields, name: string])[] = [
  [
    'the relative path of its locators',
    {
      parentName: 'C:\\vm\\parent.vhd',
      locators: [
        ['MacX', 'file:///vm/parent.vhd'],
        ['W2ku', 'C:\\vm\\parent.vhd'],
        ['W2ru', '.\\Größe.vhd'],
      ],
    },
    '.\\Größe.vhd',
  ],
  [
    'the absolute path of its locators',
    {
      locators: [
        ['MacX', 'file:///vm/parent.vhd'],
        ['W2ku', 'C:\\vm\\parent.vhd'],
      ],
    },
    'C:\\vm\\parent.vhd',
  ],
  ['the file URL of its locators', { locators: [['MacX', 'file:///vm/p%20.vhd']] }, 'file:///vm/p%20.vhd'],
  ['the name in its header', { parentName: 'Größe.vhd', locators: [['Wi2k', 'ignored']] }, 'Größe.vhd'],
];

for (const [what, fields, name] of spellings) {
  test(`a differencing disk asks the gate for its parent by ${what}`, async () => {
    const source = memorySource(child(fields), 'child.vhd');
    const disk = await vhd.open(source, { references: gateOf({ [name]: vhdFile() }) });
    assert.equal(disk.details.parentName, name);
    await assert.rejects(vhd.open(source, { references: denyReferences }), { code: 'IMAGE_REFERENCE' });
  });
}

test('another disk than the parent is refused, and closed', async () => {
  const parents = [vhdFile({ uniqueId: 0x45 }), fixedVhd(new Uint8Array(512), { uniqueId: 0 })];
  for (const bytes of parents) {
    let closed = 0;
    const parent = { ...memorySource(bytes, 'parent.vhd'), close: async () => void closed++ };
    const references = gateOf({ 'parent.vhd': parent });
    await assert.rejects(vhd.open(memorySource(child()), { references }), { code: 'IMAGE_REFERENCE' });
    assert.equal(closed, 1);
  }
  const raw: ReferenceGate = {
    resolve: async () => ({ source: memorySource(vhdFile(), 'parent.vhd'), format: 'raw' }),
  };
  await assert.rejects(vhd.open(memorySource(child()), { references: raw }), { code: 'IMAGE_REFERENCE' });
});

test('a parent is closed with its child', async () => {
  let closed = 0;
  const parent = { ...memorySource(vhdFile(), 'parent.vhd'), close: async () => void closed++ };
  const disk = await vhd.open(memorySource(child()), { references: gateOf({ 'parent.vhd': parent }) });
  await disk.close();
  assert.equal(closed, 1);
});

test('a disk that is its own parent is refused', async () => {
  const file = child({ uniqueId: 0x55, parentUniqueId: 0x55 });
  await assert.rejects(openChild(file, file), { code: 'IMAGE_REFERENCE' });
});

test('a parent that was changed since is told, where the child noted a time', async () => {
  const warningsOf = async (parentTimeStamp: number) =>
    (await openChild(child({ parentTimeStamp }), vhdFile({ timeStamp: 5 }))).warnings.length;
  assert.deepEqual([await warningsOf(0), await warningsOf(5), await warningsOf(6)], [0, 0, 1]);
});

test('a check of a differencing disk asks for no parent and sees names that cannot be read', async () => {
  const check = async (fields: VhdFields) => {
    const report = await checkVhd(memorySource(child(fields)), { references: denyReferences });
    return report.findings.map(({ severity, structure }) => `${severity}: ${structure}`);
  };
  assert.deepEqual(await check({ bitmaps: { 0: 0x0f } }), []);
  assert.deepEqual(await check({ parentName: '' }), ['corruption: VHD parent locator']);
  const locators = [['W2ru', 'parent.vhd']] as const;
  assert.deepEqual(await check({ locators, locatorLength: 2 ** 31 }), ['corruption: VHD parent locator']);
});
