import { utf8Bytes } from '../../bytes/fields.ts';

export interface NewOciDocument {
  readonly firmware: string;
  readonly launchMode: string;
  readonly operatingSystem: string;
  readonly operatingSystemVersion: string;
}

/** What a launch mode stands for, as OCI's own exports spell it out. */
const devices: Readonly<Record<string, { network: string; boot: string; remote: string; local: string }>> = {
  PARAVIRTUALIZED: {
    network: 'PARAVIRTUALIZED',
    boot: 'PARAVIRTUALIZED',
    remote: 'PARAVIRTUALIZED',
    local: 'PARAVIRTUALIZED',
  },
  NATIVE: { network: 'VFIO', boot: 'ISCSI', remote: 'PARAVIRTUALIZED', local: 'VFIO' },
  EMULATED: { network: 'E1000', boot: 'SCSI', remote: 'SCSI', local: 'SCSI' },
};

/** The document for a new archive, in the shape of OCI's own. */
export function encodeOciDocument(metadata: NewOciDocument): Uint8Array {
  const { firmware, launchMode, operatingSystem, operatingSystemVersion } = metadata;
  const { network, boot, remote, local } = devices[launchMode] ?? devices.PARAVIRTUALIZED ?? {};
  const document = {
    version: 2,
    externalLaunchOptions: {
      firmware,
      networkType: network,
      bootVolumeType: boot,
      remoteDataVolumeType: remote,
      localDataVolumeType: local,
      launchOptionsSource: launchMode,
      pvAttachmentVersion: launchMode === 'PARAVIRTUALIZED' ? 2 : 1,
      pvEncryptionInTransitEnabled: false,
      consistentVolumeNamingEnabled: launchMode === 'PARAVIRTUALIZED',
    },
    imageCapabilityData: null,
    imageCapsFormatVersion: null,
    operatingSystem,
    operatingSystemVersion,
    additionalMetadata: { shapeCompatibilities: [] },
  };
  return utf8Bytes(`${JSON.stringify(document, null, 2)}\n`);
}
