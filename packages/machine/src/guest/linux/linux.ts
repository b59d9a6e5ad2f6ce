import type { Budget } from '../budget.ts';
import type { FileSystem } from '../files/file-system.ts';
import { GuestFiles } from '../files/guest-files.ts';
import type { Findings } from '../findings.ts';
import { CONFIGURATION_FILE_COUNT_MAX, LIST_BYTES_MAX } from '../limits.ts';
import type { GuestMount, GuestOperatingSystem, NetworkBinding } from '../report.ts';
import type { FilledVolume } from '../volumes/volume.ts';
import { type FstabLine, judgeFstab, parseFstab } from './fstab.ts';
import { findKernels } from './kernels.ts';
import { networkBindings } from './network.ts';
import { linuxName } from './os-release.ts';

/** A Linux that was found, and its files with all of its volumes mounted. */
interface FoundLinux {
  readonly system: GuestOperatingSystem;
  readonly files: GuestFiles;
}

/** The Linux whose root a file system is; undefined for other file systems. */
export async function inspectLinux(
  root: FilledVolume,
  rootSystem: FileSystem,
  volumes: readonly FilledVolume[],
  budget: Budget,
  findings: Findings,
): Promise<FoundLinux | undefined> {
  const alone = new GuestFiles(new Map([['/', rootSystem]]));
  const name = await linuxName(alone);
  if (name === undefined) return undefined;
  const { where } = root;
  const fstab = (await findings.guard(`${where}: /etc/fstab`, () => alone.text('/etc/fstab'))) ?? '';
  const lines = parseFstab(fstab, volumes);
  judgeFstab(lines, where, findings);
  const files = new GuestFiles(await mounted(rootSystem, root, lines, findings));
  const kernels =
    (await findings.guard(`${where}: /boot`, () => findKernels(files, '/boot', where, budget, findings))) ??
    [];
  const bindings = (await findings.guard(`${where}: /etc`, () => networkBindings(files))) ?? [];
  judgeBindings(bindings, where, findings);
  await findings.guard(`${where}: /boot`, () => judgeCommandLines(files, where, findings));
  const hasCloudInit = (await findings.guard(where, () => files.has('/etc/cloud/cloud.cfg'))) ?? false;
  const { reason, ...names } = name;
  const mounts = lines.map(
    ({ path, device, type, where: volume }): GuestMount => ({
      path,
      device,
      type,
      ...(volume !== undefined && { where: volume }),
    }),
  );
  return {
    files,
    system: {
      family: 'linux',
      ...names,
      where,
      reason: `${where}: ${reason}`,
      linux: { kernels, mounts, networkBindings: bindings, hasCloudInit },
    },
  };
}

/** The root with what fstab mounts upon it, as far as that is on this disk and read. */
async function mounted(
  rootSystem: FileSystem,
  root: FilledVolume,
  lines: readonly FstabLine[],
  findings: Findings,
): Promise<Map<string, FileSystem>> {
  const mounts = new Map([['/', rootSystem]]);
  for (const { path, volume } of lines) {
    const open = volume?.content.open;
    if (volume === undefined || open === undefined || volume.where === root.where) continue;
    if (!path.startsWith('/') || path === '/' || mounts.has(path)) continue;
    const system = await findings.guard(volume.where, open);
    if (system !== undefined) mounts.set(path.replace(/\/+$/, ''), system);
  }
  return mounts;
}

/** Names that only one machine's card has; `eth0` is any machine's first where the kernel names them so. */
function judgeBindings(bindings: readonly NetworkBinding[], where: string, findings: Findings): void {
  for (const { file, kind, value } of bindings) {
    if (kind === 'name' && !/^en[a-z]*\d/.test(value)) continue;
    findings.add({
      severity: 'warning',
      code: kind === 'mac' ? 'NETWORK_BOUND_TO_MAC' : 'NETWORK_BOUND_TO_NAME',
      where: `${where}: ${file}`,
      message:
        kind === 'mac'
          ? `the network is configured for the card ${value}, which another machine does not have`
          : `the network is configured for ${value}, a name that depends on the slot of the card`,
      hint:
        kind === 'mac'
          ? 'give the new machine this MAC address, or remove the line'
          : 'configure the card by any name (en*, match by driver), or boot with net.ifnames=0 and use eth0',
    });
  }
}

const commandLineFiles = [
  '/boot/grub/grub.cfg',
  '/boot/grub2/grub.cfg',
  '/boot/grub/menu.lst',
  '/boot/extlinux.conf',
];

/** The kernel's own name for its root. */
async function judgeCommandLines(files: GuestFiles, where: string, findings: Findings): Promise<void> {
  const entries = (await files.names('/boot/loader/entries')).filter((name) => name.endsWith('.conf'));
  const paths = [
    ...commandLineFiles,
    ...entries.slice(0, CONFIGURATION_FILE_COUNT_MAX).map((name) => `/boot/loader/entries/${name}`),
  ];
  for (const path of paths) {
    const text = await files.text(path, LIST_BYTES_MAX);
    const [, device] = /\broot=(\/dev\/(?:sd|hd|vd|xvd|nvme|mmcblk)[a-z0-9]{1,16})/.exec(text ?? '') ?? [];
    if (device === undefined) continue;
    findings.add({
      severity: 'warning',
      code: 'ROOT_DEVICE_NAME',
      where: `${where}: ${path}`,
      message: `the kernel is started with root=${device}, a name that another hypervisor's disks do not have`,
      hint: 'start it with root=UUID=…: remove GRUB_DISABLE_LINUX_UUID from /etc/default/grub and make the configuration anew',
    });
    return;
  }
}
