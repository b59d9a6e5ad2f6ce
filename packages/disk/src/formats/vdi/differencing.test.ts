import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { MIB } from '../../bytes/numbers.ts';
import type { Disk } from '../../disk/disk.ts';
import { denyReferences, type ReferenceGate } from '../../disk/reference-gate.ts';
import type { ByteSource } from '../../io/byte-source.ts';
import { memorySource } from '../../io/memory.ts';
import {
  assertExtentsTellTheTruth,
  assertSameBytes,
  diskBytes,
  testFolder,
  tool,
} from '../images.testkit.ts';
import { assertRunsTellTheTruth } from '../stored-runs.testkit.ts';
import { vdi } from './format.ts';
import { FREE, guestBytes, oldVdiFile, type VdiFields, vdiFile, ZERO } from './vdi.testkit.ts';

const BLOCK = 128 * 1024;
/** The creation UUID of the testkit's files, as text. */
const PARENT_NAME = '11111111-1111-1111-1111-111111111111';

function gateTo(parent: Uint8Array | ByteSource, format?: string): ReferenceGate {
  return {
    async resolve({ kind, name }) {
      assert.deepEqual([kind, name], ['parent', PARENT_NAME]);
      return { source: parent instanceof Uint8Array ? memorySource(parent, 'parent') : parent, format };
    },
  };
}

function child(fields: VdiFields = {}): Uint8Array {
  return vdiFile({ type: 4, uuidCreate: 0x55, uuidLinkage: 0x11, uuidParentModify: 0x22, ...fields });
}

async function openChild(file: Uint8Array, parent: Uint8Array): Promise<Disk> {
  return vdi.open(memorySource(file, 'child'), { references: gateTo(parent) });
}

/** The child's stored blocks and zeros over the parent's bytes. */
function overlaid(parent: Uint8Array, map: readonly number[], sizeBytes: number): Uint8Array {
  const bytes = guestBytes(map, BLOCK, map.length * BLOCK);
  for (const [block, entry] of map.entries()) {
    if (entry === FREE) bytes.set(parent.subarray(block * BLOCK, (block + 1) * BLOCK), block * BLOCK);
  }
  return bytes.subarray(0, sizeBytes);
}

const maps = fc.shuffledSubarray([0, 1, 2, ZERO, FREE, FREE, ZERO], { minLength: 3, maxLength: 7 });

test('free blocks show the parent, zero blocks do not', async () => {
  await fc.assert(
    fc.asyncProperty(maps, maps, fc.nat(), fc.nat(), async (parentMap, map, from, length) => {
      const sizeBytes = map.length * BLOCK - 1024;
      const file = child({ map, storedBlocks: 3, cbDisk: BigInt(sizeBytes) });
      const disk = await openChild(file, vdiFile({ map: parentMap, storedBlocks: 3 }));
      const expected = overlaid(guestBytes(parentMap, BLOCK, parentMap.length * BLOCK), map, sizeBytes);
      assert.deepEqual(disk.warnings, []);
      assertSameBytes(await diskBytes(disk), expected);
      await assertExtentsTellTheTruth(disk);
      await assertRunsTellTheTruth(disk);
      const start = from % sizeBytes;
      const part = new Uint8Array(length % (sizeBytes - start)).fill(0x77);
      await disk.read(start, part);
      assertSameBytes(part, expected.subarray(start, start + part.length));
    }),
    { numRuns: 40 },
  );
});

test('qemu-img sees what a child stores itself', async (t) => {
  const folder = await testFolder(t);
  const map = [1, FREE, 0, ZERO];
  // qemu-img opens no image that names a parent: it gets the same file without the name.
  const path = join(folder, 'child.vdi');
  await writeFile(path, vdiFile({ type: 4, cbBlock: MIB, map }));
  await tool('qemu-img', 'convert', '-f', 'vdi', '-O', 'raw', path, join(folder, 'child.raw'));
  const empty = vdiFile({ cbBlock: MIB, map: [FREE, FREE, FREE, FREE] });
  const disk = await openChild(child({ cbBlock: MIB, map }), empty);
  assertSameBytes(await diskBytes(disk), guestBytes(map, MIB, 4 * MIB));
  assertSameBytes(await readFile(join(folder, 'child.raw')), await diskBytes(disk));
});

test('undo images, dynamic ones that name a parent and those of version 0.2 are read alike', async () => {
  const parent = vdiFile({ map: [FREE, 0, FREE, 1] });
  const map = [0, FREE, FREE, ZERO];
  const expected = overlaid(guestBytes([FREE, 0, FREE, 1], BLOCK, 4 * BLOCK), map, 4 * BLOCK);
  const files = [
    child({ type: 3, map }),
    child({ type: 1, map }),
    oldVdiFile({ type: 4, uuidLinkage: 0x11, map }),
  ];
  for (const file of files) assertSameBytes(await diskBytes(await openChild(file, parent)), expected);
});

test('a chain is read through, other block sizes and all', async () => {
  const base = vdiFile({ map: [0, FREE, FREE], cbBlock: MIB, cbDisk: BigInt(3 * MIB) });
  const middle = vdiFile({ type: 4, uuidCreate: 0x55, uuidLinkage: 0x11, map: [FREE, 0, FREE, FREE] });
  const top = vdiFile({ type: 4, uuidCreate: 0x66, uuidLinkage: 0x55, map: [FREE, FREE, 0, FREE] });
  const byName: Readonly<Record<string, Uint8Array>> = {
    '11111111-1111-1111-1111-111111111111': base,
    '55555555-5555-5555-5555-555555555555': middle,
  };
  const references: ReferenceGate = {
    resolve: async ({ name }) => ({ source: memorySource(byName[name] as Uint8Array, name) }),
  };
  const disk = await vdi.open(memorySource(top, 'top'), { references });
  const expected = guestBytes([0], MIB, MIB).slice(0, 4 * BLOCK);
  for (const block of [1, 2]) expected.set(guestBytes([0], BLOCK, BLOCK), block * BLOCK);
  assertSameBytes(await diskBytes(disk), expected);
  await assertRunsTellTheTruth(disk);
});

test('another disk than the parent is refused, and closed; its parent is closed with a child', async () => {
  let closed = 0;
  const counted = (bytes: Uint8Array) => ({ ...memorySource(bytes, 'p'), close: async () => void closed++ });
  const other = gateTo(counted(vdiFile({ uuidCreate: 0x12 })));
  await assert.rejects(vdi.open(memorySource(child()), { references: other }), { code: 'IMAGE_REFERENCE' });
  const raw = gateTo(counted(vdiFile()), 'raw');
  await assert.rejects(vdi.open(memorySource(child()), { references: raw }), { code: 'IMAGE_REFERENCE' });
  assert.equal(closed, 2);
  const disk = await vdi.open(memorySource(child()), { references: gateTo(counted(vdiFile())) });
  await disk.close();
  assert.equal(closed, 3);
  await assert.rejects(vdi.open(memorySource(child()), { references: denyReferences }), {
    code: 'IMAGE_REFERENCE',
  });
});

test('a parent that was changed since is told, where the child noted its modification', async () => {
  const warningsOf = async (uuidParentModify: number) =>
    (await openChild(child({ uuidParentModify }), vdiFile())).warnings.length;
  assert.deepEqual([await warningsOf(0), await warningsOf(0x22), await warningsOf(0x23)], [0, 0, 1]);
});
