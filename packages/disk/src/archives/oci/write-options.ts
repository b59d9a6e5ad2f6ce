import type { FormatOption } from '../../formats/format.ts';

export const FIRMWARE: FormatOption = {
  name: 'firmware',
  description: 'firmware that the machine starts with',
  values: ['BIOS', 'UEFI_64'],
};
export const LAUNCH_MODE: FormatOption = {
  name: 'launch_mode',
  description: 'devices that an instance gets: virtio, hardware virtualisation, or emulated ones',
  values: ['PARAVIRTUALIZED', 'NATIVE', 'EMULATED'],
};
export const OS: FormatOption = {
  name: 'os',
  description: 'operating system, as OCI names it; Custom when not given',
};
export const OS_VERSION: FormatOption = {
  name: 'os_version',
  description: 'version of the operating system; Custom when not given',
};
export const METADATA: FormatOption = {
  name: 'metadata',
  description: 'the whole image_metadata.json as a text, instead of the options above',
};

export const ociOptions: readonly FormatOption[] = [FIRMWARE, LAUNCH_MODE, OS, OS_VERSION, METADATA];
