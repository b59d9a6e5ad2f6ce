import { osFamilyOf } from '../../guest-os.ts';
import type { Architecture, GuestOs } from '../../model.ts';

interface Named {
  readonly guestOs: GuestOs;
  readonly architecture?: Architecture;
}

/** CIM_OperatingSystem.OSType, those that descriptors have: 64 bits, then the name. */
const cimNames: Readonly<Record<number, readonly [is64Bit: boolean, guestOs: GuestOs]>> = {
  29: [false, { name: 'Solaris' }],
  36: [false, { family: 'linux' }],
  42: [false, { name: 'FreeBSD' }],
  43: [false, { name: 'NetBSD' }],
  58: [false, { name: 'Windows', version: '2000' }],
  65: [false, { name: 'OpenBSD' }],
  67: [false, { name: 'Windows', version: 'XP' }],
  69: [false, { name: 'Windows Server', version: '2003' }],
  70: [true, { name: 'Windows Server', version: '2003' }],
  71: [true, { name: 'Windows', version: 'XP' }],
  73: [false, { name: 'Windows', version: 'Vista' }],
  74: [true, { name: 'Windows', version: 'Vista' }],
  76: [false, { name: 'Windows Server', version: '2008' }],
  77: [true, { name: 'Windows Server', version: '2008' }],
  78: [true, { name: 'FreeBSD' }],
  79: [false, { name: 'Red Hat Enterprise Linux' }],
  80: [true, { name: 'Red Hat Enterprise Linux' }],
  81: [true, { name: 'Solaris' }],
  82: [false, { name: 'SUSE' }],
  83: [true, { name: 'SUSE' }],
  84: [false, { name: 'SUSE Linux Enterprise' }],
  85: [true, { name: 'SUSE Linux Enterprise' }],
  93: [false, { name: 'Ubuntu' }],
  94: [true, { name: 'Ubuntu' }],
  95: [false, { name: 'Debian' }],
  96: [true, { name: 'Debian' }],
  97: [false, { family: 'linux' }],
  98: [true, { family: 'linux' }],
  99: [false, { family: 'linux' }],
  100: [true, { family: 'linux' }],
  101: [true, { family: 'linux' }],
  102: [true, { family: 'other' }],
  103: [true, { name: 'Windows Server', version: '2008 R2' }],
  105: [false, { name: 'Windows', version: '7' }],
  106: [false, { name: 'CentOS' }],
  107: [true, { name: 'CentOS' }],
  108: [false, { name: 'Oracle Linux' }],
  109: [true, { name: 'Oracle Linux' }],
  112: [true, { name: 'Windows Server', version: '2012' }],
  113: [false, { name: 'Windows', version: '8' }],
  114: [true, { name: 'Windows', version: '8' }],
  115: [true, { name: 'Windows Server', version: '2012 R2' }],
};

/** The system of CIM's number; `1`, Other, says nothing. */
export function systemOfCim(id: number): Named | undefined {
  const found = cimNames[id];
  if (found === undefined) return undefined;
  const [is64Bit, guestOs] = found;
  return { guestOs, ...(is64Bit && { architecture: 'x86_64' as const }) };
}

/** The beginnings of VMware's ids; digits behind them are the version. `windows9` is Windows 10, and so on. */
const vmwareNames: readonly (readonly [RegExp, GuestOs])[] = [
  [/^windows11/, { name: 'Windows', version: '11' }],
  [/^windows12/, { name: 'Windows', version: '12' }],
  [/^windows2019srvNext/, { name: 'Windows Server', version: '2022' }],
  [/^windows2022srvNext/, { name: 'Windows Server', version: '2025' }],
  [/^windows2019srv/, { name: 'Windows Server', version: '2019' }],
  [/^windows9Server/, { name: 'Windows Server', version: '2016' }],
  [/^windows9/, { name: 'Windows', version: '10' }],
  [/^windows8Server/, { name: 'Windows Server', version: '2012' }],
  [/^windows8/, { name: 'Windows', version: '8' }],
  [/^windows7Server/, { name: 'Windows Server', version: '2008 R2' }],
  [/^windows7/, { name: 'Windows', version: '7' }],
  [/^winLonghorn/, { name: 'Windows Server', version: '2008' }],
  [/^winNet/, { name: 'Windows Server', version: '2003' }],
  [/^win/, { family: 'windows' }],
  [/^(?:arm-)?debian(\d+)?/, { name: 'Debian' }],
  [/^(?:arm-)?ubuntu/, { name: 'Ubuntu' }],
  [/^(?:arm-)?rhel(\d+)?/, { name: 'Red Hat Enterprise Linux' }],
  [/^oracleLinux(\d+)?/, { name: 'Oracle Linux' }],
  [/^rockylinux/, { name: 'Rocky Linux' }],
  [/^almalinux/, { name: 'AlmaLinux' }],
  [/^centos(\d+)?/, { name: 'CentOS' }],
  [/^(?:arm-)?fedora/, { name: 'Fedora' }],
  [/^opensuse/, { name: 'openSUSE' }],
  [/^sles(\d+)?/, { name: 'SUSE Linux Enterprise' }],
  [/^suse/, { name: 'SUSE' }],
  [/^vmwarePhoton/, { name: 'Photon Linux' }],
  [/^amazonlinux(\d+)?/, { name: 'Amazon Linux' }],
  [/^(?:arm-)?other.*[lL]inux/, { family: 'linux' }],
  [/^(?:arm-)?freebsd(\d+)?/i, { name: 'FreeBSD' }],
  [/^solaris(\d+)?/, { name: 'Solaris' }],
  [/^darwin/, { family: 'macos' }],
  [/^other/, { family: 'other' }],
];

