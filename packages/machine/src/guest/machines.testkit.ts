import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  compressed,
  MIB,
  makeCpio,
  makeDisk,
  makeExt,
  makeFat,
  type Part,
  peer,
  type Tree,
} from './images.testkit.ts';

const GRUB_FOLDER = '/usr/lib/grub/i386-pc';
export const BIOS_BOOT_TYPE = '21686148-6449-6E6F-744E-656564454649';
export const ROOT_UUID = '6b1f5b5c-2f0e-4b6c-9d0d-0123456789ab';

export interface LinuxWishes {
  /** Modules in the initramfs. */
  readonly modules?: readonly string[];
  /** How the initramfs is compressed: a command. */
  readonly compress?: string;
  /** A plain archive of microcode in front of it. */
  readonly hasMicrocode?: boolean;
  readonly configuration?: string;
  readonly files?: Tree;
}

/** The root of a small Debian, as its packages lay it out; the shell is that of this machine. */
export async function linuxTree(folder: string, wishes: LinuxWishes = {}): Promise<Tree> {
  const {
    modules = ['virtio_pci', 'virtio_blk', 'virtio_scsi'],
    hasMicrocode = true,
    compress = 'gzip -c',
  } = wishes;
  const version = '6.1.0-18-amd64';
  const system = await makeCpio(folder, {
    init: '#!/bin/sh\n',
    ...Object.fromEntries(
      modules.map((name) => [`usr/lib/modules/${version}/kernel/drivers/x/${name}.ko`, 'a module']),
    ),
  });
  const microcode = await makeCpio(folder, {
    'kernel/x86/microcode/GenuineIntel.bin': new Uint8Array(5000).fill(7),
  });
  const packed = await compressed(folder, system, compress);
  return {
    bin: { link: 'usr/bin' },
    lib: { link: 'usr/lib' },
    'usr/bin/dash': new Uint8Array(await readFile('/bin/sh')),
    'usr/bin/sh': { link: 'dash' },
    'usr/lib/os-release':
      'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n',
    'etc/os-release': { link: '../usr/lib/os-release' },
    'etc/fstab': `# a comment\nUUID=${ROOT_UUID} / ext4 errors=remount-ro 0 1\nproc /proc proc defaults 0 0\n`,
    'etc/cloud/cloud.cfg': 'users: []\n',
    [`boot/vmlinuz-${version}`]: 'a kernel',
    'boot/vmlinuz-5.10.0-9-amd64': 'an older kernel',
    [`boot/initrd.img-${version}`]: hasMicrocode ? Buffer.concat([microcode, packed]) : packed,
    [`boot/config-${version}`]:
      wishes.configuration ??
      'CONFIG_VIRTIO_PCI=m\nCONFIG_VIRTIO_BLK=m\nCONFIG_SCSI_VIRTIO=m\nCONFIG_VIRTIO_NET=m\n',
    [`usr/lib/modules/${version}/modules.dep`]:
      'kernel/drivers/block/virtio_blk.ko:\nkernel/drivers/scsi/virtio_scsi.ko.xz:\nkernel/drivers/net/virtio_net.ko: kernel/x.ko\nkernel/drivers/virtio/virtio_pci.ko:\n',
    [`usr/lib/modules/${version}/modules.builtin`]: 'kernel/fs/ext4/ext4.ko\n',
    ...wishes.files,
  };
}

/** A program of GRUB for UEFI. */
export async function grubEfi(folder: string): Promise<Uint8Array> {
  const program = join(folder, 'grub.efi');
  await peer('grub-mkimage', [
    '-O',
    'x86_64-efi',
    '-p',
    '/EFI/debian',
    '-o',
    program,
    'part_gpt',
    'ext2',
    'normal',
  ]);
  return new Uint8Array(await readFile(program));
}

