import type { XmlPlace } from '../xml/tree.ts';

/** The name under which what the model has no place for stands in `Machine.foreign`. */
export const VIRT_IMAGE = 'virt-image';

/** What a virt-image(5) descriptor says: one image, and one or more ways to boot it. */
export interface VirtImage {
  readonly name?: string;
  readonly version?: string;
  readonly release?: string;
  readonly label?: string;
  readonly description?: string;
  /** In the order in which they are tried. */
  readonly boots: readonly VirtImageBoot[];
  readonly cpuCount?: number;
  readonly memoryKib?: number;
  readonly interfaceCount: number;
  readonly hasGraphics: boolean;
  /** Every disk that the boots may use. */
  readonly disks: readonly VirtImageDisk[];
}

export type VirtImageBootType = 'xen' | 'hvm';

export interface VirtImageBoot {
  readonly type: VirtImageBootType;
  /** `i686` for every 32-bit x86, `x86_64` for AMD's name of it; others as written. */
  readonly architecture: string;
  /** Features that the host has to offer, and whether the guest gets them. */
  readonly features: Readonly<Record<string, 'on' | 'off'>>;
  /** The boot loader that a Xen host runs. */
  readonly loader?: 'pygrub';
  /** What the firmware boots from first. */
  readonly bootDevice?: 'hd' | 'cdrom';
  readonly kernel?: string;
  readonly initrd?: string;
  readonly commandLine?: string;
  readonly drives: readonly VirtImageDrive[];
  readonly place?: XmlPlace;
}

export interface VirtImageDrive {
  /** Id of a disk of the image. */
  readonly disk: string;
  /** Absent: the next free name. */
  readonly target?: string;
  readonly place?: XmlPlace;
}

export interface VirtImageDisk {
  readonly id: string;
  /** Relative to the folder of the descriptor. */
  readonly file: string;
  /** `system`, `user`, `scratch`; any other word means what `user` does. */
  readonly use: string;
  /** MiB, for a disk that has to be made; fractions are allowed. */
  readonly sizeMib?: number;
  readonly format: string;
  /** By type, as written. */
  readonly checksums: Readonly<Record<string, string>>;
  readonly place?: XmlPlace;
}

/** Formats of disks in descriptors. The last three are ours: the old tools refuse them. */
export const diskFormats: readonly string[] = [
  'raw',
  'iso',
  'qcow',
  'qcow2',
  'vmdk',
  'vdi',
  'vhd',
  'vpc',
  'vhdx',
];
export const ownDiskFormats: readonly string[] = ['vhd', 'vpc', 'vhdx'];

/** Checksums that are verified, best first, and the hexadecimal digits that each has. */
export const checksumDigits: Readonly<Record<string, number>> = { sha256: 64, sha1: 40 };
