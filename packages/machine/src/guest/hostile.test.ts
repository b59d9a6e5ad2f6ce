import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import {
  diskOf,
  MIB,
  makeDisk,
  makeExt,
  makeFat,
  makeNtfs,
  makeXfs,
  temporaryFolder,
} from './images.testkit.ts';
import { inspectGuest } from './inspect.ts';
import { linuxDisk, linuxTree } from './machines.testkit.ts';
import { proposeLaunch } from './propose.ts';
import { linuxPv } from './volumes/lvm.testkit.ts';
import { windowsTree } from './windows.testkit.ts';

/** What an inspection of a bent image may cost at the most: a loop that is followed would meet it. */
const limits = { readBytes: 256 * MIB, steps: 400_000, timeMs: 20_000 };

interface Bend {
  readonly place: number;
  readonly value: number;
  readonly kind: 'byte' | 'word' | 'ones' | 'copy';
}

const bend: fc.Arbitrary<Bend> = fc.record({
  place: fc.nat(),
  value: fc.nat(2 ** 32 - 1),
  kind: fc.constantFrom('byte', 'word', 'ones', 'copy'),
});

/** The words that are not zero, by blocks: a file's many blocks of content weigh no more than they have to. */
function usedWords(bytes: Uint8Array): number[][] {
  const blocks = new Map<number, number[]>();
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  for (const [index, word] of words.entries()) {
    if (word === 0) continue;
    const block = Math.floor(index / 256);
    const places = blocks.get(block);
    if (places === undefined) blocks.set(block, [index * 4]);
    else places.push(index * 4);
  }
  return [...blocks.values()];
}

function placeOf(blocks: readonly number[][], choice: number): number {
  const block = blocks[choice % blocks.length] ?? [];
  return block[Math.floor(choice / blocks.length) % block.length] ?? 0;
}

/** Bends the bytes, and gives what bends them back. */
function bendBytes(bytes: Uint8Array, blocks: readonly number[][], bends: readonly Bend[]): () => void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const undo: (readonly [at: number, word: number])[] = [];
  for (const { place, value, kind } of bends) {
    const at = placeOf(blocks, place);
    undo.push([at, view.getUint32(at)]);
    if (kind === 'byte') bytes[at + (value % 4)] = value % 256;
    else if (kind === 'word') view.setUint32(at, value);
    else if (kind === 'ones') view.setUint32(at, 0xffffffff);
    else view.setUint32(at, view.getUint32(placeOf(blocks, value)));
  }
  return () => {
    for (const [at, word] of undo.toReversed()) view.setUint32(at, word);
  };
}

async function survives(bytes: Uint8Array, runs: number): Promise<void> {
  const blocks = usedWords(bytes);
  const disk = await diskOf(bytes);
  const { fileSystems, operatingSystems } = await inspectGuest(disk);
  const isAlone = fileSystems.every(({ kind }) => kind === 'fat12');
  assert.ok(operatingSystems.length > 0 || isAlone, 'what is bent is read to its end before');
  await fc.assert(
    fc.asyncProperty(fc.array(bend, { minLength: 1, maxLength: 40 }), async (bends) => {
      const bendBack = bendBytes(bytes, blocks, bends);
      try {
        const report = await inspectGuest(disk, { limits });
        assert.ok(proposeLaunch(report).reasons.length > 0);
        JSON.stringify(report);
      } finally {
        bendBack();
      }
    }),
    { numRuns: runs },
  );
}

const kernels = { 'usr/bin/dash': '\x7fELF a program', 'usr/lib/a': 'b' };

async function lvmDisk(folder: string): Promise<Uint8Array> {
  const logical = { content: await linuxPv(folder), entry: 'type=8e' };
  return makeDisk(folder, 'dos', [logical]);
}

const images: readonly (readonly [name: string, make: (folder: string) => Promise<Uint8Array>])[] = [
  ['a disk with MBR and LVM2', lvmDisk],
  ['a disk with GPT, FAT and ext4', (folder) => linuxDisk(folder, { files: kernels })],
  [
    'an ext2 with block maps',
    async (folder) =>
      makeExt(
        folder,
        await linuxTree(folder, { files: kernels, compress: 'cat' }),
        ['-t', 'ext2', '-b', '1024'],
        4 * MIB,
      ),
  ],
  [
    'an ext4 with data in inodes',
    async (folder) =>
      makeExt(
        folder,
        await linuxTree(folder, { files: kernels, compress: 'lz4 -l -q -c' }),
        ['-t', 'ext4', '-O', 'inline_data', '-I', '512'],
        8 * MIB,
      ),
  ],
  [
    'a FAT12',
    (folder) =>
      makeFat(folder, { 'EFI/BOOT/BOOTX64.EFI': 'MZ', 'etc/os-release': 'ID=x' }, ['-F', '12'], 2 * MIB),
  ],
  [
    'a Windows in NTFS',
    async (folder) =>
      makeNtfs(
        folder,
        await windowsTree(folder, { drivers: { viostor: 0 }, libraryCount: 100, serviceCount: 50 }),
        [],
        8 * MIB,
      ),
  ],
];

for (const [name, make] of images) {
  test(`${name} that was bent anywhere ends in a report`, async (t: TestContext) => {
    await survives(await make(await temporaryFolder(t)), 150);
  });
}

test('an XFS that was bent anywhere ends in a report', async (t) => {
  const folder = await temporaryFolder(t);
  await survives(await makeXfs(folder, await linuxTree(folder, { files: kernels }), ['-m', 'crc=0']), 150);
});
