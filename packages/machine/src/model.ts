import type { DetailValue } from '@gantry/disk';

/** Names of instruction sets as Linux's `uname -m` gives them. */
export type Architecture =
  | 'x86_64'
  | 'i686'
  | 'aarch64'
  | 'armv7l'
  | 'ppc64le'
  | 'ppc64'
  | 'ppc'
  | 's390x'
  | 'riscv64'
  | 'loongarch64'
  | 'mips'
  | 'sparc';

export type Firmware = 'bios' | 'uefi';

/** What the hardware clock of the machine holds. Windows expects `local` unless told otherwise. */
export type Clock = 'utc' | 'local';

export type GuestType = 'hvm' | 'xen';

/** What the guest sees of processor and firmware. Absent: as the hypervisor has it by itself. */
export interface MachineFeatures {
  readonly pae?: boolean;
  readonly acpi?: boolean;
  readonly apic?: boolean;
}

export interface DirectKernel {
  readonly path: string;
  readonly initrdPath?: string;
  readonly commandLine?: string;
}

/**
 * One virtual machine, all of it that is not the bytes of its disks. Descriptors are read into it and written from
 * it; what one of them cannot say is told in a `LossReport`. Sizes are bytes; lists are in the order in which the
 * guest sees their members.
 */
export interface Machine {
  readonly name: string;
  /** RFC 9562, lower case. Absent: whoever defines the machine makes one. */
  readonly uuid?: string;
  readonly title?: string;
  readonly description?: string;
  readonly architecture: Architecture;
  readonly firmware: Firmware;
  /** Only with `uefi`: the firmware starts signed boot loaders only. */
  readonly secureBoot?: boolean;
  /** A trusted platform module of version 2.0 is there. */
  readonly tpm?: boolean;
  /** At least 1. */
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly clock: Clock;
  /** `xen`: a paravirtualised guest, which only Xen runs. Absent: `hvm`, a guest that sees a whole machine. */
  readonly guestType?: GuestType;
  readonly features?: MachineFeatures;
  /** A kernel that the hypervisor starts itself, instead of what the disks hold. */
  readonly kernel?: DirectKernel;
  /** A program of the host that fetches the kernel from the guest's disk: Xen's `pygrub`. */
  readonly bootloader?: string;
  readonly guestOs?: GuestOs;
  readonly disks: readonly MachineDisk[];
  readonly nics: readonly Nic[];
  /** Absent: no screen. */
  readonly graphics?: Graphics;
  /** How a cloud launches instances of the image that the machine came from, or is to become. */
  readonly launchOptions?: LaunchOptions;
  readonly shapeCompatibilities?: readonly ShapeCompatibility[];
  readonly imageCapabilities?: ImageCapabilities;
  /**
   * What a descriptor said and the model has no place for, by the name of the descriptor, so that the same
   * descriptor can be written with it again: `{ 'oci-metadata': { added: 1 } }`.
   */
  readonly foreign?: Readonly<Record<string, JsonObject>>;
}

/** As much of a machine as one descriptor says; `completeMachine` fills in the rest. */
export type MachineFacts = Partial<Machine>;

export type JsonObject = Readonly<Record<string, DetailValue>>;

export type OsFamily = 'linux' | 'windows' | 'bsd' | 'solaris' | 'macos' | 'other';

export interface GuestOs {
  /** Absent: as `osFamilyOf` finds it from the name. */
  readonly family?: OsFamily;
  /** As people and clouds write it: `Oracle Linux`, `Canonical Ubuntu`, `Windows`. */
  readonly name?: string;
  /** `9`, `24.04`, `Server 2022 Standard`. */
  readonly version?: string;
}

/** `system` holds what the machine starts from; `scratch` may be made anew, empty, for each launch. */
export type DiskRole = 'system' | 'user' | 'scratch';

export type DiskBus = 'virtio' | 'scsi' | 'sata' | 'ide' | 'nvme' | 'usb' | 'xen' | 'floppy';

