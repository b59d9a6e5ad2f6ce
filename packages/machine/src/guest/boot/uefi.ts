import type { ByteSource } from '@gantry/disk';
import type { Architecture } from '../../model.ts';
import { PROGRAM_HEAD_BYTES, programArchitecture } from '../architecture.ts';
import { GuestFiles } from '../files/guest-files.ts';
import type { Findings } from '../findings.ts';
import { CONFIGURATION_FILE_COUNT_MAX } from '../limits.ts';
import type { PartitionTable } from '../partitions/partition.ts';
import { EFI_SYSTEM } from '../partitions/types.ts';
import type { BootLoader, FirmwareAnswer } from '../report.ts';
import type { FilledVolume } from '../volumes/volume.ts';
import { elTorito } from './bios.ts';

/** UEFI 2.10, 3.5.1.1: what firmware starts from a disk that it has no entry for. */
const fallbackNames: Readonly<Record<string, Architecture>> = {
  'BOOTX64.EFI': 'x86_64',
  'BOOTAA64.EFI': 'aarch64',
  'BOOTIA32.EFI': 'i686',
  'BOOTARM.EFI': 'armv7l',
  'BOOTRISCV64.EFI': 'riscv64',
  'BOOTLOONGARCH64.EFI': 'loongarch64',
};

interface UefiBoot extends FirmwareAnswer {
  readonly loaders: readonly BootLoader[];
}

/** Whether UEFI firmware without any boot entry of its own finds something to start. */
export async function uefiBoot(
  disk: ByteSource,
  table: PartitionTable,
  volumes: readonly FilledVolume[],
  findings: Findings,
): Promise<UefiBoot> {
  const loaders: BootLoader[] = [];
  const fallbacks: BootLoader[] = [];
  const systemPartitions: string[] = [];
  for (const volume of volumes) {
    const { content, where } = volume;
    if (!content.kind.startsWith('fat') || content.open === undefined) continue;
    const partition = table.partitions.find(({ number }) => number === volume.partitionNumber);
    const isDeclared = partition?.type === EFI_SYSTEM || partition?.type === '0xef';
    await findings.guard(where, async () => {
      const system = await content.open?.();
      if (system === undefined) return;
      const files = new GuestFiles(new Map([['/', system]]));
      if (!isDeclared && !(await files.has('/EFI'))) return;
      systemPartitions.push(where);
      for await (const loader of loadersIn(files, where)) {
        loaders.push(loader);
        if (loader.name === FALLBACK) fallbacks.push(loader);
      }
    });
  }
  return { loaders, ...(await answer(disk, systemPartitions, loaders, fallbacks, findings)) };
}

const FALLBACK = 'the fallback loader';

async function answer(
  disk: ByteSource,
  systemPartitions: readonly string[],
  loaders: readonly BootLoader[],
  fallbacks: readonly BootLoader[],
  findings: Findings,
): Promise<FirmwareAnswer> {
  const [fallback] = fallbacks;
  if (fallback !== undefined) return { boots: 'yes', reasons: [`${fallback.where} is there`] };
  if ((await elTorito(disk)).uefi)
    return { boots: 'yes', reasons: ['the boot catalog of the CD has an entry for UEFI'] };
  const [partition] = systemPartitions;
  if (partition === undefined) return { boots: 'no', reasons: ['there is no EFI system partition'] };
  const [other] = loaders;
  if (other === undefined)
    return { boots: 'no', reasons: [`the EFI system partition (${partition}) holds no boot loader`] };
  findings.add({
    severity: 'warning',
    code: 'NO_FALLBACK_LOADER',
    where: partition,
    message:
      'there is no \\EFI\\BOOT\\BOOT….EFI: firmware that was never told of the other loaders does not find them',
    hint: 'on the machine before it is copied: grub-install --force-extra-removable, bootctl install, or copy the loader there',
  });
  return {
    boots: 'no',
    reasons: [
      `${other.where} is started only by firmware that has a boot entry for it, and those stay with the old machine`,
    ],
  };
}

async function* loadersIn(files: GuestFiles, where: string): AsyncGenerator<BootLoader, void, undefined> {
  const vendors = await files.names('/EFI');
  for (const vendor of vendors.slice(0, CONFIGURATION_FILE_COUNT_MAX)) {
    const folder = vendor.toUpperCase() === 'MICROSOFT' ? `/EFI/${vendor}/Boot` : `/EFI/${vendor}`;
    const programs = (await files.names(folder)).filter((name) => /\.efi$/i.test(name));
    for (const program of programs.slice(0, CONFIGURATION_FILE_COUNT_MAX)) {
      const isFallback =
        vendor.toUpperCase() === 'BOOT' && fallbackNames[program.toUpperCase()] !== undefined;
      // The fallback's folder holds helpers of shim beside it.
      if (vendor.toUpperCase() === 'BOOT' && !isFallback) continue;
      const head = await files.head(`${folder}/${program}`, PROGRAM_HEAD_BYTES);
      const architecture = head === undefined ? undefined : programArchitecture(head);
      if (architecture === undefined) continue;
      yield {
        firmware: 'uefi',
        name: isFallback ? FALLBACK : loaderName(vendor, program),
        where: `${where}: ${folder}/${program}`,
        architecture,
      };
    }
  }
}

function loaderName(vendor: string, program: string): string {
  return vendor.toUpperCase() === 'MICROSOFT' ? 'Windows Boot Manager' : `${program} of ${vendor}`;
}
