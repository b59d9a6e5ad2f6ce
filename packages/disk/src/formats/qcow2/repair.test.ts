import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { denyReferences } from '../../disk/reference-gate.ts';
import { ImageError } from '../../errors.ts';
import { memorySource } from '../../io/memory.ts';
import type { RepairPlan } from '../format.ts';
import { testFolder, tool, writeRaw } from '../images.testkit.ts';
import { checkQcow2 } from './check.ts';
import { inFolder, qemuBytes, qemuImage, qemuIo } from './qcow2.testkit.ts';
import { repairQcow2 } from './repair.ts';

const OFFSET = 0x00ff_ffff_ffff_fe00n;
const references = denyReferences;
const plan = (image: Uint8Array): Promise<RepairPlan> => repairQcow2(memorySource(image), { references });

/** The file with the patches of a plan; asserts that they are in order and apart from each other. */
function repaired(image: Uint8Array, { patches, lengthBytes }: RepairPlan): Buffer {
  const file = Buffer.alloc(lengthBytes);
  file.set(image);
  let end = 0;
  for (const { offsetBytes, bytes } of patches) {
    assert.ok(offsetBytes >= end && bytes.length > 0);
    end = offsetBytes + bytes.length;
    file.set(bytes, offsetBytes);
  }
  assert.ok(end <= lengthBytes);
  return file;
}

const writes = ['write -P 1 0 40k', 'write -P 2 2100k 9k', 'write -z 100k 8k', 'write -z -u 4k 4k'];

async function images(context: TestContext): Promise<ReadonlyMap<string, Buffer>> {
  const at = inFolder(await testFolder(context));
  const made = new Map<string, Buffer>();
  const forms: readonly (readonly [name: string, options: string])[] = [
    ['plain', 'cluster_size=4k'],
    ['version 2', 'cluster_size=4k,compat=0.10'],
    ['refcounts of 1', 'cluster_size=4k,refcount_bits=1'],
    ['refcounts of 64', 'cluster_size=4k,refcount_bits=64'],
    ['subclusters', 'cluster_size=16k,extended_l2=on'],
    ['snapshots', 'cluster_size=4k'],
    ['bitmaps', 'cluster_size=4k'],
  ];
  for (const [i, [name, options]] of forms.entries()) {
    const path = await qemuImage(at(String(i)), '4m', options, writes);
    if (name === 'snapshots') {
      await tool('qemu-img', 'snapshot', '-c', 'one', path);
      await qemuIo(path, ['write -P 3 0 10k']);
    }
    if (name === 'bitmaps') await tool('qemu-img', 'bitmap', '--add', path, 'one');
    made.set(name, await readFile(path));
  }
  await writeRaw(at('raw'), 4 * 2 ** 20, [[100_000, 700_000]]);
  const convert = [
    'convert',
    '-c',
    '-f',
    'raw',
    '-O',
    'qcow2',
    '-o',
    'cluster_size=4k',
    at('raw'),
    at('packed'),
  ];
  await tool('qemu-img', ...convert);
  made.set('compressed', await readFile(at('packed')));
  return made;
}

test('a sound image needs no repair', async (context) => {
  for (const [name, image] of await images(context)) {
    const nothing = { format: 'qcow2', actions: [], remaining: [], patches: [], lengthBytes: image.length };
    assert.deepEqual(await plan(image), nothing, name);
  }
});

interface Places {
  readonly clusterBytes: number;
  readonly table: number;
  readonly blocks: number;
  readonly l1: number;
  readonly l2: number;
}

function placesOf(image: Buffer): Places {
  const l1 = Number(image.readBigUInt64BE(40));
  const table = Number(image.readBigUInt64BE(48));
  return {
    clusterBytes: 2 ** image.readUInt32BE(20),
    table,
    blocks: Number(image.readBigUInt64BE(table)),
    l1,
    l2: Number(image.readBigUInt64BE(l1) & OFFSET),
  };
}

/** Asserts that qemu finds nothing wrong with a repaired image, and the same disk as in the one before. */
async function assertRepaired(
  at: (name: string) => string,
  before: Uint8Array,
  damaged: Uint8Array,
  what: string,
): Promise<void> {
  const repair = await plan(damaged);
  assert.deepEqual(repair.remaining, [], what);
  const image = repaired(damaged, repair);
  await writeFile(at('before'), before);
  await writeFile(at('after'), image);
  assert.match(await tool('qemu-img', 'check', '-f', 'qcow2', at('after')), /No errors/, what);
  const compare = ['compare', '-f', 'qcow2', '-F', 'qcow2', at('before'), at('after')];
  assert.equal(await tool('qemu-img', ...compare), 'Images are identical.\n', what);
  const report = await checkQcow2(memorySource(image), { references });
  assert.deepEqual(report.findings, [], what);
  assert.deepEqual((await plan(image)).actions, [], `${what}: once is enough`);
}

