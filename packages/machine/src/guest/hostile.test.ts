import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { diskOf, MIB, makeExt, makeFat, makeNtfs, makeXfs, temporaryFolder } from './images.testkit.ts';
import { inspectGuest } from './inspect.ts';
import { linuxDisk, linuxTree } from './machines.testkit.ts';
import { proposeLaunch } from './propose.ts';
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

/** Bends are made where something stands: elsewhere nobody looks. */
function usedPlaces(bytes: Uint8Array): number[] {
  const places: number[] = [];
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  for (const [index, word] of words.entries()) if (word !== 0) places.push(index * 4);
  return places;
}

function bent(bytes: Uint8Array, places: readonly number[], bends: readonly Bend[]): Uint8Array {
  const changed = bytes.slice();
  const view = new DataView(changed.buffer);
  for (const { place, value, kind } of bends) {
    const at = places[place % places.length] ?? 0;
    if (kind === 'byte') changed[at + (value % 4)] = value % 256;
    else if (kind === 'word') view.setUint32(at, value, true);
    else if (kind === 'ones') view.setUint32(at, 0xffffffff, true);
    else view.setUint32(at, view.getUint32(places[value % places.length] ?? 0));
  }
  return changed;
}

/** Bends of the structures only: the programs and fillers in a file are of no interest. */
async function survives(bytes: Uint8Array, runs: number): Promise<void> {
  const places = usedPlaces(bytes);
  await fc.assert(
    fc.asyncProperty(fc.array(bend, { minLength: 1, maxLength: 40 }), async (bends) => {
      const report = await inspectGuest(await diskOf(bent(bytes, places, bends)), { limits });
      const proposal = proposeLaunch(report);
      assert.ok(proposal.reasons.length > 0);
      JSON.stringify(report);
    }),
    { numRuns: runs },
  );
}

const kernels = { 'usr/bin/dash': '\x7fELF a program', 'usr/lib/a': 'b' };

const images: readonly (readonly [name: string, make: (folder: string) => Promise<Uint8Array>])[] = [
  ['a disk with GPT, FAT and ext4', (folder) => linuxDisk(folder, { files: kernels })],
  [
    'an ext2 with block maps',
    async (folder) =>
      makeExt(folder, await linuxTree(folder, { files: kernels }), ['-t', 'ext2', '-b', '1024'], 4 * MIB),
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
  const whole = await makeXfs(folder, await linuxTree(folder, { files: kernels }), ['-m', 'crc=0']);
  // What follows the first group is empty but for the log: it takes no part.
  await survives(whole.slice(0, 16 * MIB), 100);
});
