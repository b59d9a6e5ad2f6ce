import type { Architecture, Clock } from '../model.ts';
import type { GuestFinding } from './findings.ts';
import type { Partition } from './partitions/partition.ts';

/** What was concluded, and what was seen where. */
export interface Conclusion<Value> {
  readonly value: Value;
  readonly reason: string;
}

export interface GuestFileSystem {
  /** `partition 2`, `logical volume vg/root`, `the whole disk`. */
  readonly where: string;
  /** `ext4`, `ntfs`, `luks2`, `swap`: as `blkid` says it. */
  readonly kind: string;
  readonly label?: string;
  readonly uuid?: string;
  readonly lengthBytes: number;
  readonly isEncrypted: boolean;
  /** Files were looked for in it; else it is known by its name only. */
  readonly isRead: boolean;
}

export type BootAnswer = 'yes' | 'no' | 'unknown';

/** Whether firmware of a kind finds something to start, with what was seen. */
export interface FirmwareAnswer {
  readonly boots: BootAnswer;
  readonly reasons: readonly string[];
}

export interface BootLoader {
  readonly firmware: 'bios' | 'uefi';
  /** `GRUB`, `Windows`, `the fallback loader`, `shimx64.efi of debian`. */
  readonly name: string;
  readonly where: string;
  /** UEFI: what its program is made for. */
  readonly architecture?: Architecture;
}

/**
 * Where the kernel has a driver from: `built-in`; `initramfs`, early enough to mount the root; `module`, only once
 * that is mounted.
 */
export type DriverState = 'built-in' | 'initramfs' | 'module' | 'absent' | 'unknown';

export const virtioDrivers = ['virtio_pci', 'virtio_blk', 'virtio_scsi', 'virtio_net'] as const;
export type VirtioDriver = (typeof virtioDrivers)[number];

export interface GuestKernel {
  readonly version: string;
  readonly path: string;
  readonly where: string;
  readonly initramfsPath?: string;
  /** Only for the newest kernels. */
  readonly drivers?: Readonly<Record<VirtioDriver, Conclusion<DriverState>>>;
}

export interface GuestMount {
  readonly path: string;
  /** As fstab names it. */
  readonly device: string;
  readonly type: string;
  /** The volume of this disk that it is. */
  readonly where?: string;
}

/** A part of the network's configuration that holds for one card only. */
export interface NetworkBinding {
  readonly file: string;
  readonly kind: 'mac' | 'name';
  readonly value: string;
}

export interface LinuxGuest {
  readonly kernels: readonly GuestKernel[];
  readonly mounts: readonly GuestMount[];
  readonly networkBindings: readonly NetworkBinding[];
  readonly hasCloudInit: boolean;
}

/** A driver in the driver store of Windows. Start types as the registry has them: 0 is at boot, 3 on demand, 4 disabled. */
export interface WindowsDriver {
  readonly name: 'viostor' | 'vioscsi' | 'netkvm';
  readonly hasFile: boolean;
  readonly startType?: number;
}

/** How Windows takes the hardware clock, by `RealTimeIsUniversal` of the control set in use. */
export interface WindowsClock {
  /** Absent: the value is neither the DWORD 0 nor 1, and what it does is not documented. */
  readonly holds?: Clock;
  /** `ControlSet001`. */
  readonly controlSet: string;
  /** `REG_DWORD`. Absent: there is no value, which is local time. */
  readonly valueType?: string;
  /** Of a DWORD. */
  readonly value?: number;
  /** As Windows names it: `W. Europe Standard Time`. */
  readonly timeZone?: string;
}

export interface WindowsGuest {
  readonly build?: string;
  readonly drivers: readonly WindowsDriver[];
  /** Absent: the registry could not be read. */
  readonly clock?: WindowsClock;
  readonly isHibernated: boolean;
}

export interface GuestOperatingSystem {
  readonly family: 'linux' | 'windows';
  readonly name: string;
  readonly version?: string;
  /** os-release's `ID`. */
  readonly id?: string;
  /** The volume of its root. */
  readonly where: string;
  readonly reason: string;
  readonly linux?: LinuxGuest;
  readonly windows?: WindowsGuest;
}

/** What stands on a disk, as far as a machine that starts from it is concerned. All texts in it are the guest's. */
export interface GuestReport {
  readonly virtualSizeBytes: number;
  readonly partitionTable: {
    readonly kind: 'gpt' | 'mbr' | 'none';
    readonly id?: string;
    readonly isHybrid?: boolean;
  };
  readonly partitions: readonly Partition[];
  readonly fileSystems: readonly GuestFileSystem[];
  readonly architecture?: Conclusion<Architecture>;
  readonly operatingSystems: readonly GuestOperatingSystem[];
  /** Kernels of boot volumes whose system could not be read. */
  readonly kernels: readonly GuestKernel[];
  readonly bootLoaders: readonly BootLoader[];
  readonly firmware: { readonly bios: FirmwareAnswer; readonly uefi: FirmwareAnswer };
  readonly findings: readonly GuestFinding[];
}
