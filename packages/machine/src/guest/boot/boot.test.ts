import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { diskOf, MIB, makeDisk, makeFat, temporaryFolder } from '../images.testkit.ts';
import { inspectGuest } from '../inspect.ts';

/** Code of a first sector, by the texts that such code has. */
function withCode(disk: Uint8Array, text: string, at = 0x60): Uint8Array {
  const changed = disk.slice();
  changed.set([0xfa, 0x33, 0xc0], 0);
  changed.set(Buffer.from(text, 'latin1'), at);
  return changed;
}

async function bios(disk: Uint8Array) {
  const { firmware, bootLoaders } = await inspectGuest(await diskOf(disk));
  return { ...firmware.bios, loaders: bootLoaders.map(({ name }) => name) };
}

test('code that starts the active partition needs one with a boot sector', async (t) => {
  const folder = await temporaryFolder(t);
  const generic = 'Invalid partition table\0Error loading operating system\0Missing operating system';
  const fat = await makeFat(folder, {}, ['-F', '12'], MIB);
  const starting = withCode(fat, 'BOOTMGR is missing', 0x100);
  // The maker's text says that it starts nothing.
  starting.set(new Uint8Array(100), 0x40);
  const disk = (content: Uint8Array, flag: string) =>
    makeDisk(folder, 'dos', [{ content, entry: `type=c${flag}` }]);
  const inactive = await bios(withCode(await disk(fat, ''), generic));
  assert.deepEqual([inactive.boots, inactive.reasons], ['no', ['no partition is active']]);
  const plain = await bios(withCode(await disk(fat, ', bootable'), generic));
  assert.deepEqual(
    [plain.boots, plain.reasons],
    ['no', ['the boot sector of the active partition 1 starts nothing']],
  );
  const empty = await bios(withCode(await disk(new Uint8Array(MIB), ', bootable'), generic));
  assert.deepEqual([empty.boots, empty.reasons], ['no', ['the active partition 1 has no boot sector']]);
  const windows = await bios(withCode(await disk(starting, ', bootable'), generic));
  assert.deepEqual([windows.boots, windows.loaders], ['yes', ['Windows']]);
  const other = await bios(withCode(await disk(new Uint8Array(MIB), ', bootable'), 'a boot manager'));
  assert.equal(other.boots, 'unknown');
});

test('GRUB is followed to what it goes on with, GRUB Legacy too', async (t) => {
  const folder = await temporaryFolder(t);
  const disk = await makeDisk(folder, 'dos', [{ content: new Uint8Array(MIB), entry: 'type=83' }]);
  const code = new Uint8Array(await readFile('/usr/lib/grub/i386-pc/boot.img')).subarray(0, 440);
  disk.set(code);
  assert.equal((await bios(disk)).boots, 'no');
  disk.set([1, 2, 3], 512);
  assert.deepEqual((await bios(disk)).loaders, ['GRUB']);
  // Stage 1 of GRUB Legacy by its header: the version, then the sector, where GRUB 2 has code and the other way round.
  const legacy = withCode(disk, 'GRUB \0Geom\0Hard Disk\0Read\0 Error', 0x180);
  legacy.fill(0x90, 0x40, 0x100);
  legacy.set([3, 2], 0x3e);
  legacy.set([1, 0, 0, 0], 0x44);
  assert.deepEqual((await bios(legacy)).boots, 'yes');
  legacy.set([9, 0, 0, 0], 0x44);
  assert.deepEqual((await bios(legacy)).boots, 'no');
});