/** Writes GRUB into the first sector, and its second part where that partition begins, as grub-install does. */
export async function installGrub(folder: string, disk: Uint8Array, coreOffset: number): Promise<void> {
  const program = join(folder, 'core.img');
  await peer('grub-mkimage', [
    '-O',
    'i386-pc',
    '-p',
    '/boot/grub',
    '-o',
    program,
    'biosdisk',
    'part_gpt',
    'ext2',
  ]);
  const first = new Uint8Array(await readFile(join(GRUB_FOLDER, 'boot.img')));
  new DataView(first.buffer).setBigUint64(0x5c, BigInt(coreOffset / 512), true);
  disk.set(first.subarray(0, 440));
  disk.set(await readFile(program), coreOffset);
}

/** A disk with a Linux in its last partition, and what is needed to start it before. */
export async function linuxDisk(
  folder: string,
  wishes: LinuxWishes & { readonly firmware?: 'both' | 'bios' | 'uefi' | 'vendor' | 'none' } = {},
): Promise<Uint8Array> {
  const { firmware = 'both' } = wishes;
  const root = await makeExt(folder, await linuxTree(folder, wishes), [
    '-t',
    'ext4',
    '-U',
    ROOT_UUID,
    '-L',
    'root',
  ]);
  const parts: Part[] = [{ content: new Uint8Array(MIB), entry: `type=${BIOS_BOOT_TYPE}` }];
  const loader = await grubEfi(folder);
  const esp: Tree =
    firmware === 'both' || firmware === 'uefi'
      ? { 'EFI/BOOT/BOOTX64.EFI': loader, 'EFI/debian/grubx64.efi': loader }
      : firmware === 'vendor'
        ? { 'EFI/debian/grubx64.efi': loader }
        : {};
  parts.push({ content: await makeFat(folder, esp), entry: 'type=U' }, { content: root, entry: 'type=L' });
  const disk = await makeDisk(folder, 'gpt', parts);
  if (firmware === 'both' || firmware === 'bios') await installGrub(folder, disk, MIB);
  return disk;
}

/** A registry hive with a root and nothing in it, by M. Suhanov's description: what hivexsh then fills. */
export function emptyHive(): Uint8Array {
  const bytes = new Uint8Array(8192);
  const view = new DataView(bytes.buffer);
  const text = (at: number, content: string) => bytes.set(Buffer.from(content, 'latin1'), at);
  text(0, 'regf');
  view.setUint32(4, 1, true);
  view.setUint32(8, 1, true);
  view.setUint32(20, 1, true);
  view.setUint32(24, 3, true);
  view.setUint32(32, 1, true);
  view.setUint32(36, 0x20, true);
  view.setUint32(40, 4096, true);
  view.setUint32(44, 1, true);
  text(4096, 'hbin');
  view.setUint32(4096 + 8, 4096, true);
  const root = 4096 + 0x20;
  const rootBytes = 96;
  view.setInt32(root, -rootBytes, true);
  text(root + 4, 'nk');
  // Root of the hive, not to be deleted, its name in Latin-1.
  view.setUint16(root + 6, 0x2c, true);
  view.setUint32(root + 20, 0xffffffff, true);
  for (const field of [28, 32, 40, 44, 48]) view.setUint32(root + 4 + field, 0xffffffff, true);
  view.setUint16(root + 4 + 72, 4, true);
  text(root + 4 + 76, 'root');
  // hivex gives new keys the security descriptor of the key above: here one that says nothing.
  const security = root + rootBytes;
  const securityBytes = 48;
  view.setInt32(security, -securityBytes, true);
  text(security + 4, 'sk');
  view.setUint32(security + 8, security - 4096, true);
  view.setUint32(security + 12, security - 4096, true);
  view.setUint32(security + 16, 1, true);
  view.setUint32(security + 20, 20, true);
  view.setUint32(security + 24, 0x80000001, true);
  view.setUint32(root + 4 + 44, security - 4096, true);
  const free = security + securityBytes;
  view.setInt32(free, 8192 - free, true);
  let sum = 0;
  for (let at = 0; at < 508; at += 4) sum ^= view.getUint32(at, true);
  view.setUint32(508, sum, true);
  return bytes;
}
