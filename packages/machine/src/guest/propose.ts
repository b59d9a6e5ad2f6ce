import type { Architecture, Clock, Firmware, GuestOs, LaunchOptions } from '../model.ts';
import type {
  Conclusion,
  DriverState,
  GuestKernel,
  GuestOperatingSystem,
  GuestReport,
  WindowsGuest,
} from './report.ts';

/** How a machine with the disk is best started, and what stands against it. */
export interface LaunchProposal {
  /** `no`: neither firmware finds anything to start; `unknown`: code was found that is not known. */
  readonly boots: 'yes' | 'no' | 'unknown';
  readonly firmware: Firmware;
  readonly architecture: Architecture;
  readonly guestOs: GuestOs;
  /** What the machine's hardware clock is to hold: `local` for a Windows that expects it, where it can be chosen. */
  readonly clock: Clock;
  /** With virtio devices (`PARAVIRTUALIZED`), or with emulated ones where the system has no drivers for those. */
  readonly launchMode: 'PARAVIRTUALIZED' | 'EMULATED' | 'CUSTOM';
  /** The mode and the firmware; with `CUSTOM` the devices too. */
  readonly launchOptions: LaunchOptions;
  /** What to know before it is started, one sentence each. */
  readonly warnings: readonly string[];
  /** Why each of the above is proposed, one sentence each. */
  readonly reasons: readonly string[];
}

/** Architectures whose virtual machines have no BIOS. */
const uefiOnly: readonly Architecture[] = ['aarch64', 'riscv64', 'loongarch64'];

/** A proposal from what was found; see `inspectGuest`. */
export function proposeLaunch(report: GuestReport): LaunchProposal {
  const architecture = report.architecture?.value ?? 'x86_64';
  const [system] = report.operatingSystems;
  const firmware = firmwareOf(report, architecture);
  const devices = devicesOf(report, system);
  const clock = clockOf(system);
  const warnings = [
    ...firmware.warnings,
    ...devices.warnings,
    ...severalSystems(report),
    ...report.findings
      .filter(({ severity }) => severity !== 'note')
      .map(({ where, message }) => `${where}: ${message}`),
  ];
  return {
    boots: firmware.boots,
    firmware: firmware.firmware,
    architecture,
    guestOs: guestOsOf(system),
    clock: clock.value,
    launchMode: devices.launchMode,
    launchOptions: {
      launchMode: devices.launchMode,
      firmware: firmware.firmware === 'uefi' ? 'UEFI_64' : 'BIOS',
      ...(devices.launchMode === 'CUSTOM' && { bootVolumeType: 'IDE', networkType: 'E1000' }),
    },
    warnings,
    reasons: [
      report.architecture?.reason ?? 'nothing tells the architecture: x86_64 is the usual one',
      system?.reason ?? 'no operating system was found that is read',
      ...firmware.reasons,
      ...devices.reasons,
      ...clock.reasons,
    ],
  };
}

function clockOf(system: GuestOperatingSystem | undefined): { value: Clock; reasons: readonly string[] } {
  const clock = system?.windows?.clock;
  if (clock?.holds === undefined) return { value: 'utc', reasons: [] };
  const name = clock.holds === 'utc' ? 'UTC' : 'local time';
  return { value: clock.holds, reasons: [`Windows takes the hardware clock for ${name}`] };
}

interface FirmwareProposal {
  readonly boots: LaunchProposal['boots'];
  readonly firmware: Firmware;
  readonly reasons: readonly string[];
  readonly warnings: readonly string[];
}

/** What surely starts, UEFI before BIOS where both do; then what may; then what the partition table looks like. */
function firmwareOf(report: GuestReport, architecture: Architecture): FirmwareProposal {
  const { bios, uefi } = report.firmware;
  const said = (firmware: Firmware, boots: LaunchProposal['boots'], reasons: readonly string[]) => {
    const name = firmware === 'uefi' ? 'UEFI' : 'BIOS';
    return { boots, firmware, reasons: reasons.map((reason) => `${name}: ${reason}`), warnings: [] };
  };
  if (uefi.boots === 'yes') return said('uefi', 'yes', uefi.reasons);
  const biosCounts = !uefiOnly.includes(architecture);
  if (biosCounts && bios.boots === 'yes') return said('bios', 'yes', bios.reasons);
  if (uefi.boots === 'unknown') return said('uefi', 'unknown', uefi.reasons);
  if (biosCounts && bios.boots === 'unknown') return said('bios', 'unknown', bios.reasons);
  const isUefi = !biosCounts || report.bootLoaders.some(({ firmware }) => firmware === 'uefi');
  const why = [
    ...(biosCounts ? bios.reasons.map((reason) => `a BIOS does not start it: ${reason}`) : []),
    ...uefi.reasons.map((reason) => `UEFI does not start it: ${reason}`),
  ];
  return { ...said(isUefi ? 'uefi' : 'bios', 'no', []), reasons: why, warnings: why };
}

