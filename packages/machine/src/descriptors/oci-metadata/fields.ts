import type { LaunchOptions } from '../../model.ts';

/** The name under which what the model has no place for stands in `Machine.foreign`. */
export const OCI_METADATA = 'oci-metadata';

/** Words are shown and stored: what is longer is none. Those of OCI have up to 20 letters, names of systems some more. */
export const WORD_LENGTH_MAX = 256;

type LaunchField<Value> = {
  readonly [Name in keyof LaunchOptions]-?: LaunchOptions[Name] extends Value | undefined ? Name : never;
}[keyof LaunchOptions];

/** Launch options that are words: their names in the model, and in `externalLaunchOptions`. */
export const launchWords: readonly (readonly [LaunchField<string>, string])[] = [
  ['firmware', 'firmware'],
  ['networkType', 'networkType'],
  ['bootVolumeType', 'bootVolumeType'],
  ['remoteDataVolumeType', 'remoteDataVolumeType'],
  ['localDataVolumeType', 'localDataVolumeType'],
  ['launchMode', 'launchOptionsSource'],
];

export const launchNumbers: readonly (readonly [LaunchField<number>, string])[] = [
  ['pvAttachmentVersion', 'pvAttachmentVersion'],
];

export const launchFlags: readonly (readonly [LaunchField<boolean>, string])[] = [
  ['isPvEncryptionInTransitEnabled', 'pvEncryptionInTransitEnabled'],
  ['isConsistentVolumeNamingEnabled', 'consistentVolumeNamingEnabled'],
];

export const launchNames: readonly string[] = [...launchWords, ...launchNumbers, ...launchFlags].map(
  ([, name]) => name,
);
export const documentNames: readonly string[] = [
  'version',
  'externalLaunchOptions',
  'imageCapabilityData',
  'imageCapsFormatVersion',
  'operatingSystem',
  'operatingSystemVersion',
  'additionalMetadata',
];
export const additionalNames: readonly string[] = ['shapeCompatibilities'];
export const shapeNames: readonly string[] = ['internalShapeName', 'ocpuConstraints', 'memoryConstraints'];
export const ocpuNames: readonly string[] = ['min', 'max'];
export const memoryNames: readonly string[] = ['minInGBs', 'maxInGBs'];

/** The words of OCI for what the model calls firmware. */
export const firmwareWords = { bios: 'BIOS', uefi: 'UEFI_64' } as const;
