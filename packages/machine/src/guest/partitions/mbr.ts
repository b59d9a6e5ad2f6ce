import { type ByteSource, readStructure } from '@gantry/disk';
import { Fields, tooMany } from '../fields.ts';
import type { Findings } from '../findings.ts';
import { LOGICAL_PARTITION_COUNT_MAX } from '../limits.ts';
import type { Partition } from './partition.ts';
import { isExtended, mbrTypeName } from './types.ts';

export const SECTOR_BYTES = 512;
const PROTECTIVE = 0xee;

interface MbrEntry {
  /** From 1. */
  readonly number: number;
  readonly flag: number;
  readonly type: number;
  readonly startSector: number;
  readonly sectorCount: number;
}

/** The first sector, where it may be that of a partitioned disk. */
export interface Mbr {
  readonly sector: Fields;
  readonly id: string;
  readonly entries: readonly MbrEntry[];
  readonly isProtective: boolean;
  readonly isHybrid: boolean;
}

/**
 * The MBR of a disk; undefined where the first sector is none. The same signature ends the first sector of file
 * systems: entries that make no sense there are text or code.
 */
export async function readMbr(disk: ByteSource): Promise<Mbr | undefined> {
  if (disk.lengthBytes < SECTOR_BYTES) return undefined;
  const sector = new Fields(await readStructure(disk, 0, SECTOR_BYTES, 'MBR'), 'MBR');
  if (sector.u16(510) !== 0xaa55) return undefined;
  const all = entriesOf(sector);
  const entries = all.filter(({ type, sectorCount }) => type !== 0 && sectorCount > 0);
  const isSound = all.every(({ flag }) => flag === 0 || flag === 0x80);
  const diskSectors = disk.lengthBytes / SECTOR_BYTES;
  const startsInside = entries.some(({ startSector }) => startSector > 0 && startSector < diskSectors);
  // An empty table is one too, but not below the boot sector of a file system.
  if (!isSound || !(startsInside || (entries.length === 0 && !isBootSectorOfFat(sector)))) return undefined;
  const signature = sector.u32(440);
  const isProtective = entries.some(({ type }) => type === PROTECTIVE);
  return {
    sector,
    id: `0x${signature.toString(16).padStart(8, '0')}`,
    entries,
    isProtective,
    isHybrid: isProtective && entries.length > 1,
  };
}

/** Primary and logical partitions. A chain that is cut or turns back ends there, with a finding. */
export async function mbrPartitions(disk: ByteSource, mbr: Mbr, findings: Findings): Promise<Partition[]> {
  const partitions: Partition[] = [];
  for (const entry of mbr.entries) {
    partitions.push(partitionOf(entry, entry.startSector, mbr.id));
    if (!isExtended(entry.type)) continue;
    await findings.guard(`extended partition ${entry.number}`, async () => {
      for await (const logical of logicalPartitions(disk, entry, mbr.id)) partitions.push(logical);
    });
  }
  return partitions;
}

/** Each extended boot record holds a partition, counted from itself, and the next record, counted from the first. */
async function* logicalPartitions(
  disk: ByteSource,
  extended: MbrEntry,
  diskId: string,
): AsyncGenerator<Partition, void, undefined> {
  const seen = new Set<number>();
  let sector = extended.startSector;
  let number = 5;
  for (;;) {
    if (seen.size >= LOGICAL_PARTITION_COUNT_MAX)
      throw tooMany('logical partitions', LOGICAL_PARTITION_COUNT_MAX);
    const structure = `extended boot record at sector ${sector}`;
    const record = new Fields(
      await readStructure(disk, sector * SECTOR_BYTES, SECTOR_BYTES, structure),
      structure,
    );
    if (seen.has(sector)) throw record.malformed('the chain of logical partitions turns back');
    seen.add(sector);
    if (record.u16(510) !== 0xaa55) throw record.malformed('it does not end with 55 AA');
    const entries = entriesOf(record).filter(({ type, sectorCount }) => type !== 0 && sectorCount > 0);
    for (const entry of entries) {
      if (isExtended(entry.type)) continue;
      yield partitionOf({ ...entry, number }, sector + entry.startSector, diskId);
      number++;
    }
    const next = entries.find(({ type }) => isExtended(type));
    if (next === undefined) return;
    sector = extended.startSector + next.startSector;
  }
}

function entriesOf(sector: Fields): MbrEntry[] {
  return [1, 2, 3, 4].map((number) => {
    const at = 446 + (number - 1) * 16;
    return {
      number,
      flag: sector.u8(at),
      type: sector.u8(at + 4),
      startSector: sector.u32(at + 8),
      sectorCount: sector.u32(at + 12),
    };
  });
}

function partitionOf(
  { number, flag, type, sectorCount }: MbrEntry,
  startSector: number,
  diskId: string,
): Partition {
  const typeName = mbrTypeName(type);
  return {
    number,
    offsetBytes: startSector * SECTOR_BYTES,
    lengthBytes: sectorCount * SECTOR_BYTES,
    type: `0x${type.toString(16).padStart(2, '0')}`,
    ...(typeName !== undefined && { typeName }),
    uuid: `${diskId.slice(2)}-${number.toString(16).padStart(2, '0')}`,
    isActive: flag === 0x80,
  };
}

/** A jump, and sectors of a size that FAT and NTFS have. */
function isBootSectorOfFat(sector: Fields): boolean {
  const jumps = sector.u8(0) === 0xeb || sector.u8(0) === 0xe9;
  return jumps && [512, 1024, 2048, 4096].includes(sector.u16(11)) && sector.u8(13) > 0;
}
