import type { DiskBus, Firmware, LaunchOptions, NicModel } from './model.ts';

/** What a hypervisor shows of a machine with certain launch options. */
export interface LaunchHardware {
  readonly firmware: Firmware;
  readonly bootDiskBus: DiskBus;
  readonly dataDiskBus: DiskBus;
  readonly nicModel: NicModel;
}

/**
 * Volumes that OCI leads over its network (`ISCSI`) or through its hardware (`VFIO`) are virtio here: systems that
 * expect these have virtio too. `SCSI` stands for an emulated controller, which is found without drivers of its own;
 * the SCSI of hypervisors outside OCI mostly is virtio, so that SATA keeps that promise.
 */
const buses: Readonly<Record<string, DiskBus>> = {
  ISCSI: 'virtio',
  SCSI: 'sata',
  IDE: 'ide',
  VFIO: 'virtio',
  PARAVIRTUALIZED: 'virtio',
};

/**
 * The devices that launch options stand for, in OCI's words (LaunchOptions of its Compute API). What they leave open
 * is by their launch mode, and paravirtualised when they have none; BIOS unless they say UEFI_64.
 */
export function launchHardware(options: LaunchOptions | undefined = {}): LaunchHardware {
  const { launchMode, firmware, bootVolumeType, remoteDataVolumeType, networkType } = options;
  const usual = launchMode === 'EMULATED' ? { disk: 'SCSI', nic: 'E1000' } : { disk: 'PARAVIRTUALIZED' };
  const busOf = (type = usual.disk): DiskBus => buses[type] ?? 'virtio';
  return {
    firmware: firmware === 'UEFI_64' ? 'uefi' : 'bios',
    bootDiskBus: busOf(bootVolumeType),
    dataDiskBus: busOf(remoteDataVolumeType),
    nicModel: (networkType ?? usual.nic) === 'E1000' ? 'e1000' : 'virtio',
  };
}
