import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type GuestPackage, tool, unpack } from './packages.ts';

export interface Kernel {
  /** `6.1.0-18-amd64`, as `uname -r` says it. */
  readonly release: string;
  /** What a boot loader starts. */
  readonly image: Uint8Array;
  /** In an order in which each comes behind those that it needs. */
  readonly modules: readonly KernelModule[];
}

export interface KernelModule {
  /** With underscores, as the kernel says it. */
  readonly name: string;
  /** The object as the kernel loads it. */
  readonly object: Uint8Array;
}

/** Folders and files of modules, with all that any of the modules needs which guests want. */
const moduleFiles = [
  'drivers/acpi/button.ko',
  'drivers/ata/',
  'drivers/block/virtio_blk.ko',
  'drivers/cdrom/',
  'drivers/char/virtio_console.ko',
  'drivers/input/evdev.ko',
  'drivers/net/net_failover.ko',
  'drivers/net/virtio_net.ko',
  'drivers/nvme/',
  'drivers/scsi/',
  'drivers/usb/common/',
  'drivers/usb/core/',
  'drivers/usb/host/',
  'drivers/usb/storage/',
  'drivers/virtio/',
  'fs/fat/',
  'fs/isofs/',
  'fs/nls/',
  'net/core/',
  'arch/x86/crypto/',
  'crypto/',
  'lib/',
  'block/',
];

/**
 * Takes a kernel out of its package, with these modules and what they need. The package has no `modules.dep`, which is
 * made where a kernel is installed; each module says itself which others it needs, in its section `.modinfo`.
 */
export async function readKernel(source: GuestPackage, wanted: readonly string[]): Promise<Kernel> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-kernel-'));
  try {
    const patterns = moduleFiles.map((path) => `*/lib/modules/*/kernel/${path}*`);
    await unpack(source, folder, ['./boot/vmlinuz-*', '*/lib/modules/*/modules.builtin', ...patterns]);
    const [file = ''] = await readdir(join(folder, 'boot'));
    const paths = await readdir(folder, { recursive: true });
    const builtinFile = paths.find((path) => basename(path) === 'modules.builtin') ?? '';
    const builtin = new Set(
      (await readFile(join(folder, builtinFile), 'utf8')).split('\n').map((path) => moduleName(path)),
    );
    const files = new Map(
      paths
        .filter((path) => /\.ko(?:\.\w+)?$/.test(path))
        .map((path) => [moduleName(path), join(folder, path)]),
    );
    return {
      release: file.slice('vmlinuz-'.length),
      image: await readFile(join(folder, 'boot', file)),
      modules: await inOrder(wanted, files, builtin),
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function inOrder(
  wanted: readonly string[],
  files: ReadonlyMap<string, string>,
  builtin: ReadonlySet<string>,
): Promise<KernelModule[]> {
  const ordered = new Map<string, KernelModule>();
  const add = async (name: string, because: readonly string[]): Promise<void> => {
    if (ordered.has(name) || builtin.has(name)) return;
    const path = files.get(name);
    if (path === undefined || because.includes(name))
      throw new Error(`the kernel has no module ${name}, wanted by ${because.join(', ') || 'the guest'}`);
    const object = await readModule(path);
    for (const needed of neededBy(object)) await add(needed, [...because, name]);
    ordered.set(name, { name, object });
  };
  for (const name of wanted) await add(name, []);
  return [...ordered.values()];
}

function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(?:\.\w+)?$/, '')
    .replaceAll('-', '_');
}

/** Debian compresses modules since its thirteenth release. */
async function readModule(path: string): Promise<Uint8Array> {
  if (path.endsWith('.xz')) await tool('xz', ['-d', path]);
  return readFile(path.replace(/\.xz$/, ''));
}

/** `.modinfo` holds texts that each end with a zero. */
function neededBy(object: Uint8Array): string[] {
  const list = /\0depends=([^\0]*)\0/.exec(Buffer.from(object).toString('latin1'))?.[1] ?? '';
  return list
    .split(',')
    .filter((name) => name !== '')
    .map((name) => name.replaceAll('-', '_'));
}
