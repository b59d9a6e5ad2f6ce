import { type ByteSource, isZero, readStructure } from '@gantry/disk';
import { Fields } from '../fields.ts';
import type { Findings } from '../findings.ts';
import type { PartitionTable } from '../partitions/partition.ts';
import { BIOS_BOOT } from '../partitions/types.ts';
import type { BootLoader, FirmwareAnswer } from '../report.ts';
import type { DiskContent } from '../volumes/find.ts';

const SECTOR_BYTES = 512;
/** Code ends where the disk's signature stands. */
const CODE_BYTES = 440;
/** GRUB, `include/grub/i386/pc/boot.h`: GRUB_BOOT_MACHINE_KERNEL_SECTOR. */
const GRUB_KERNEL_SECTOR = 0x5c;
/** GRUB Legacy, `stage1/stage1.h`: its version 3.2 stands here, and the sector that it goes on with there. */
const LEGACY_VERSION = 0x3e;
const LEGACY_STAGE2_SECTOR = 0x44;

/** What starts in the first sector of a disk or partition, by the texts of its code. */
const knownCode: readonly (readonly [text: RegExp, name: string])[] = [
  [/GRUB \0?Geom|GRUB/, 'GRUB'],
  [/BOOTMGR|NTLDR/, 'Windows'],
  [/SYSLINUX|EXTLINUX|isolinux/i, 'syslinux'],
  [/LILO/, 'LILO'],
  [/TCPA|Invalid partition table|Error loading operating system/, 'code that starts the active partition'],
  [/Missing operating system|Boot error\r\n/, 'code that starts the active partition'],
];

/** `mkfs.fat` writes a boot sector that only says this. */
const NOT_BOOTABLE = /This is not a bootable disk/;

interface BiosBoot extends FirmwareAnswer {
  readonly loader?: BootLoader;
}

/** Whether a BIOS finds something to start: it runs the first sector, whatever the partition table is. */
export async function biosBoot(
  disk: ByteSource,
  content: DiskContent,
  findings: Findings,
): Promise<BiosBoot> {
  if (disk.lengthBytes < SECTOR_BYTES) return no('the disk is empty');
  const sector = new Fields(await readStructure(disk, 0, SECTOR_BYTES, 'first sector'), 'first sector');
  const cd = await elTorito(disk);
  if (cd.bios)
    return {
      boots: 'yes',
      reasons: ['the boot catalog of the CD has an entry for a BIOS'],
      loader: loaderOf('El Torito', 'the whole disk'),
    };
  if (sector.u16(510) !== 0xaa55) return no('the first sector does not end with 55 AA');
  if (isZero(sector.part(0, CODE_BYTES).slice())) return no('the first sector holds no boot code');
  const name = codeName(sector, CODE_BYTES);
  const { table, volumes } = content;
  if (name === 'GRUB') return grubBoot(disk, sector, content, findings);
  if (table.kind === 'none') {
    const onFileSystem = volumes.length > 0 && name === undefined;
    if (NOT_BOOTABLE.test(textOf(sector, SECTOR_BYTES)))
      return no('the boot sector of the file system starts nothing');
    if (name !== undefined) return yes(name, 'the whole disk', `the first sector holds ${name}`);
    return unknown(
      onFileSystem
        ? 'the boot sector of the file system has code that is not known'
        : 'the first sector has code that is not known',
    );
  }
  return partitionBoot(disk, name, table);
}

/** What the code of the first sector makes of the active partition. Code that is not known may do otherwise. */
async function partitionBoot(
  disk: ByteSource,
  name: string | undefined,
  table: PartitionTable,
): Promise<BiosBoot> {
  const not = (reason: string) =>
    name === undefined ? unknown(`the first sector has code that is not known, and ${reason}`) : no(reason);
  const active = table.partitions.find(({ isActive }) => isActive === true);
  if (active === undefined) return not('no partition is active');
  if (active.offsetBytes + SECTOR_BYTES > disk.lengthBytes)
    return not('the active partition lies behind the end of the disk');
  const where = `partition ${active.number}`;
  const boot = new Fields(await readStructure(disk, active.offsetBytes, SECTOR_BYTES, where), where);
  if (boot.u16(510) !== 0xaa55) return not(`the active ${where} has no boot sector`);
  if (NOT_BOOTABLE.test(textOf(boot, SECTOR_BYTES)))
    return not(`the boot sector of the active ${where} starts nothing`);
  const below = codeName(boot, SECTOR_BYTES - 2);
  if (below === undefined)
    return unknown(`the active ${where} has a boot sector with code that is not known`);
  return yes(below, where, `the active ${where} starts ${below}`);
}