interface DeviceProposal {
  readonly launchMode: LaunchProposal['launchMode'];
  readonly reasons: readonly string[];
  readonly warnings: readonly string[];
}

function devicesOf(report: GuestReport, system: GuestOperatingSystem | undefined): DeviceProposal {
  if (system?.windows !== undefined) return windowsDevices(system.windows);
  const [kernel] = system?.linux?.kernels.length ? system.linux.kernels : report.kernels;
  if (kernel?.drivers === undefined)
    return virtio([
      'no kernel was found whose drivers could be looked at; most systems have drivers for virtio',
    ]);
  return linuxDevices(kernel, kernel.drivers);
}

type Drivers = NonNullable<GuestKernel['drivers']>;

/** At the root's mount a driver has to be there already; the network may come later. */
function linuxDevices({ version }: GuestKernel, drivers: Drivers): DeviceProposal {
  const { virtio_pci, virtio_blk, virtio_scsi, virtio_net } = drivers;
  const kernel = `kernel ${version}`;
  const disk = isEarly(virtio_blk) ? virtio_blk : virtio_scsi;
  const diskName = isEarly(virtio_blk) ? 'virtio_blk' : 'virtio_scsi';
  if (isEarly(virtio_pci) && isEarly(disk)) {
    const other =
      diskName === 'virtio_blk' && isMissing(virtio_scsi)
        ? ['virtio_scsi']
        : isMissing(virtio_blk)
          ? ['virtio_blk']
          : [];
    const warnings = [
      ...other.map(
        (name) => `${kernel} has no ${name} when it mounts its root: attach the disk by ${diskName}`,
      ),
      ...(virtio_net.value === 'absent' ? [`${kernel} has no virtio_net: ${virtio_net.reason}`] : []),
    ];
    return { ...virtio([`${kernel} has ${diskName}: ${disk.reason}`]), warnings };
  }
  if (isMissing(virtio_pci) || (isMissing(virtio_blk) && isMissing(virtio_scsi))) {
    const name = isMissing(virtio_pci) ? 'virtio_pci' : 'virtio_blk';
    const reason = `${kernel} has no ${name} when it mounts its root: ${drivers[name].reason}`;
    return {
      launchMode: 'EMULATED',
      reasons: [reason],
      warnings: [
        `with virtio devices it would not start: ${reason}. Make the initramfs anew with it before the machine is copied (dracut --no-hostonly, or update-initramfs with virtio_blk, virtio_scsi and virtio_pci in its modules), or launch it with emulated devices`,
      ],
    };
  }
  const doubt = isEarly(virtio_pci) ? drivers.virtio_blk : virtio_pci;
  return {
    ...virtio(['most systems have drivers for virtio']),
    warnings: [`whether ${kernel} has drivers for virtio could not be seen: ${doubt.reason}`],
  };
}

function isEarly({ value }: Conclusion<DriverState>): boolean {
  return value === 'built-in' || value === 'initramfs';
}

function isMissing({ value }: Conclusion<DriverState>): boolean {
  return value === 'absent' || value === 'module';
}

/** Imported Windows is launched paravirtualized or with devices that are described one by one. */
function windowsDevices({ drivers }: WindowsGuest): DeviceProposal {
  const atBoot = drivers.filter(
    ({ name, hasFile, startType }) => name !== 'netkvm' && hasFile && startType === 0,
  );
  const [disk] = atBoot;
  const hasNetwork = drivers.some(({ name, hasFile }) => name === 'netkvm' && hasFile);
  if (disk !== undefined) {
    return {
      ...virtio([`${disk.name}.sys is there and starts at boot`]),
      warnings: hasNetwork ? [] : ['netkvm.sys is not there: there would be no network with a virtio card'],
    };
  }
  const reason = drivers.some(({ name, hasFile }) => name !== 'netkvm' && hasFile)
    ? 'its virtio disk driver does not start at boot'
    : 'viostor.sys and vioscsi.sys are not there';
  return {
    launchMode: 'CUSTOM',
    reasons: [reason],
    warnings: [
      `with virtio devices Windows would stop with INACCESSIBLE_BOOT_DEVICE: ${reason}. Install the virtio-win drivers before the machine is copied, or launch it with IDE and E1000`,
    ],
  };
}

function virtio(reasons: readonly string[]): DeviceProposal {
  return { launchMode: 'PARAVIRTUALIZED', reasons, warnings: [] };
}

function severalSystems({ operatingSystems }: GuestReport): string[] {
  if (operatingSystems.length < 2) return [];
  const names = operatingSystems.map(({ name, where }) => `${name} (${where})`).join(', ');
  return [`there are several systems, and the first was looked at: ${names}`];
}

function guestOsOf(system: GuestOperatingSystem | undefined): GuestOs {
  if (system === undefined) return { family: 'other' };
  const { family, name, version } = system;
  return { family, name, ...(version !== undefined && { version }) };
}
