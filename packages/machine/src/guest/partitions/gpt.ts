import { crc32 } from 'node:zlib';
import { type ByteSource, isZero, readStructure } from '@gantry/disk';
import { Fields } from '../fields.ts';
import type { Findings } from '../findings.ts';
import { GPT_ENTRY_BYTES_MAX, PARTITION_COUNT_MAX } from '../limits.ts';
import type { Partition, PartitionTable } from './partition.ts';
import { gptTypeName } from './types.ts';

const SIGNATURE = 'EFI PART';
/** UEFI 2.10, 5.3.3. */
const LEGACY_BIOS_BOOTABLE = 4n;

interface GptHeader {
  readonly sectorBytes: number;
  readonly sector: number;
  readonly otherSector: number;
  readonly firstUsable: number;
  readonly diskGuid: string;
  readonly entries: Uint8Array;
  readonly entryBytes: number;
}

/**
 * The GPT of a disk: the primary one, or the backup where that is damaged. Undefined where there is neither. Both
 * headers and their entries are compared with their checksums.
 */
export async function readGpt(
  disk: ByteSource,
  findings: Findings,
): Promise<Omit<PartitionTable, 'isHybrid'> | undefined> {
  const problems: string[] = [];
  const tryAt = async (sector: number, sectorBytes: number) =>
    headerAt(disk, sector, sectorBytes).catch((error: unknown) => {
      findings.rethrowUnlessImage(error);
      problems.push((error as Error).message);
      return undefined;
    });
  for (const sectorBytes of [512, 4096]) {
    const primary = await tryAt(1, sectorBytes);
    const lastSector = Math.floor(disk.lengthBytes / sectorBytes) - 1;
    const backup = await tryAt(primary?.otherSector ?? lastSector, sectorBytes);
    const header = primary ?? backup;
    if (header === undefined) continue;
    if (primary === undefined) {
      findings.add({
        severity: 'warning',
        code: 'GPT_PRIMARY_DAMAGED',
        where: 'partition table',
        message: `the primary GPT is damaged${problems[0] === undefined ? '' : ` (${problems[0]})`}; the backup at the end of the disk was read`,
        hint: 'UEFI firmware may take the backup, boot loaders may not: repair it with sgdisk --load-backup or gdisk',
      });
    } else if (backup === undefined) {
      findings.add({
        severity: 'note',
        code: 'GPT_BACKUP_MISSING',
        where: 'partition table',
        message: 'the backup GPT is missing or damaged',
        hint: 'the disk may have been cut: sgdisk --move-second-header puts it where it belongs',
      });
    } else if (backup.sector !== lastSector) {
      findings.add({
        severity: 'note',
        code: 'GPT_BACKUP_NOT_AT_END',
        where: 'partition table',
        message: 'the backup GPT does not stand at the end of the disk: it was made larger',
      });
    }
    return { kind: 'gpt', id: header.diskGuid, sectorBytes, partitions: partitionsOf(header) };
  }
  if (problems.length > 0) {
    findings.add({
      severity: 'error',
      code: 'GPT_DAMAGED',
      where: 'partition table',
      message: `the GPT is damaged and has no backup that can be read: ${problems[0]}`,
    });
  }
  return undefined;
}

/** The header at a sector and its entries; undefined where there is none. Throws ImageError for one that is damaged. */
async function headerAt(
  disk: ByteSource,
  sector: number,
  sectorBytes: number,
): Promise<GptHeader | undefined> {
  const structure = `GPT header at sector ${sector}`;
  if (sector < 1 || (sector + 1) * sectorBytes > disk.lengthBytes) return undefined;
  const header = new Fields(await readStructure(disk, sector * sectorBytes, 512, structure), structure);
  if (!header.has(0, SIGNATURE)) return undefined;
  const headerBytes = header.u32(12);
  if (headerBytes < 92 || headerBytes > 512) throw header.malformed(`a length of ${headerBytes} bytes`);
  const summed = header.part(0, headerBytes).slice();
  summed.fill(0, 16, 20);
  if (crc32(summed) !== header.u32(16)) throw header.malformed('its checksum is wrong');
  if (header.u64(24) !== sector) throw header.malformed(`it says that it stands at sector ${header.u64(24)}`);
  const count = header.u32(80);
  const entryBytes = header.u32(84);
  if (entryBytes < 128 || entryBytes > GPT_ENTRY_BYTES_MAX || entryBytes % 8 !== 0)
    throw header.malformed(`entries of ${entryBytes} bytes`);
  if (count > PARTITION_COUNT_MAX)
    throw header.malformed(`${count} entries; ${PARTITION_COUNT_MAX} are taken`);
  const entries = await readStructure(disk, header.u64(72) * sectorBytes, count * entryBytes, 'GPT entries');
  if (crc32(entries) !== header.u32(88)) throw header.malformed('the checksum of the entries is wrong');
  return {
    sectorBytes,
    sector,
    otherSector: header.u64(32),
    firstUsable: header.u64(40),
    diskGuid: header.guid(56),
    entries,
    entryBytes,
  };
}

function partitionsOf({ entries, entryBytes, sectorBytes }: GptHeader): Partition[] {
  const partitions: Partition[] = [];
  for (let index = 0; (index + 1) * entryBytes <= entries.length; index++) {
    const entry = new Fields(
      entries.subarray(index * entryBytes, (index + 1) * entryBytes),
      `GPT entry ${index + 1}`,
    );
    if (isZero(entry.part(0, 16).slice())) continue;
    const type = entry.guid(0);
    const first = entry.u64(32);
    const last = entry.u64(40);
    const typeName = gptTypeName(type);
    const name = entry.utf16(56, 72);
    partitions.push({
      number: index + 1,
      offsetBytes: first * sectorBytes,
      lengthBytes: Math.max(0, last - first + 1) * sectorBytes,
      type,
      ...(typeName !== undefined && { typeName }),
      ...(name !== '' && { name }),
      uuid: entry.guid(16),
      isActive: (entry.big(48) & LEGACY_BIOS_BOOTABLE) !== 0n,
    });
  }
  return partitions;
}