/** GRUB's first sector loads its second part from a sector that it names. */
async function grubBoot(
  disk: ByteSource,
  sector: Fields,
  { table }: DiskContent,
  findings: Findings,
): Promise<BiosBoot> {
  const isLegacy = sector.u8(LEGACY_VERSION) === 3 && sector.u8(LEGACY_VERSION + 1) <= 2;
  const secondSector = isLegacy ? sector.u32(LEGACY_STAGE2_SECTOR) : sector.u64(GRUB_KERNEL_SECTOR);
  const second = secondSector * SECTOR_BYTES;
  const biosPartition = table.partitions.find(({ type }) => type === BIOS_BOOT);
  if (second === 0 || second + SECTOR_BYTES > disk.lengthBytes)
    return no('GRUB is in the first sector, and the sector that it goes on with is not on the disk');
  const core = await readStructure(disk, second, SECTOR_BYTES, 'GRUB');
  if (isZero(core))
    return no(`GRUB is in the first sector, and where it goes on, at byte ${second}, there is nothing`);
  const isInside =
    biosPartition !== undefined &&
    second >= biosPartition.offsetBytes &&
    second < biosPartition.offsetBytes + biosPartition.lengthBytes;
  if (table.kind === 'gpt' && !isInside) {
    findings.add({
      severity: 'warning',
      code: 'GRUB_OUTSIDE_BIOS_BOOT_PARTITION',
      where: 'first sector',
      message: 'GRUB goes on outside a BIOS boot partition: what moves its file breaks it',
    });
  }
  const place = isInside ? `, which goes on in the BIOS boot partition ${biosPartition.number}` : '';
  return yes('GRUB', 'first sector', `GRUB is in the first sector${place}`);
}

/** El Torito 1.0: the boot record of a CD names a catalog with an entry for each kind of firmware. */
export async function elTorito(
  disk: ByteSource,
): Promise<{ readonly bios: boolean; readonly uefi: boolean }> {
  const none = { bios: false, uefi: false };
  const recordBytes = 17 * 2048;
  if (disk.lengthBytes < recordBytes + 2048) return none;
  const record = new Fields(await readStructure(disk, recordBytes, 2048, 'boot record'), 'boot record');
  if (!record.has(0, '\0CD001\x01EL TORITO SPECIFICATION')) return none;
  const at = record.u32(0x47) * 2048;
  if (at + 2048 > disk.lengthBytes) return none;
  const catalog = new Fields(await readStructure(disk, at, 2048, 'boot catalog'), 'boot catalog');
  if (catalog.u8(0) !== 1 || catalog.u8(30) !== 0x55 || catalog.u8(31) !== 0xaa) return none;
  const found = new Set<number>();
  if (catalog.u8(32) === 0x88) found.add(catalog.u8(1));
  for (let entry = 64; entry + 64 <= 2048; entry += 32) {
    const header = catalog.u8(entry);
    if (header !== 0x90 && header !== 0x91) continue;
    if (catalog.u8(entry + 32) === 0x88) found.add(catalog.u8(entry + 1));
  }
  return { bios: found.has(0), uefi: found.has(0xef) };
}

function codeName(sector: Fields, lengthBytes: number): string | undefined {
  const text = textOf(sector, lengthBytes);
  return knownCode.find(([pattern]) => pattern.test(text))?.[1];
}

function textOf(sector: Fields, lengthBytes: number): string {
  return sector.latin1(0, lengthBytes);
}

function loaderOf(name: string, where: string): BootLoader {
  return { firmware: 'bios', name, where };
}

function yes(name: string, where: string, reason: string): BiosBoot {
  return { boots: 'yes', reasons: [reason], loader: loaderOf(name, where) };
}

function no(reason: string): BiosBoot {
  return { boots: 'no', reasons: [reason] };
}

function unknown(reason: string): BiosBoot {
  return { boots: 'unknown', reasons: [reason] };
}