export interface MachineDisk {
  readonly role: DiskRole;
  readonly device: 'disk' | 'cdrom' | 'floppy';
  /** Absent: an empty drive, or a scratch disk that is to be made. */
  readonly path?: string;
  /** Name of the image's format, as `@gantry/disk` calls it. */
  readonly format?: string;
  readonly virtualSizeBytes?: number;
  /** Absent: whatever suits the guest. */
  readonly bus?: DiskBus;
  /** The name in the guest, where a descriptor fixes it: `hda`, `vdb`. */
  readonly target?: string;
  /** Place in the order in which the firmware tries the devices, from 1. Absent: not started from. */
  readonly bootOrder?: number;
  readonly readOnly?: boolean;
  /** Checksums of the image's file by their names (`sha256`), hexadecimal, lower case. */
  readonly checksums?: Readonly<Record<string, string>>;
  /** The identifier inside the image's file (VMDK `ddb.uuid.image`, VDI), lower case. */
  readonly uuid?: string;
}

export type NicModel = 'virtio' | 'e1000' | 'e1000e' | 'rtl8139' | 'vmxnet3' | 'pcnet';

/** `named` is a network that the hypervisor or cloud knows under `networkName`; so is the host's for `bridged`. */
export type NetworkKind = 'nat' | 'bridged' | 'named' | 'isolated' | 'unplugged';

export interface Nic {
  /** Absent: whatever suits the guest. */
  readonly model?: NicModel;
  /** Six pairs of hexadecimal digits with colons, lower case. */
  readonly macAddress?: string;
  readonly network: NetworkKind;
  readonly networkName?: string;
}

export interface Graphics {
  readonly kind: 'vnc' | 'spice' | 'rdp' | 'window';
  readonly listenAddress?: string;
  readonly port?: number;
  readonly keymap?: string;
}

/**
 * Launch options of an OCI image, under the names of its API. The values are its words; a word that is not known
 * here is kept, because clouds add some.
 */
export interface LaunchOptions {
  /** `NATIVE`, `EMULATED`, `PARAVIRTUALIZED`, `ACCELERATEDPV` or `CUSTOM`. */
  readonly launchMode?: string;
  /** `BIOS` or `UEFI_64`. */
  readonly firmware?: string;
  /** `E1000`, `VFIO`, `PARAVIRTUALIZED` or `ACCELERATEDPV`. */
  readonly networkType?: string;
  /** `ISCSI`, `SCSI`, `IDE`, `VFIO` or `PARAVIRTUALIZED`, as the next two. */
  readonly bootVolumeType?: string;
  readonly remoteDataVolumeType?: string;
  readonly localDataVolumeType?: string;
  readonly pvAttachmentVersion?: number;
  readonly isPvEncryptionInTransitEnabled?: boolean;
  readonly isConsistentVolumeNamingEnabled?: boolean;
}

/** A shape that instances of an image may have, and the part of a flexible one that they may take. */
export interface ShapeCompatibility {
  /** The public name for virtual machines, the internal one (`x7-2c.52.768`) for bare metal. */
  readonly shape: string;
  readonly ocpuConstraints?: { readonly min?: number; readonly max?: number };
  readonly memoryConstraints?: { readonly minInGBs?: number; readonly maxInGBs?: number };
  /** What the entry said besides. */
  readonly foreign?: JsonObject;
}

/** The image capability schema: what may be chosen at launch, by the schema's names (`Compute.Firmware`). */
export interface ImageCapabilities {
  /** Name of the global schema's version that the capabilities are of. */
  readonly formatVersion?: string;
  /** Each `{ descriptorType, values?, defaultValue }`; absent when only the version was given. */
  readonly capabilities?: JsonObject;
}

/** What a descriptor says, and what of it is not as its readers expect: one sentence each. */
export interface DescriptorReading {
  readonly facts: MachineFacts;
  readonly warnings: readonly string[];
}

/** A field of the machine that a descriptor does not hold, or not as it was. */
export interface Loss {
  /** The path in the model: `disks[1].bus`. */
  readonly field: string;
  readonly value: DetailValue;
  readonly why: string;
}

export interface LossReport {
  readonly losses: readonly Loss[];
}

/** The text of a descriptor, and what of the machine is not in it. */
export interface WrittenDescriptor extends LossReport {
  readonly text: string;
}