/** The system of VMware's id: `debian11_64Guest`. Undefined for one that is not known. */
export function systemOfVmware(id: string): Named | undefined {
  const found = vmwareNames.find(([pattern]) => pattern.test(id));
  if (found === undefined) return undefined;
  const [pattern, guestOs] = found;
  const version = pattern.exec(id)?.[1];
  const architecture = id.startsWith('arm-') ? 'aarch64' : /_?64(?:Guest)?$/.test(id) ? 'x86_64' : undefined;
  return {
    guestOs: version === undefined ? guestOs : { ...guestOs, version },
    ...(architecture !== undefined && { architecture }),
  };
}

/** A system in the words of CIM and of VMware. */
export interface WrittenSystem {
  readonly cimId: number;
  readonly vmware: string;
}

interface Ids {
  readonly name: RegExp;
  readonly version?: RegExp;
  /** CIM's numbers for 64 and for 32 bits. */
  readonly cim: readonly [number, number];
  /** Of VMware, with 64 bits; `@` stands for the version. */
  readonly vmware: string;
  /** The versions that VMware has an id for. */
  readonly known?: readonly [min: number, max: number];
}

/** Ids of ESXi 6.5 and everything since, which hardware version 13 stands for; the first that fits. */
const ids: readonly Ids[] = [
  { name: /windows/i, version: /20(?:19|2\d)/, cim: [102, 1], vmware: 'windows9Server64Guest' },
  { name: /windows/i, version: /2016/, cim: [102, 1], vmware: 'windows9Server64Guest' },
  { name: /windows/i, version: /2012/, cim: [112, 112], vmware: 'windows8Server64Guest' },
  { name: /windows/i, version: /2008/, cim: [103, 76], vmware: 'windows7Server64Guest' },
  { name: /windows/i, version: /\b1[01]\b/, cim: [102, 1], vmware: 'windows9_64Guest' },
  { name: /windows/i, version: /\b8(?:\.1)?\b/, cim: [114, 113], vmware: 'windows8_64Guest' },
  { name: /windows/i, version: /\b7\b/, cim: [102, 105], vmware: 'windows7_64Guest' },
  { name: /debian/i, cim: [96, 95], vmware: 'debian@_64Guest', known: [8, 10] },
  { name: /ubuntu/i, cim: [94, 93], vmware: 'ubuntu64Guest' },
  { name: /oracle.*linux/i, cim: [109, 108], vmware: 'oracleLinux@_64Guest', known: [7, 7] },
  { name: /centos/i, cim: [107, 106], vmware: 'centos@_64Guest', known: [7, 7] },
  { name: /red ?hat|rhel|rocky|alma/i, cim: [80, 79], vmware: 'rhel@_64Guest', known: [7, 7] },
  { name: /fedora/i, cim: [101, 36], vmware: 'fedora64Guest' },
  { name: /opensuse/i, cim: [83, 82], vmware: 'opensuse64Guest' },
  { name: /suse.*enterprise|sles/i, cim: [85, 84], vmware: 'sles12_64Guest' },
  { name: /freebsd/i, cim: [78, 42], vmware: 'freebsd64Guest' },
];

const familyIds: Readonly<Record<string, readonly [cim: readonly [number, number], vmware: string]>> = {
  linux: [[101, 36], 'other3xLinux64Guest'],
  windows: [[102, 1], 'windows9_64Guest'],
  bsd: [[78, 42], 'freebsd64Guest'],
  solaris: [[81, 29], 'solaris11_64Guest'],
};

/** The ids of a system on a processor; for those without an id of their own, that of their kind. */
export function writtenSystem(guestOs: GuestOs, architecture: Architecture): WrittenSystem {
  const { name = '', version = '' } = guestOs;
  const at = architecture === 'i686' ? 1 : 0;
  const found = ids.find(
    (each) =>
      each.name.test(name) &&
      (each.version === undefined || each.version.test(version) || each.version.test(name)),
  );
  const [cim, vmware] =
    found !== undefined
      ? [found.cim, withVersion(found, version)]
      : (familyIds[osFamilyOf(guestOs)] ?? [[102, 1], 'otherGuest64']);
  const short = vmware === 'otherGuest64' ? 'otherGuest' : vmware.replace(/_?64Guest$/, 'Guest');
  return { cimId: cim[at] ?? 1, vmware: at === 1 ? short : vmware };
}

/** The nearest version that has an id. */
function withVersion({ vmware, known }: Ids, version: string): string {
  if (known === undefined) return vmware;
  const [min, max] = known;
  const major = Number.parseInt(version, 10);
  return vmware.replace('@', String(Number.isNaN(major) ? max : Math.min(Math.max(major, min), max)));
}
