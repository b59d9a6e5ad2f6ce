import type { DiskBus } from '../../model.ts';

/** The engine's names of formats in libvirt's words. */
export const driverTypes: Readonly<Record<string, string>> = {
  raw: 'raw',
  iso: 'raw',
  qcow: 'qcow',
  qcow2: 'qcow2',
  vmdk: 'vmdk',
  vdi: 'vdi',
  vhd: 'vpc',
};

/** Releases of libvirt that most hosts have know no NVMe disks of guests. */
export const missingBuses = ['nvme'] as const satisfies readonly DiskBus[];

export const libvirtBuses: Readonly<Record<Exclude<DiskBus, (typeof missingBuses)[number]>, string>> = {
  ide: 'ide',
  scsi: 'scsi',
  sata: 'sata',
  virtio: 'virtio',
  usb: 'usb',
  xen: 'xen',
  floppy: 'fdc',
};

export const featureNames = ['pae', 'acpi', 'apic'] as const;
