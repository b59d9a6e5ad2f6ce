import type { GuestOs, OsFamily } from './model.ts';

/** Words in names of operating systems, as clouds and people write them, in the order in which they are looked for. */
const families: readonly (readonly [RegExp, OsFamily])[] = [
  [/windows/i, 'windows'],
  [/bsd|dragonfly/i, 'bsd'],
  [/solaris|illumos|smartos|omnios|openindiana/i, 'solaris'],
  [/mac\s?os|os x/i, 'macos'],
  [
    /linux|ubuntu|debian|centos|rocky|red ?hat|rhel|fedora|suse|arch|gentoo|alpine|talos|coreos|flatcar|nixos|kali|mint|amzn/i,
    'linux',
  ],
];

/** The family that is said, or that the name tells; `other` when neither does. */
export function osFamilyOf({ family, name = '' }: GuestOs): OsFamily {
  return family ?? families.find(([pattern]) => pattern.test(name))?.[1] ?? 'other';
}
