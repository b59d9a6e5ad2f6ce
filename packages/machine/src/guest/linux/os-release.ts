import type { GuestFiles } from '../files/guest-files.ts';

interface LinuxName {
  readonly name: string;
  readonly version?: string;
  readonly id?: string;
  readonly reason: string;
}

/** Names of those whose clouds call them otherwise than they do themselves. */
const cloudNames: Readonly<Record<string, string>> = { ol: 'Oracle Linux', ubuntu: 'Canonical Ubuntu' };

/** What the system says that it is; undefined where it says nothing. os-release(5), and what came before it. */
export async function linuxName(files: GuestFiles): Promise<LinuxName | undefined> {
  for (const path of ['/etc/os-release', '/usr/lib/os-release']) {
    const text = await files.text(path);
    if (text === undefined) continue;
    const values = assignments(text);
    const id = values.get('ID');
    const name = values.get('NAME') ?? id ?? 'Linux';
    const version = values.get('VERSION_ID') ?? values.get('BUILD_ID');
    return {
      name: cloudNames[id ?? ''] ?? name,
      ...(version !== undefined && { version }),
      ...(id !== undefined && { id }),
      reason: `${path} says ${values.get('PRETTY_NAME') ?? name}`,
    };
  }
  const redHat = (await files.text('/etc/redhat-release'))?.trim();
  const [, name, version] = /^(.{1,80}?) release ([\d.]{1,20})/.exec(redHat ?? '') ?? [];
  if (name !== undefined && version !== undefined)
    return { name, version, reason: `/etc/redhat-release says ${redHat}` };
  const debian = (await files.text('/etc/debian_version'))?.trim().slice(0, 40);
  if (debian !== undefined)
    return { name: 'Debian', version: debian, reason: `/etc/debian_version says ${debian}` };
  return undefined;
}

/** `NAME=value` lines of a shell, with or without quotes. */
export function assignments(text: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, name, value] = /^\s*([A-Za-z_][A-Za-z0-9_]*)=(.*?)\s*$/.exec(line.slice(0, 1024)) ?? [];
    if (name !== undefined && value !== undefined) values.set(name, unquoted(value));
  }
  return values;
}

function unquoted(value: string): string {
  const [, inside] = /^"(.*)"$/.exec(value) ?? /^'(.*)'$/.exec(value) ?? [];
  return inside?.replace(/\\(["\\$`])/g, '$1') ?? value;
}
