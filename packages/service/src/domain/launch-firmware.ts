import type { Disk } from '@gantry/disk';

const SECTOR_BYTES = 512;
/** What UEFI reserves for the table of partitions at least (UEFI 2.10, section 5.3.1). */
const ENTRIES_MAX = 128;
const ENTRY_BYTES = 128;
/** EFI System Partition, and the place of GRUB's second stage on a machine with a BIOS; as they stand on a disk. */
const EFI_SYSTEM = '28732ac11ff8d211ba4b00a0c93ec93b';
const BIOS_BOOT = '4861682149646f6e744e656564454649';

/**
 * What a disk seems to start with: UEFI when its partition table is a GPT with an EFI system partition and no place
 * for a BIOS boot loader, BIOS otherwise. A proposal: nothing on a disk says for sure.
 */
export async function likelyFirmware(disk: Disk, signal?: AbortSignal): Promise<'BIOS' | 'UEFI_64'> {
  const headBytes = 2 * SECTOR_BYTES + ENTRIES_MAX * ENTRY_BYTES;
  if (disk.virtualSizeBytes < headBytes) return 'BIOS';
  const head = Buffer.alloc(headBytes);
  await disk.read(0, head, signal);
  const header = head.subarray(SECTOR_BYTES, 2 * SECTOR_BYTES);
  if (header.toString('latin1', 0, 8) !== 'EFI PART') return 'BIOS';
  // UEFI 2.10, table 5-5: where the entries stand and how long each is; in other places we do not look.
  if (header.readBigUInt64LE(72) !== 2n || header.readUInt32LE(84) !== ENTRY_BYTES) return 'BIOS';
  const count = Math.min(ENTRIES_MAX, header.readUInt32LE(80));
  const types = new Set<string>();
  for (let entry = 0; entry < count; entry++) {
    const at = 2 * SECTOR_BYTES + entry * ENTRY_BYTES;
    types.add(head.toString('hex', at, at + 16));
  }
  return types.has(EFI_SYSTEM) && !types.has(BIOS_BOOT) ? 'UEFI_64' : 'BIOS';
}
