import type { Architecture, GuestOs } from '../../model.ts';

/** What VirtualBox's id of a guest's type says. */
export interface NamedSystem {
  readonly guestOs: GuestOs;
  /** Absent for an id of 32 bits, whose guest runs on machines of both kinds. */
  readonly architecture?: Architecture;
}

interface Names {
  /** Over the id without its ending for the processor; the first group is the version, where it has one. */
  readonly id: RegExp;
  readonly guestOs: GuestOs;
}

/** Ids as `VBoxManage list ostypes` has them, those with versions too, the first that fits. */
const names: readonly Names[] = [
  { id: /^Windows(20\d\d)$/, guestOs: { name: 'Windows Server' } },
  { id: /^Windows81$/, guestOs: { name: 'Windows', version: '8.1' } },
  { id: /^Windows(\d\d?)$/, guestOs: { name: 'Windows' } },
  { id: /^Windows(XP|Vista)$/, guestOs: { name: 'Windows' } },
  { id: /^Win/, guestOs: { family: 'windows' } },
  { id: /^(?:Xubuntu|Lubuntu|Kubuntu|Ubuntu)(\d+)?(?:_LTS)?$/, guestOs: { name: 'Ubuntu' } },
  { id: /^Debian(\d+)?$/, guestOs: { name: 'Debian' } },
  { id: /^Oracle(\d+)?$/, guestOs: { name: 'Oracle Linux' } },
  { id: /^RedHat(\d+)?$/, guestOs: { name: 'Red Hat Enterprise Linux' } },
  { id: /^Fedora(\d+)?$/, guestOs: { name: 'Fedora' } },
  { id: /^OpenSUSE/, guestOs: { name: 'openSUSE' } },
  { id: /^SUSE_LE/, guestOs: { name: 'SUSE Linux Enterprise' } },
  { id: /^ArchLinux$/, guestOs: { name: 'Arch Linux' } },
  { id: /^Gentoo$/, guestOs: { name: 'Gentoo' } },
  { id: /^(?:Linux|Turbolinux|Mandriva|Xandros)/, guestOs: { family: 'linux' } },
  { id: /^FreeBSD$/, guestOs: { name: 'FreeBSD' } },
  { id: /^OpenBSD$/, guestOs: { name: 'OpenBSD' } },
  { id: /^NetBSD$/, guestOs: { name: 'NetBSD' } },
  { id: /^Solaris(\d+)?$/, guestOs: { name: 'Solaris' } },
  { id: /^OpenSolaris$/, guestOs: { family: 'solaris' } },
  { id: /^MacOS/, guestOs: { family: 'macos' } },
];

/** The system that an id of VirtualBox stands for; one that is not known is of the family `other`. */
export function systemOfOsType(osType: string): NamedSystem {
  const [, base = osType, bits] = /^(.*?)(_64|_x64|_arm64)?$/.exec(osType) ?? [];
  const found = names.find(({ id }) => id.test(base));
  const version = found?.id.exec(base)?.[1];
  const guestOs = found?.guestOs ?? { family: 'other' as const };
  return {
    guestOs: version === undefined ? guestOs : { ...guestOs, version },
    ...(bits !== undefined && { architecture: bits === '_arm64' ? 'aarch64' : 'x86_64' }),
  };
}
