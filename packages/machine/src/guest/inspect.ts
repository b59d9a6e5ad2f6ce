import type { ByteSource, Disk } from '@gantry/disk';
import type { Architecture } from '../model.ts';
import { PROGRAM_HEAD_BYTES, programArchitecture } from './architecture.ts';
import { biosBoot } from './boot/bios.ts';
import { uefiBoot } from './boot/uefi.ts';
import { Budget } from './budget.ts';
import { diskBytes } from './disk-bytes.ts';
import type { FileSystem } from './files/file-system.ts';
import { GuestFiles } from './files/guest-files.ts';
import { Findings } from './findings.ts';
import { type GuestLimits, usualLimits } from './limits.ts';
import { findKernels } from './linux/kernels.ts';
import { inspectLinux } from './linux/linux.ts';
import type {
  BootLoader,
  Conclusion,
  FirmwareAnswer,
  GuestFileSystem,
  GuestKernel,
  GuestOperatingSystem,
  GuestReport,
} from './report.ts';
import { type DiskContent, findVolumes } from './volumes/find.ts';
import type { FilledVolume } from './volumes/volume.ts';
import { inspectWindows } from './windows/windows.ts';

export interface InspectGuestOptions {
  readonly signal?: AbortSignal | undefined;
  /** Default: 1 GiB read, 4,000,000 structures, 2 minutes. */
  readonly limits?: Partial<GuestLimits> | undefined;
}

/**
 * Looks at what stands on a disk, as far as a machine that starts from it is concerned: partitions, file systems,
 * boot loaders, systems, drivers. Reads only, and little: nothing is mounted, no journal is replayed. What is damaged
 * or beyond a limit is a finding. Throws StoreError where the disk's bytes cannot be had, and IMAGE_NOT_SEQUENTIAL
 * for a disk that arrives or is compressed and cannot be read in any order.
 */
export async function inspectGuest(disk: Disk, options: InspectGuestOptions = {}): Promise<GuestReport> {
  const budget = new Budget({ ...usualLimits, ...options.limits }, options.signal);
  const findings = new Findings();
  const bytes = diskBytes(disk, budget);
  const content = await findVolumes(bytes, budget, findings);
  const boot = await findBoot(bytes, content, findings);
  const systems = await findSystems(content.volumes, budget, findings);
  const architecture = systems.architecture ?? loaderArchitecture(boot.loaders);
  const { kind, id, isHybrid } = content.table;
  return {
    virtualSizeBytes: disk.virtualSizeBytes,
    partitionTable: { kind, ...(id !== undefined && { id }), ...(isHybrid === true && { isHybrid }) },
    partitions: content.table.partitions,
    fileSystems: content.volumes.map(describe),
    ...(architecture !== undefined && { architecture }),
    operatingSystems: systems.list,
    kernels: systems.kernels,
    bootLoaders: boot.loaders,
    firmware: { bios: boot.bios, uefi: boot.uefi },
    findings: findings.list,
  };
}

function describe({ where, bytes, content }: FilledVolume): GuestFileSystem {
  const { kind, label, uuid, isEncrypted = false, open } = content;
  return {
    where,
    kind,
    ...(label !== undefined && { label }),
    ...(uuid !== undefined && { uuid }),
    lengthBytes: bytes.lengthBytes,
    isEncrypted,
    isRead: open !== undefined,
  };
}

interface Boot {
  readonly bios: FirmwareAnswer;
  readonly uefi: FirmwareAnswer;
  readonly loaders: readonly BootLoader[];
}

async function findBoot(bytes: ByteSource, content: DiskContent, findings: Findings): Promise<Boot> {
  const notRead: FirmwareAnswer = { boots: 'unknown', reasons: ['its structures could not be read'] };
  const bios = await findings.guard('first sector', () => biosBoot(bytes, content, findings));
  const uefi = await findings.guard('EFI system partition', () =>
    uefiBoot(bytes, content.table, content.volumes, findings),
  );
  const answer = ({ boots, reasons }: FirmwareAnswer) => ({ boots, reasons });
  return {
    bios: answer(bios ?? notRead),
    uefi: answer(uefi ?? notRead),
    loaders: [...(bios?.loader === undefined ? [] : [bios.loader]), ...(uefi?.loaders ?? [])],
  };
}

interface Systems {
  readonly list: readonly GuestOperatingSystem[];
  readonly kernels: readonly GuestKernel[];
  readonly architecture?: Conclusion<Architecture>;
}

async function findSystems(
  volumes: readonly FilledVolume[],
  budget: Budget,
  findings: Findings,
): Promise<Systems> {
  const list: GuestOperatingSystem[] = [];
  const opened: { volume: FilledVolume; system: FileSystem }[] = [];
  let architecture: Conclusion<Architecture> | undefined;
  for (const volume of volumes) {
    const { open } = volume.content;
    if (open === undefined) continue;
    const system = await findings.guard(volume.where, open);
    if (system === undefined) continue;
    opened.push({ volume, system });
    const found = await findings.guard(volume.where, () =>
      inspectSystem(volume, system, volumes, budget, findings),
    );
    if (found === undefined) continue;
    list.push(found.system);
    architecture ??= found.architecture;
  }
  const kernels: GuestKernel[] = [];
  if (!list.some(({ linux }) => linux !== undefined && linux.kernels.length > 0)) {
    for (const { volume, system } of opened) {
      const files = new GuestFiles(new Map([['/', system]]));
      const found = await findings.guard(volume.where, () =>
        findKernels(files, '', volume.where, budget, findings),
      );
      kernels.push(...(found ?? []));
    }
  }
  return { list, kernels, ...(architecture !== undefined && { architecture }) };
}

interface FoundSystem {
  readonly system: GuestOperatingSystem;
  readonly architecture: Conclusion<Architecture> | undefined;
}

async function inspectSystem(
  volume: FilledVolume,
  root: FileSystem,
  volumes: readonly FilledVolume[],
  budget: Budget,
  findings: Findings,
): Promise<FoundSystem | undefined> {
  if (volume.content.kind === 'ntfs') return inspectWindows(volume, root, budget, findings);
  const linux = await inspectLinux(volume, root, volumes, budget, findings);
  if (linux === undefined) return undefined;
  const architecture = await findings.guard(volume.where, () =>
    systemArchitecture(linux.files, volume.where),
  );
  return { system: linux.system, architecture };
}

/** Programs that every Linux has one of. */
const programs = ['/bin/sh', '/sbin/init', '/usr/lib/systemd/systemd', '/bin/busybox'];

async function systemArchitecture(
  files: GuestFiles,
  where: string,
): Promise<Conclusion<Architecture> | undefined> {
  for (const path of programs) {
    const head = await files.head(path, PROGRAM_HEAD_BYTES);
    const value = head === undefined ? undefined : programArchitecture(head);
    if (value !== undefined) return { value, reason: `${where}: ${path} is a program for ${value}` };
  }
  return undefined;
}

function loaderArchitecture(loaders: readonly BootLoader[]): Conclusion<Architecture> | undefined {
  const found = loaders.find(({ architecture }) => architecture !== undefined);
  if (found?.architecture === undefined) return undefined;
  return { value: found.architecture, reason: `${found.where} is a program for ${found.architecture}` };
}
