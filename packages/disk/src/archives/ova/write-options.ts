import type { FormatOption } from '../../formats/format.ts';

export const NAME: FormatOption = {
  name: 'name',
  description: 'name of the machine, up to 80 characters; that of the target file when not given',
};
export const CPUS: FormatOption = { name: 'cpus', description: 'virtual CPUs, 1 to 768; 2 when not given' };
export const MEMORY_MIB: FormatOption = {
  name: 'memory_mib',
  description: 'memory in MiB, a multiple of 4, up to 25165824; 2048 when not given',
};
export const FIRMWARE: FormatOption = {
  name: 'firmware',
  description: 'firmware that the machine starts with',
  values: ['bios', 'efi'],
};
export const OS: FormatOption = {
  name: 'os',
  description: "operating system by VMware's name, such as debian11_64Guest; otherGuest64 when not given",
};
export const DESCRIPTOR: FormatOption = {
  name: 'descriptor',
  description: 'a whole OVF descriptor of one disk as a text, instead of the options above',
};

export const ovaOptions: readonly FormatOption[] = [NAME, CPUS, MEMORY_MIB, FIRMWARE, OS, DESCRIPTOR];
