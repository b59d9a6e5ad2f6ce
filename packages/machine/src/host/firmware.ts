import { readdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import type { Architecture, Machine } from '../model.ts';
import { boardOf } from '../placement.ts';

/** UEFI for machines of this host, as files. */
export interface FoundFirmware {
  readonly codePath: string;
  /** What the variables of a new machine are copied from. */
  readonly templatePath: string;
  readonly format: 'raw' | 'qcow2';
  readonly requiresSmm: boolean;
  readonly secureBoot: boolean;
}

/** A descriptor of firmware (QEMU's docs/interop/firmware.json), as far as it is read here. */
interface Descriptor {
  readonly 'interface-types'?: readonly string[];
  readonly mapping?: {
    readonly device?: string;
    readonly mode?: string;
    readonly executable?: { readonly filename?: string; readonly format?: string };
    readonly 'nvram-template'?: { readonly filename?: string; readonly format?: string };
  };
  readonly targets?: readonly { readonly architecture?: string; readonly machines?: readonly string[] }[];
  readonly features?: readonly string[];
}

/** Those of the distribution, of the host's administrator and of the user: later ones go before. */
function firmwareFolders(): readonly string[] {
  const configFolder = process.env.XDG_CONFIG_HOME ?? join(homedir(), '.config');
  return ['/usr/share/qemu/firmware', '/etc/qemu/firmware', join(configFolder, 'qemu/firmware')];
}

/**
 * The first firmware that fits the machine, in the order of the names of the descriptors, which `folders` hold: where
 * QEMU has them when none are given. Undefined when none is installed, and for a machine without UEFI.
 */
export async function findFirmware(
  machine: Machine,
  folders: readonly string[] = firmwareFolders(),
): Promise<FoundFirmware | undefined> {
  const { architecture, secureBoot = false } = machine;
  if (machine.firmware !== 'uefi') return undefined;
  const board = boardOf(machine);
  for (const descriptor of await descriptorsIn(folders)) {
    const { targets = [], features = [], mapping } = descriptor;
    if (descriptor['interface-types']?.includes('uefi') !== true) continue;
    const fits = targets.some(
      (target) =>
        target.architecture === targetNames[architecture] &&
        target.machines?.some((pattern) => isBoard(pattern, board)) === true,
    );
    const hasSecureBoot = features.includes('secure-boot') && features.includes('enrolled-keys');
    // Code that could start signed loaders only, but knows no keys, is of use to nobody here.
    if (!fits || (secureBoot ? !hasSecureBoot : features.includes('secure-boot'))) continue;
    const found = filesOf(mapping);
    if (found !== undefined)
      return { ...found, requiresSmm: features.includes('requires-smm'), secureBoot: hasSecureBoot };
  }
  return undefined;
}

/** QEMU's own names of architectures, where they are not Linux's. */
const targetNames: Readonly<Record<Architecture, string>> = {
  x86_64: 'x86_64',
  i686: 'i386',
  aarch64: 'aarch64',
  armv7l: 'arm',
  ppc64le: 'ppc64',
  ppc64: 'ppc64',
  ppc: 'ppc',
  s390x: 's390x',
  riscv64: 'riscv64',
  loongarch64: 'loongarch64',
  mips: 'mips',
  sparc: 'sparc',
};

/** Code in a flash chip of its own, with the variables in another. */
function filesOf(
  mapping: Descriptor['mapping'],
): Pick<FoundFirmware, 'codePath' | 'templatePath' | 'format'> | undefined {
  const code = mapping?.executable;
  const template = mapping?.['nvram-template'];
  if (mapping?.device !== 'flash' || (mapping.mode ?? 'split') !== 'split') return undefined;
  if (code?.filename === undefined || template?.filename === undefined || code.format !== template.format)
    return undefined;
  if (code.format !== 'raw' && code.format !== 'qcow2') return undefined;
  return { codePath: code.filename, templatePath: template.filename, format: code.format };
}

/** `pc-q35-*` is a pattern of versions of the board `q35`. */
function isBoard(pattern: string, board: string): boolean {
  const name = pattern.replace(/-(?:\*|\d[\w.]*)$/, '');
  return name === '*' || name === board || name === `pc-${board}`;
}

/** In order of their names. A name in a later folder takes the place of the same one; an empty file takes it away. */
async function descriptorsIn(folders: readonly string[]): Promise<readonly Descriptor[]> {
  const paths = new Map<string, string>();
  for (const folder of folders) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names) {
      if (name.endsWith('.json') && !name.startsWith('.')) paths.set(name, join(folder, name));
    }
  }
  const sorted = [...paths.values()].sort((a, b) => (basename(a) < basename(b) ? -1 : 1));
  const found = await Promise.all(sorted.map(readDescriptor));
  return found.filter((descriptor) => descriptor !== undefined);
}

async function readDescriptor(path: string): Promise<Descriptor | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    // Empty, or not for reading: it describes nothing.
    return undefined;
  }
}
