import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { root } from '../house/files.ts';
import { cpioArchive } from './cpio.ts';
import { type KernelModule, readKernel } from './kernel.ts';
import { type GuestPackage, guestPackage, tool, unpack } from './packages.ts';

/** A kernel and the only program that it starts, as files: what the guest is, whatever disk it stands on. */
export interface GuestSystem {
  readonly kernelPath: string;
  readonly initrdPath: string;
  /** Of the folder that it stands in; changes with packages and recipe. */
  readonly folder: string;
}

const cache = join(root, 'node_modules/.cache/gantry/guests');
const recipe = join(root, 'testbed/guests');

/** For disks on every bus, file systems of disks and discs, the power button. */
const modules = [
  'virtio_pci',
  'virtio_blk',
  'virtio_scsi',
  'virtio_net',
  'virtio_console',
  'ata_piix',
  'ahci',
  'nvme',
  'xhci_pci',
  'usb_storage',
  'vmw_pvscsi',
  'sd_mod',
  'sr_mod',
  'vfat',
  'nls_cp437',
  'nls_ascii',
  'nls_iso8859_1',
  'isofs',
  'evdev',
  'button',
];

/** The system, made anew when a package or the recipe has changed; later calls find it. */
export async function guestSystem(): Promise<GuestSystem> {
  const kernel = await guestPackage(/^linux-image-\d[^_]*-amd64_.*\.deb$/);
  const programs = await guestPackage(/^busybox-static_.*\.deb$/);
  const folder = join(cache, await keyOf([kernel.file, programs.file]));
  const system = join(folder, 'system');
  await once(system, async (into) => {
    const { image, modules: loaded } = await readKernel(kernel, modules);
    await writeFile(join(into, 'vmlinuz'), image);
    await writeFile(join(into, 'initrd.img'), await initramfs(image, loaded, programs));
  });
  return { folder, kernelPath: join(system, 'vmlinuz'), initrdPath: join(system, 'initrd.img') };
}

/** Fills a folder and gives it its name when it is whole; a folder of that name is left as it is. */
export async function once(folder: string, fill: (into: string) => Promise<void>): Promise<void> {
  if (await isThere(folder)) return;
  await mkdir(join(folder, '..'), { recursive: true });
  const partial = await mkdtemp(`${folder}.`);
  try {
    await fill(partial);
    await rename(partial, folder).catch(async (error) => {
      // Another test was faster.
      if (!(await isThere(folder))) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function keyOf(packages: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const text of packages) hash.update(`${text}\n`);
  hash.update(await tool('dpkg-query', ['-W', 'grub-common', 'syslinux', 'dosfstools', 'mtools']));
  for (const name of ['cpio.ts', 'debian-disk.ts', 'init.sh', 'kernel.ts', 'packages.ts', 'system.ts'])
    hash.update(await readFile(join(recipe, name)));
  return hash.digest('hex').slice(0, 24);
}

async function initramfs(
  kernel: Uint8Array,
  loaded: readonly KernelModule[],
  programs: GuestPackage,
): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), 'gantry-busybox-'));
  try {
    await unpack(programs, folder, ['*/bin/busybox']);
    const [path = ''] = (await readdir(folder, { recursive: true })).filter((name) =>
      name.endsWith('bin/busybox'),
    );
    const sum = createHash('sha256').update(kernel).digest('hex');
    const archive = cpioArchive([
      ...['bin/', 'dev/', 'files/', 'modules/', 'proc/', 'sys/'].map((path) => ({ path })),
      { path: 'bin/busybox', content: await readFile(join(folder, path)), isProgram: true },
      { path: 'init', content: await readFile(join(recipe, 'init.sh')), isProgram: true },
      { path: 'sums', content: `${sum}  vmlinuz\n` },
      { path: 'modules/order', content: loaded.map(({ name }) => `${name}\n`).join('') },
      ...loaded.map(({ name, object }) => ({ path: `modules/${name}`, content: object })),
    ]);
    return gzipSync(archive, { level: 9 });
  } finally {
    await rm(folder, { recursive: true });
  }
}
