import type { LaunchOptions } from '@gantry/machine';
import { z } from 'zod';

/** How a cloud's hypervisor shows itself to instances of an image, in the words of OCI. */
export const launchModes = ['NATIVE', 'EMULATED', 'PARAVIRTUALIZED', 'ACCELERATEDPV', 'CUSTOM'] as const;
export type LaunchMode = (typeof launchModes)[number];

const volumeTypes = ['ISCSI', 'SCSI', 'IDE', 'VFIO', 'PARAVIRTUALIZED'] as const;

/** Launch options as clients give them: the enumerations of OCI's LaunchOptions, closed. */
export const launchOptionsInput = z.object({
  bootVolumeType: z.enum(volumeTypes).optional(),
  firmware: z.enum(['BIOS', 'UEFI_64']).optional(),
  networkType: z.enum(['E1000', 'VFIO', 'PARAVIRTUALIZED', 'ACCELERATEDPV']).optional(),
  remoteDataVolumeType: z.enum(volumeTypes).optional(),
  isPvEncryptionInTransitEnabled: z.boolean().optional(),
  isConsistentVolumeNamingEnabled: z.boolean().optional(),
});
export type LaunchOptionsInput = z.infer<typeof launchOptionsInput>;

const devices: Readonly<Record<Exclude<LaunchMode, 'CUSTOM'>, LaunchOptions>> = {
  NATIVE: {
    networkType: 'VFIO',
    bootVolumeType: 'ISCSI',
    remoteDataVolumeType: 'PARAVIRTUALIZED',
    localDataVolumeType: 'VFIO',
    pvAttachmentVersion: 1,
    isPvEncryptionInTransitEnabled: false,
    isConsistentVolumeNamingEnabled: false,
  },
  EMULATED: {
    networkType: 'E1000',
    bootVolumeType: 'SCSI',
    remoteDataVolumeType: 'SCSI',
    localDataVolumeType: 'SCSI',
    isPvEncryptionInTransitEnabled: false,
    isConsistentVolumeNamingEnabled: false,
  },
  PARAVIRTUALIZED: {
    networkType: 'PARAVIRTUALIZED',
    bootVolumeType: 'PARAVIRTUALIZED',
    remoteDataVolumeType: 'PARAVIRTUALIZED',
    localDataVolumeType: 'PARAVIRTUALIZED',
    pvAttachmentVersion: 2,
    isPvEncryptionInTransitEnabled: false,
    isConsistentVolumeNamingEnabled: true,
  },
  ACCELERATEDPV: {
    networkType: 'ACCELERATEDPV',
    bootVolumeType: 'PARAVIRTUALIZED',
    remoteDataVolumeType: 'PARAVIRTUALIZED',
    localDataVolumeType: 'PARAVIRTUALIZED',
    pvAttachmentVersion: 2,
    isPvEncryptionInTransitEnabled: false,
    isConsistentVolumeNamingEnabled: true,
  },
};

/** What a launch mode stands for, with `given` over it; CUSTOM stands for what is given over virtio devices. */
export function launchOptionsOf(
  launchMode: LaunchMode,
  given: LaunchOptions,
  firmware: string,
): LaunchOptions {
  const base = launchMode === 'CUSTOM' ? devices.PARAVIRTUALIZED : devices[launchMode];
  return { ...base, firmware, ...given, launchMode };
}
