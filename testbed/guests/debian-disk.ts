import { copyFile, mkdir, mkdtemp, open, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tool } from './packages.ts';
import { type GuestSystem, guestSystem, once } from './system.ts';

/**
 * What the guest does when it has said what it found: switch itself off, wait for the power button, or write how
 * often it did so to sector 2047 of every disk, over and over, until the power button is pressed.
 */
export type GuestTask = 'poweroff' | 'wait' | 'count';

/** Small, and not a whole number of the larger blocks that formats have. */
export const DEBIAN_DISK_BYTES: number = 65 * 2 ** 20 + 3 * 512;

const SECTOR_BYTES = 512;
const PARTITION_SECTOR = 2048;
const PARTITION_SECTORS: number = (64 * 2 ** 20) / SECTOR_BYTES;
/** An EFI system partition, so that both kinds of firmware start from it. */
const PARTITION_TYPE = 0xef;
const VOLUME_ID = '47414e54';
const VOLUME_UUID = 'UUID=4741-4E54';
const DISC_LABEL = 'GANTRY_DISC';
/** The time of all files, in seconds: a disk is the same whenever it was made. */
const FILE_TIME = 1_700_000_000;
/** What stands at the top of the file system. */
const MEDIUM_FILES = ['vmlinuz', 'initrd.img', 'syslinux.cfg', 'grub', 'EFI'];
const MBR_CODE = '/usr/lib/syslinux/mbr/mbr.bin';

/**
 * The path of a raw disk with a Linux that starts under a BIOS and under UEFI, from IDE, SATA, SCSI, NVMe, USB and
 * virtio, without a screen. On its first serial port it writes lines that begin with `gantry guest: `, the first `up`
 * with the kernel's release and command line. The file is shared: it is not written to.
 */
export async function debianDisk(task: GuestTask = 'poweroff'): Promise<string> {
  const system = await guestSystem();
  const folder = join(system.folder, task);
  await once(folder, (into) => makeDebianDisk(join(into, 'disk.raw'), system, task));
  return join(folder, 'disk.raw');
}

/** The path of a disc, a CD, with the same Linux; a BIOS starts it. */
export async function debianDisc(task: GuestTask = 'poweroff'): Promise<string> {
  const system = await guestSystem();
  const folder = join(system.folder, `disc-${task}`);
  await once(folder, (into) => makeDisc(join(into, 'disc.iso'), system, task));
  return join(folder, 'disc.iso');
}

/** Makes the disk. The same system and task give the same bytes. */
export async function makeDebianDisk(path: string, system: GuestSystem, task: GuestTask): Promise<void> {
  await inTemporaryFolder(async (folder) => {
    const words = kernelWords(task, VOLUME_UUID);
    await stage(folder, system, words);
    await writeFile(
      join(folder, 'syslinux.cfg'),
      `DEFAULT guest\nLABEL guest\nLINUX /vmlinuz\nINITRD /initrd.img\nAPPEND ${words}\n`,
    );
    await mkdir(join(folder, 'EFI/BOOT'), { recursive: true });
    await grubImage('x86_64-efi', join(folder, 'EFI/BOOT/BOOTX64.EFI'), ['part_msdos', 'fat']);
    await writeFile(path, '');
    await truncate(path, DEBIAN_DISK_BYTES);
    await makeFileSystem(folder, path);
    await writePartitionTable(path);
  });
}

async function makeFileSystem(folder: string, path: string): Promise<void> {
  await tool('mkfs.fat', [
    ...[
      '--invariant',
      '-F',
      '32',
      '-s',
      '1',
      '-i',
      VOLUME_ID,
      '-n',
      'GANTRY',
      '-h',
      String(PARTITION_SECTOR),
    ],
    ...['--offset', String(PARTITION_SECTOR), path, String(PARTITION_SECTORS / 2)],
  ]);
  for (const name of ['grub/grub.cfg', 'EFI/BOOT/BOOTX64.EFI', 'EFI/BOOT', ...MEDIUM_FILES])
    await utimes(join(folder, name), FILE_TIME, FILE_TIME);
  const files = MEDIUM_FILES.map((name) => join(folder, name));
  const offset = PARTITION_SECTOR * SECTOR_BYTES;
  const environment = { MTOOLS_SKIP_CHECK: '1', SOURCE_DATE_EPOCH: String(FILE_TIME), TZ: 'UTC' };
  await tool('mcopy', ['-s', '-m', '-i', `${path}@@${offset}`, ...files, '::/'], environment);
  await tool('syslinux', ['--install', '--offset', String(offset), path], environment);
}

/** Syslinux's first sector, which starts what stands in the active partition, with a table of one. */
async function writePartitionTable(path: string): Promise<void> {
  const sector = Buffer.alloc(SECTOR_BYTES);
  sector.set((await readFile(MBR_CODE)).subarray(0, 440));
  sector.write('GNTR', 440, 'latin1');
  sector[446] = 0x80;
  // No cylinders: 0xfeffff stands for places beyond what they reach.
  sector.set([0xfe, 0xff, 0xff, PARTITION_TYPE, 0xfe, 0xff, 0xff], 447);
  sector.writeUInt32LE(PARTITION_SECTOR, 454);
  sector.writeUInt32LE(PARTITION_SECTORS, 458);
  sector.set([0x55, 0xaa], 510);
  const file = await open(path, 'r+');
  try {
    await file.write(sector, 0, undefined, 0);
  } finally {
    await file.close();
  }
}

async function makeDisc(path: string, system: GuestSystem, task: GuestTask): Promise<void> {
  await inTemporaryFolder(async (folder) => {
    await stage(folder, system, kernelWords(task, `LABEL=${DISC_LABEL}`));
    await grubImage('i386-pc-eltorito', join(folder, 'grub/eltorito.img'), ['biosdisk', 'iso9660']);
    await tool('genisoimage', [
      ...['-quiet', '-R', '-V', DISC_LABEL, '-o', path, '-b', 'grub/eltorito.img'],
      ...['-no-emul-boot', '-boot-load-size', '4', '-boot-info-table', folder],
    ]);
  });
}

function kernelWords(task: GuestTask, files: string): string {
  return `console=ttyS0 quiet gantry.then=${task} gantry.files=${files}`;
}

/** Puts into the folder what every medium has. */
async function stage(folder: string, system: GuestSystem, words: string): Promise<void> {
  await copyFile(system.kernelPath, join(folder, 'vmlinuz'));
  await copyFile(system.initrdPath, join(folder, 'initrd.img'));
  await mkdir(join(folder, 'grub'));
  await writeFile(join(folder, 'grub/grub.cfg'), `linux /vmlinuz ${words}\ninitrd /initrd.img\nboot\n`);
}

/** A GRUB that does what `/grub/grub.cfg` of the medium says that it was started from. */
async function grubImage(
  form: 'i386-pc-eltorito' | 'x86_64-efi',
  path: string,
  modules: readonly string[],
): Promise<void> {
  await tool('grub-mkimage', ['-O', form, '-p', '/grub', '-o', path, ...modules, 'normal', 'linux']);
}

async function inTemporaryFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-debian-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}