test('wrong refcounts and flags are set right, in place or at the end, and the disk stays the same', async (context) => {
  const at = inFolder(await testFolder(context));
  const damages: readonly (readonly [string, (copy: Buffer, places: Places) => void])[] = [
    ['a block of zeros', (copy, { blocks, clusterBytes }) => copy.fill(0, blocks, blocks + clusterBytes)],
    ['a block of ones', (copy, { blocks, clusterBytes }) => copy.fill(0xff, blocks, blocks + clusterBytes)],
    ['no blocks', (copy, { table, clusterBytes }) => copy.fill(0, table, table + clusterBytes)],
    ['a block beyond the end', (copy, { table }) => copy.writeBigUInt64BE(2n ** 50n, table)],
    ['a block on the header', (copy, { table }) => copy.writeBigUInt64BE(0n, table)],
    ['a block on an L2 table', (copy, { table, l2 }) => copy.writeBigUInt64BE(BigInt(l2), table)],
    ['the table as its own block', (copy, { table }) => copy.writeBigUInt64BE(BigInt(table), table)],
    ['a table beyond the end', (copy) => copy.writeBigUInt64BE(2n ** 40n, 48)],
    ['a table on the L1 table', (copy, { l1 }) => copy.writeBigUInt64BE(BigInt(l1), 48)],
    ['COPIED cleared in L1', (copy, { l1 }) => copy.writeUInt8(0, l1)],
    [
      'COPIED turned in L2',
      (copy, { l2, clusterBytes }) => {
        for (let i = l2; i < l2 + clusterBytes; i += 16) {
          if ((copy[i]! & 0x40) === 0 && copy.readBigUInt64BE(i) > 1n) copy[i]! ^= 0x80;
        }
      },
    ],
  ];
  for (const [name, image] of await images(context)) {
    for (const [what, damage] of damages) {
      const damaged = Buffer.from(image);
      damage(damaged, placesOf(damaged));
      await assertRepaired(at, image, damaged, `${name}: ${what}`);
    }
  }
});

test('the dirty and the corrupt bit are cleared from an image that is sound otherwise', async (context) => {
  const at = inFolder(await testFolder(context));
  const image = (await images(context)).get('plain') ?? Buffer.alloc(0);
  for (const bits of [1, 2, 3]) {
    const damaged = Buffer.from(image);
    damaged.writeUInt8(bits, 79);
    await assertRepaired(at, image, damaged, `bits ${bits}`);
  }
});

test('an image that does not end at a cluster is repaired', async (context) => {
  const at = inFolder(await testFolder(context));
  const path = await qemuImage(at('a'), '4m', '', ['write -P 9 0 64k', 'write -P 8 64k 4k']);
  const image = (await readFile(path)).subarray(0, 6 * 65536 + 4096);
  const damaged = Buffer.from(image);
  damaged.writeBigUInt64BE(2n ** 40n, 48);
  await assertRepaired(at, image, damaged, 'short');
});

test('what would change the disk is left, and said', async (context) => {
  const image = (await images(context)).get('plain') ?? Buffer.alloc(0);
  const { l1, l2 } = placesOf(image);
  const cases: readonly (readonly [(copy: Buffer) => unknown, RegExp])[] = [
    [(copy) => copy.writeUInt8(0x10, l2 + 19), /data cluster .* beyond the end/],
    [(copy) => copy.writeUInt8(0x02, l2 + 22), /not a cluster's start/],
    [(copy) => copy.writeBigUInt64BE(BigInt(l1), l2 + 16), /on top of another table/],
    [(copy) => copy.writeUInt8(0x90, l2 + 16), /reserved bits/],
  ];
  for (const [i, [change, message]] of cases.entries()) {
    const damaged = Buffer.from(image);
    change(damaged);
    damaged.writeUInt8(2, 79);
    const repair = await plan(damaged);
    assert.match(repair.remaining.join('\n'), message, `case ${i}`);
    const after = repaired(damaged, repair);
    assert.equal(after[79], 2, 'the corrupt bit stays');
    assert.equal(after.compare(damaged, l2 + 16, l2 + 24, l2 + 16, l2 + 24), 0, 'the entry stays');
  }
});

test('nothing is appended to a file whose entries name places behind its end', async (context) => {
  const image = (await images(context)).get('plain') ?? Buffer.alloc(0);
  const { l2 } = placesOf(image);
  const end = Math.ceil(image.length / 4096) * 4096;
  image.writeBigUInt64BE(BigInt(end) | (1n << 63n), l2);
  image.writeBigUInt64BE(2n ** 40n, 48);
  const { remaining, patches, lengthBytes } = await plan(image);
  assert.match(remaining.join(), /cannot be appended/);
  assert.deepEqual([patches, lengthBytes], [[], image.length]);
});

test('two entries of one cluster keep it, counted twice', async (context) => {
  const at = inFolder(await testFolder(context));
  const image = (await images(context)).get('plain') ?? Buffer.alloc(0);
  const { l2 } = placesOf(image);
  const damaged = Buffer.from(image);
  damaged.copy(damaged, l2 + 16, l2, l2 + 8);
  await assertRepaired(at, damaged, damaged, 'shared');
});

test('any damaged byte of the tables is repaired or said, and nothing that a reader sees is changed', async (context) => {
  const at = inFolder(await testFolder(context));
  const made = await images(context);
  let repairedCount = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...made.keys()),
      fc.constantFrom('table', 'blocks', 'l1', 'l2'),
      fc.nat({ max: 160 }),
      fc.nat({ max: 255 }),
      async (name, where, offset, value) => {
        const image = made.get(name) ?? Buffer.alloc(0);
        const damaged = Buffer.from(image);
        damaged[placesOf(image)[where as 'l1'] + offset] = value;
        const what = `${name}: byte ${offset} of ${where} = ${value}`;
        const repair = await plan(damaged).catch(
          (error) => void assert.ok(error instanceof ImageError, what),
        );
        if (repair === undefined || repair.remaining.length > 0) return;
        // An entry may have come to name what is no compressed cluster: nobody reads that, before or after.
        await writeFile(at('damaged'), damaged);
        const isRead = await qemuBytes(at('damaged')).then(
          () => true,
          () => false,
        );
        if (!isRead) return;
        repairedCount++;
        await assertRepaired(at, damaged, damaged, what);
      },
    ),
    { numRuns: 60 },
  );
  assert.ok(repairedCount > 10, String(repairedCount));
});
