import { type ByteSource, sliceSource } from '@gantry/disk';
import type { Budget } from '../budget.ts';
import { recogniseFileSystem } from '../files/recognise.ts';
import type { Findings } from '../findings.ts';
import { VOLUME_COUNT_MAX } from '../limits.ts';
import { readGpt } from '../partitions/gpt.ts';
import { type Mbr, mbrPartitions, readMbr, SECTOR_BYTES } from '../partitions/mbr.ts';
import type { Partition, PartitionTable } from '../partitions/partition.ts';
import { logicalVolumes, type PhysicalVolume, readPhysicalVolume } from './lvm.ts';
import type { FilledVolume, Volume } from './volume.ts';

/** How a disk is divided, and what its parts hold. */
export interface DiskContent {
  readonly mbr: Mbr | undefined;
  readonly table: PartitionTable;
  readonly physicalVolumes: readonly PhysicalVolume[];
  /** Partitions, logical volumes and the whole disk, as far as something is known there. */
  readonly volumes: readonly FilledVolume[];
}

export async function findVolumes(
  disk: ByteSource,
  budget: Budget,
  findings: Findings,
): Promise<DiskContent> {
  const mbr = await findings.guard('MBR', () => readMbr(disk));
  const table = await readTable(disk, mbr, findings);
  const parts = [...wholeDisk(disk, table), ...partitionVolumes(disk, table.partitions, findings)];
  const volumes: FilledVolume[] = [];
  const physicalVolumes: PhysicalVolume[] = [];
  const look = async (volume: Volume) => {
    if (volumes.length >= VOLUME_COUNT_MAX) return;
    const content = await findings.guard(volume.where, () =>
      recogniseFileSystem(volume.bytes, budget, volume.where, findings),
    );
    if (content === undefined) return;
    volumes.push({ ...volume, content });
    if (content.isEncrypted === true) {
      findings.add({
        severity: 'warning',
        code: 'ENCRYPTED',
        where: volume.where,
        message: `it is encrypted (${content.kind}): what is in it was not looked at`,
        hint: 'a system in it asks for its passphrase or recovery key at the console, also where a TPM gave it before; clouds whose import refuses encrypted disks want it decrypted first',
      });
    }
    if (content.kind !== 'lvm2') return;
    const physical = await findings.guard(volume.where, () => readPhysicalVolume(volume));
    if (physical !== undefined) physicalVolumes.push(physical);
  };
  for (const part of parts) await look(part);
  for (const volume of logicalVolumes(physicalVolumes, budget, findings)) await look(volume);
  return { mbr, table, physicalVolumes, volumes };
}

/** A GPT goes before the MBR beside it, unless that has no protective partition: then the GPT is left from before. */
async function readTable(
  disk: ByteSource,
  mbr: Mbr | undefined,
  findings: Findings,
): Promise<PartitionTable> {
  const gpt = await findings.guard('partition table', () => readGpt(disk, findings));
  if (gpt !== undefined && mbr !== undefined && !mbr.isProtective && mbr.entries.length > 0) {
    findings.add({
      severity: 'warning',
      code: 'GPT_WITHOUT_PROTECTIVE_MBR',
      where: 'partition table',
      message:
        'there is a GPT, and an MBR that names other partitions and does not protect it: the MBR was taken',
      hint: 'a GPT that is left from before confuses firmware: wipefs removes it',
    });
  } else if (gpt !== undefined) {
    return { ...gpt, ...(mbr?.isHybrid === true && { isHybrid: true }) };
  }
  if (mbr === undefined) return { kind: 'none', sectorBytes: SECTOR_BYTES, partitions: [] };
  const partitions = await mbrPartitions(disk, mbr, findings);
  return { kind: 'mbr', id: mbr.id, sectorBytes: SECTOR_BYTES, partitions };
}

/** CDs have their file system there, also beside a partition table. */
function wholeDisk(disk: ByteSource, table: PartitionTable): Volume[] {
  return table.partitions.length === 0 ? [{ where: 'the whole disk', bytes: disk }] : [];
}

function partitionVolumes(disk: ByteSource, partitions: readonly Partition[], findings: Findings): Volume[] {
  return partitions.flatMap(({ number, offsetBytes, lengthBytes, uuid, name, typeName }): Volume[] => {
    const where = `partition ${number}`;
    if (typeName?.startsWith('extended') || typeName === 'Linux extended') return [];
    const insideBytes = Math.max(0, Math.min(lengthBytes, disk.lengthBytes - offsetBytes));
    if (insideBytes < lengthBytes) {
      findings.add({
        severity: 'warning',
        code: 'PARTITION_BEYOND_DISK',
        where,
        message: `it ends ${lengthBytes - insideBytes} bytes behind the end of the disk`,
        hint: 'the image may have been cut: compare its virtual size with that of the disk it was made from',
      });
    }
    if (insideBytes === 0) return [];
    return [
      {
        where,
        bytes: sliceSource(disk, offsetBytes, insideBytes, where),
        partitionNumber: number,
        ...(uuid !== undefined && { partitionUuid: uuid }),
        ...(name !== undefined && { partitionName: name }),
      },
    ];
  });
}
