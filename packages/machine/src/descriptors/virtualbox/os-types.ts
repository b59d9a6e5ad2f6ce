import { osFamilyOf } from '../../guest-os.ts';
import type { Architecture, GuestOs, OsFamily } from '../../model.ts';

/** The types of guests that VirtualBox has for a processor: no type, or its base name for some systems. */
type Suffix = '' | '_64' | '_arm64';

const suffixes: { readonly [architecture in Architecture]?: Suffix } = {
  i686: '',
  x86_64: '_64',
  aarch64: '_arm64',
};

interface OsType {
  readonly name: RegExp;
  /** When given, what the version has to look like. */
  readonly version?: RegExp;
  readonly base: string;
  readonly suffixes: readonly Suffix[];
  /** Set where VirtualBox has no id of the system's own and this is the nearest. */
  readonly tells?: 'name' | 'family';
}

const ALL: readonly Suffix[] = ['', '_64', '_arm64'];
const X86: readonly Suffix[] = ['', '_64'];
const X64: readonly Suffix[] = ['_64'];

/**
 * Ids as `VBoxManage list ostypes` has them, the first that fits. Of those with a version only the ones for Windows,
 * where it decides about devices; VirtualBox 7.0 and everything since know all of them but those for ARM, which
 * need 7.1.
 */
const osTypes: readonly OsType[] = [
  { name: /windows/i, version: /2025/, base: 'Windows2022', suffixes: X64, tells: 'name' },
  { name: /windows/i, version: /2022/, base: 'Windows2022', suffixes: X64 },
  { name: /windows/i, version: /2019/, base: 'Windows2019', suffixes: X64 },
  { name: /windows/i, version: /2016/, base: 'Windows2016', suffixes: X64 },
  { name: /windows/i, version: /2012/, base: 'Windows2012', suffixes: X64 },
  { name: /windows/i, version: /2008/, base: 'Windows2008', suffixes: X86 },
  { name: /windows/i, version: /\b11\b/, base: 'Windows11', suffixes: X64 },
  { name: /windows/i, version: /\b10\b/, base: 'Windows10', suffixes: X86 },
  { name: /windows/i, version: /\b8\.1\b/, base: 'Windows81', suffixes: X86 },
  { name: /windows/i, version: /\b8\b/, base: 'Windows8', suffixes: X86 },
  { name: /windows/i, version: /\b7\b/, base: 'Windows7', suffixes: X86 },
  { name: /autonomous linux/i, base: 'Oracle', suffixes: ALL, tells: 'family' },
  { name: /oracle.*linux/i, base: 'Oracle', suffixes: ALL },
  { name: /red ?hat|rhel/i, base: 'RedHat', suffixes: X86 },
  { name: /centos|rocky|alma/i, base: 'RedHat', suffixes: X86, tells: 'family' },
  { name: /ubuntu/i, base: 'Ubuntu', suffixes: ALL },
  { name: /debian/i, base: 'Debian', suffixes: ALL },
  { name: /fedora/i, base: 'Fedora', suffixes: ALL },
  { name: /opensuse/i, base: 'OpenSUSE', suffixes: X86 },
  { name: /arch ?linux/i, base: 'ArchLinux', suffixes: ALL },
  { name: /gentoo/i, base: 'Gentoo', suffixes: X86 },
  { name: /freebsd/i, base: 'FreeBSD', suffixes: ALL },
  { name: /openbsd/i, base: 'OpenBSD', suffixes: ALL },
  { name: /netbsd/i, base: 'NetBSD', suffixes: ALL },
  { name: /solaris/i, version: /^11/, base: 'Solaris11', suffixes: X64 },
];

/** What is taken where no entry fits: Linux of any kind runs with the devices of a new kernel. */
const fallbacks: Readonly<Record<OsFamily, Readonly<Record<Suffix, string>>>> = {
  linux: { '': 'Linux26', _64: 'Linux26_64', _arm64: 'Oracle_arm64' },
  windows: { '': 'WindowsNT', _64: 'WindowsNT_64', _arm64: 'Oracle_arm64' },
  bsd: { '': 'FreeBSD', _64: 'FreeBSD_64', _arm64: 'FreeBSD_arm64' },
  solaris: { '': 'OpenSolaris', _64: 'OpenSolaris_64', _arm64: 'Oracle_arm64' },
  macos: { '': 'MacOS', _64: 'MacOS_64', _arm64: 'Oracle_arm64' },
  other: { '': 'Other', _64: 'Other_64', _arm64: 'Oracle_arm64' },
};

export interface ChosenOsType {
  readonly id: string;
  /** What of the system the id tells. */
  readonly tells: 'version' | 'name' | 'family';
}

/** The id of VirtualBox for a system on a processor; undefined when VirtualBox has no such processor. */
export function osTypeOf(guestOs: GuestOs, architecture: Architecture): ChosenOsType | undefined {
  const suffix = suffixes[architecture];
  if (suffix === undefined) return undefined;
  const { name = '', version = '' } = guestOs;
  // Both fields are used freely: "Windows Server 2019" is a name, too.
  const found = osTypes.find(
    (type) =>
      type.name.test(name) &&
      type.suffixes.includes(suffix) &&
      (type.version === undefined || type.version.test(version) || type.version.test(name)),
  );
  if (found === undefined) return { id: fallbacks[osFamilyOf(guestOs)][suffix], tells: 'family' };
  const isWholeVersion = found.version?.exec(version)?.[0] === version;
  return { id: `${found.base}${suffix}`, tells: found.tells ?? (isWholeVersion ? 'version' : 'name') };
}
