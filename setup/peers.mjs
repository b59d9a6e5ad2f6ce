import { spawnSync } from 'node:child_process';

/** Debian's packages with the programs that the tests compare with or build, and why each is here. */
const peers = {
  'qemu-utils': 'qemu-img: reads and writes every common format; qemu-nbd and qemu-io speak NBD',
  'libnbd-bin': 'nbdinfo and nbdcopy, a second client of NBD',
  'python3-libnbd': 'the same client call by call, for requests that no tool sends',
  nbdkit: 'a second server of NBD, which also fails and lacks things on demand',
  'qemu-system-x86': 'starts machines: the hypervisor that command lines are made for',
  'qemu-guest-agent': 'the agent of guests; it runs here with what it could freeze blocked',
  ovmf: 'UEFI for the machines that it starts',
  'libvirt-clients': 'virsh defines written domains with the test driver of libvirt',
  'libvirt-daemon': 'a private libvirt, which starts guests',
  'libvirt-daemon-driver-qemu': 'see libvirt-daemon',
  libvirt0: 'see libvirt-clients; carries the grammar of domains',
  'virt-v2v': 'reads appliances of VMware, and prints what it sees of the machine',
  'libvhdi-utils': 'a second reader of VHD',
  'libvmdk-utils': 'a second reader of VMDK',
  'libqcow-utils': 'a second reader of qcow and qcow2',
  postgresql: 'the second SQL engine',
  'libarchive-tools': 'bsdtar, a second reader of tar archives',
  e2fsprogs: 'mke2fs makes file systems for test disks',
  dosfstools: 'mkfs.fat makes EFI system partitions for test disks',
  mtools: 'copies files into them',
  xfsprogs: 'mkfs.xfs makes file systems with files in them',
  'ntfs-3g': 'mkntfs makes file systems for disks of Windows',
  wimtools: 'copies files into them without mounting',
  'libhivex-bin': 'hivexsh writes registry hives of Windows',
  chntpw: 'reged, a second reader of them',
  fdisk: 'sfdisk and fdisk make partition tables',
  gdisk: 'sgdisk makes hybrid partition tables',
  lvm2: 'pvck reads physical volumes that are files',
  cpio: 'makes the archives of an initramfs',
  lz4: 'compresses an initramfs as some kernels have it',
  genisoimage: 'makes CDs that can be started from',
  syslinux: 'makes disks that a BIOS starts from',
  'syslinux-common': 'see syslinux',
  'grub-common': 'grub-mkimage makes boot loaders, as the next two do',
  'grub-pc-bin': 'see grub-common: for a BIOS',
  'grub-efi-amd64-bin': 'see grub-common: for UEFI',
  curl: 'uploads and downloads, for the benchmarks',
  'util-linux': 'prlimit makes a disk look full',
  'python3-yaml': 'a second reader of YAML; Python makes the vectors of the disk digest again',
  zstd: 'reads the frames of the vault and makes files that are refused, as the next two do',
  'xz-utils': 'see zstd',
  bzip2: 'see zstd',
  chromium: 'runs the browser build of the engine',
  gcc: 'builds the native accelerator, as the next two do',
  'libc6-dev': 'see gcc',
  'libdeflate-dev': 'see gcc',
  binutils: 'assembles guests that are boot sectors',
};

/** Installs the missing packages as root; otherwise prints the command to run and stops. */
export function ensurePeers() {
  const missing = Object.keys(peers).filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  const install = ['install', '--yes', '--quiet', '--no-install-recommends', ...missing];
  if (process.getuid?.() !== 0) {
    console.error(
      `The tests need these packages of Debian: ${missing.join(', ')}. Run this once, then npm test again:`,
    );
    console.error(`\n  sudo apt-get update && sudo apt-get ${install.join(' ')}\n`);
    process.exit(1);
  }
  console.error(`Installing the programs that the tests compare with: ${missing.join(', ')} …`);
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const command of [['update', '--quiet'], install]) {
    const apt = spawnSync('apt-get', command, { env: environment, stdio: ['ignore', 2, 2] });
    if (apt.status !== 0) {
      console.error(`apt-get ${command.join(' ')} failed; see the lines above.`);
      process.exit(1);
    }
  }
}

function isInstalled(name) {
  const status = spawnSync('dpkg', ['--status', name], { encoding: 'utf8' });
  return status.status === 0 && /^Status: .* installed$/m.test(status.stdout);
}
