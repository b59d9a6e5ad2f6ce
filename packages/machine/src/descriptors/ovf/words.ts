import type { DiskBus, NicModel } from '../../model.ts';

export const STRUCTURE = 'OVF descriptor';

export const namespaces = {
  ovf: 'http://schemas.dmtf.org/ovf/envelope/1',
  rasd: 'http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData',
  vssd: 'http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData',
  vmw: 'http://www.vmware.com/schema/ovf',
  /** For what this project knows of a machine, and OVF has no place for. */
  gantry: 'urn:gantry:ovf:machine:1',
} as const;

/** Those of DSP0243 1.x and 2.x. */
export const envelopeNamespaces: readonly string[] = [
  namespaces.ovf,
  'http://schemas.dmtf.org/ovf/envelope/2',
];

export const VBOX_NAMESPACE = 'http://www.virtualbox.org/ovf/machine';

/** CIM_ResourceAllocationSettingData.ResourceType. */
export const resourceTypes = {
  other: 1,
  processor: 3,
  memory: 4,
  ide: 5,
  scsi: 6,
  iscsi: 8,
  ethernet: 10,
  floppy: 14,
  cd: 15,
  dvd: 16,
  disk: 17,
  otherStorage: 20,
  usb: 23,
  logicalDisk: 31,
} as const;

/** Kinds of devices that a hypervisor adds by itself where they are needed: ports, screens, sound, USB. */
export const ordinaryTypes: readonly number[] = [21, 22, resourceTypes.usb, 24, 35];
/** The same among those of the type `other`. */
export const ordinarySubTypes =
  /^vmware\.(?:vmci|soundcard|usb|videocard|keyboard|pointingdevice|precisionclock)/;

/** Controllers of disks by their subtypes, in lower case; SCSI is whatever a SCSI controller is called. */
export const controllerBuses: Readonly<Record<string, DiskBus>> = {
  ahci: 'sata',
  'vmware.sata.ahci': 'sata',
  nvme: 'nvme',
  'vmware.nvme.controller': 'nvme',
  virtioscsi: 'scsi',
  'virtio-scsi': 'scsi',
  lsilogicsas: 'scsi',
};

/** Adapters by their subtypes, in lower case. */
export const adapterModels: Readonly<Record<string, NicModel>> = {
  e1000: 'e1000',
  e1000e: 'e1000e',
  vmxnet3: 'vmxnet3',
  pcnet32: 'pcnet',
  virtio: 'virtio',
  'virtio-net': 'virtio',
  rtl8139: 'rtl8139',
};

/** Names of networks that VirtualBox writes for its kinds, in lower case. */
export const networkKinds = { nat: 'nat', bridged: 'bridged', internal: 'isolated' } as const;

/** Formats by a word in the address that names one, as `@gantry/disk` looks for it in an OVA. */
export const formatWords: Readonly<Record<string, string>> = {
  vmdk: 'vmdk',
  vhdx: 'vhdx',
  vhd: 'vhd',
  'virtual-hard-disk': 'vhd',
  qcow2: 'qcow2',
  qcow: 'qcow2',
  vdi: 'vdi',
};
