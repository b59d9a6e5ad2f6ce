import type { Budget } from '../budget.ts';
import type { GuestFiles } from '../files/guest-files.ts';
import type { Findings } from '../findings.ts';
import { INITRAMFS_BYTES_MAX, KERNEL_COUNT_MAX, KERNEL_LISTED_COUNT_MAX, LIST_BYTES_MAX } from '../limits.ts';
import {
  type Conclusion,
  type DriverState,
  type GuestKernel,
  type VirtioDriver,
  virtioDrivers,
} from '../report.ts';
import { type InitramfsContent, readInitramfs } from './initramfs.ts';
import { modulesOf } from './modules.ts';

/** The options of the kernel's configuration that the drivers are built by. */
const optionNames: Readonly<Record<VirtioDriver, string>> = {
  virtio_pci: 'CONFIG_VIRTIO_PCI',
  virtio_blk: 'CONFIG_VIRTIO_BLK',
  virtio_scsi: 'CONFIG_SCSI_VIRTIO',
  virtio_net: 'CONFIG_VIRTIO_NET',
};

/** How distributions name kernels. What stands for rescue and crash dumps starts no machine. */
const kernelName = /^(?:vmlinuz|vmlinux|Image|kernel)-(?!.*(?:rescue|kdump|\.old$|\.hmac$))(.{1,128})$/;

/** Names of the initramfs of a kernel: Debian, Red Hat, SUSE, Arch, Alpine, Gentoo. */
const initramfsNames = (version: string) => [
  `initrd.img-${version}`,
  `initramfs-${version}.img`,
  `initrd-${version}`,
  `initramfs-${version}`,
  `initrd-${version}.img`,
];

/** The kernels in a folder with boot files, the newest first, and the drivers of the newest. */
export async function findKernels(
  files: GuestFiles,
  folder: string,
  where: string,
  budget: Budget,
  findings: Findings,
): Promise<GuestKernel[]> {
  const names = await files.names(folder === '' ? '/' : folder);
  const versions = names.map((name) => kernelName.exec(name)).filter((match) => match !== null);
  versions.sort(([, a = ''], [, b = '']) => b.localeCompare(a, 'en', { numeric: true }));
  const kernels: GuestKernel[] = [];
  for (const [name, version = ''] of versions.slice(0, KERNEL_LISTED_COUNT_MAX)) {
    const initramfs = initramfsNames(version).find((candidate) => names.includes(candidate));
    const kernel: GuestKernel = {
      version,
      path: `${folder}/${name}`,
      where,
      ...(initramfs !== undefined && { initramfsPath: `${folder}/${initramfs}` }),
    };
    if (kernels.length >= KERNEL_COUNT_MAX) kernels.push(kernel);
    else kernels.push({ ...kernel, drivers: await driversOf(files, folder, kernel, budget, findings) });
  }
  return kernels;
}

/** What is known of a kernel's drivers. Absent: not on the disk, or not read. */
interface Evidence {
  readonly configuration: { readonly path: string; readonly text: string } | undefined;
  readonly builtIn: ReadonlySet<string> | undefined;
  readonly initramfs: InitramfsContent | undefined;
  readonly onDisk: ReadonlySet<string> | undefined;
}

async function driversOf(
  files: GuestFiles,
  folder: string,
  kernel: GuestKernel,
  budget: Budget,
  findings: Findings,
): Promise<Record<VirtioDriver, Conclusion<DriverState>>> {
  const { version, initramfsPath } = kernel;
  const modules = `/lib/modules/${version}`;
  const listing = async (path: string) => findings.guard(path, () => files.text(path, LIST_BYTES_MAX));
  const configuration = await firstText(listing, [`${folder}/config-${version}`, `${modules}/config`]);
  const builtIn = await listing(`${modules}/modules.builtin`);
  const onDisk = await listing(`${modules}/modules.dep`);
  const initramfs =
    initramfsPath === undefined
      ? undefined
      : await findings.guard(`${kernel.where}: ${initramfsPath}`, async () => {
          const source = await files.open(initramfsPath, INITRAMFS_BYTES_MAX);
          return source === undefined ? undefined : readInitramfs(source, budget);
        });
  const evidence: Evidence = {
    configuration,
    builtIn: builtIn === undefined ? initramfs?.builtIn : modulesOf(builtIn),
    initramfs,
    onDisk: onDisk === undefined ? undefined : modulesOf(onDisk),
  };
  const conclude = (driver: VirtioDriver) => driverState(driver, kernel, evidence);
  const [pci, blk, scsi, net] = virtioDrivers.map(conclude);
  const unknown: Conclusion<DriverState> = { value: 'unknown', reason: 'not looked for' };
  return {
    virtio_pci: pci ?? unknown,
    virtio_blk: blk ?? unknown,
    virtio_scsi: scsi ?? unknown,
    virtio_net: net ?? unknown,
  };
}

async function firstText(
  read: (path: string) => Promise<string | undefined>,
  paths: readonly string[],
): Promise<{ path: string; text: string } | undefined> {
  for (const path of paths) {
    const text = await read(path);
    if (text !== undefined) return { path, text };
  }
  return undefined;
}

function driverState(driver: VirtioDriver, kernel: GuestKernel, evidence: Evidence): Conclusion<DriverState> {
  const { configuration, builtIn, initramfs, onDisk } = evidence;
  const option = optionNames[driver];
  const [, chosen] = new RegExp(`^${option}=([ym])$`, 'm').exec(configuration?.text ?? '') ?? [];
  if (chosen === 'y') return { value: 'built-in', reason: `${configuration?.path} has ${option}=y` };
  if (builtIn?.has(driver) === true) return { value: 'built-in', reason: 'modules.builtin lists it' };
  const path = kernel.initramfsPath;
  if (initramfs?.modules.has(driver) === true) return { value: 'initramfs', reason: `it is in ${path}` };
  if (path !== undefined && initramfs === undefined)
    return { value: 'unknown', reason: `${path} could not be read` };
  if (initramfs?.cutShort !== undefined)
    return { value: 'unknown', reason: `${path}: ${initramfs.cutShort}` };
  const missing = path === undefined ? 'there is no initramfs' : `it is not in ${path}`;
  if (onDisk?.has(driver) === true)
    return { value: 'module', reason: `${missing}, only in /lib/modules/${kernel.version}` };
  if (configuration === undefined && builtIn === undefined)
    return { value: 'unknown', reason: `${missing}, and whether it is built in is not known` };
  if (chosen === 'm' && onDisk === undefined)
    return { value: 'module', reason: `${missing}; ${configuration?.path} has ${option}=m` };
  return { value: 'absent', reason: `${missing}, not built in, and no module` };
}
