import { MIB, TIB } from '../../bytes/numbers.ts';

/** Larger than any disk of the field (vSphere ends at 62 TiB); keeps every count a safe integer. */
export const VIRTUAL_SIZE_BYTES_MAX: number = 64 * TIB;
/** Every sector number inside a sparse extent has 32 bits, so the file ends at 2 TiB. */
export const FILE_SECTORS_MAX: number = 2 ** 32;
/** VirtualBox takes no grain below 8 sectors, qemu none above 0x200000. */
export const GRAIN_SECTORS_MIN = 8;
export const GRAIN_SECTORS_MAX: number = 2 ** 21;
/** A compressed grain is in memory whole. Every known writer uses 128 sectors; this is 1 MiB. */
export const COMPRESSED_GRAIN_SECTORS_MAX = 2048;
/** The specification says 512. VirtualBox takes powers of two from 128, qemu none above 512. */
export const TABLE_ENTRIES_MIN = 128;
export const TABLE_ENTRIES_MAX = 512;
/** 64 TiB in grains of the usual 64 KiB. The directory is held in memory, more than once where it is checked. */
export const DIRECTORY_ENTRIES_MAX: number = 2 ** 21;
/** qemu reads no more of a descriptor. */
export const DESCRIPTOR_BYTES_MAX: number = MIB;
/** VMDK_DESCRIPTOR_LINES_MAX of VirtualBox. */
export const DESCRIPTOR_EXTENTS_MAX = 1100;
/** 8 PiB: no extent of the field comes near. */
export const DESCRIPTOR_EXTENT_SECTORS_MAX: number = 2 ** 44;
/** Grain tables that a reader keeps, of all extents together. */
export const TABLE_CACHE_BYTES: number = 4 * MIB;
/** Decompressed grains that a reader keeps, for reads smaller than a grain. */
export const GRAIN_CACHE_BYTES: number = 2 * MIB;
/** 2047 MiB, as VMware and VirtualBox cut the extents of split disks. */
export const SPLIT_EXTENT_SECTORS = 4192256;
/** Extents of a new descriptor: with its other lines it stays below VirtualBox's VMDK_DESCRIPTOR_LINES_MAX. */
export const EXTENT_COUNT_MAX = 1000;
/** ESX writes COWD grains of 1 sector; qemu and libvmdk take any. 1 MiB is far above all of the field. */
export const COWD_GRAIN_SECTORS_MAX = 2048;
/** Tables that a repair writes again are in memory together: 64 MiB, those of 1 TiB. */
export const REPAIR_BYTES_MAX: number = 64 * MIB;
