import { MIB, TIB } from '../../bytes/numbers.ts';

/** The specification's smallest; qemu's range of cluster_bits is 9 to 21 (block/qcow2.h). */
export const CLUSTER_BITS_MIN = 9;
export const CLUSTER_BITS_MAX = 21;
/** QCOW_MAX_L1_SIZE of qemu. */
export const L1_TABLE_BYTES_MAX: number = 32 * MIB;
/** QCOW_MAX_REFTABLE_SIZE of qemu. */
export const REFCOUNT_TABLE_BYTES_MAX: number = 8 * MIB;
/** QCOW_MAX_SNAPSHOTS of qemu. */
export const SNAPSHOT_COUNT_MAX = 65536;
/** The longest backing file name that qemu takes. */
export const BACKING_NAME_BYTES_MAX = 1023;
/** Larger than any disk of the field (VHDX and most clouds end at 64 TiB); keeps every count a safe integer. */
export const VIRTUAL_SIZE_BYTES_MAX: number = 64 * TIB;
/** The L1 table is read in parts of this size: one, but for small clusters. */
export const L1_PAGE_BYTES: number = MIB;
/** Parts of the L1 table that a reader keeps. */
export const L1_CACHE_BYTES: number = 4 * MIB;
/** L2 tables that a reader keeps. */
export const L2_CACHE_BYTES: number = 8 * MIB;
/** Subclusters need clusters of 16 KiB and more (qemu, block/qcow2.c). */
export const EXTENDED_L2_CLUSTER_BITS_MIN = 14;
/** Host clusters of a file that `check` takes: 5 bytes each, 16 TiB in clusters of 64 KiB. */
export const CHECK_CLUSTER_COUNT_MAX: number = 256 * MIB;
/** QCOW_MAX_SNAPSHOTS_SIZE of qemu, 1 GiB, is far above real tables: ids and names are at most 255 bytes there. */
export const SNAPSHOT_TABLE_BYTES_MAX: number = 64 * MIB;
/** QCOW2_MAX_BITMAPS of qemu. */
export const BITMAP_COUNT_MAX = 65535;
/** QCOW2_MAX_BITMAP_DIRECTORY_SIZE of qemu. */
export const BITMAP_DIRECTORY_BYTES_MAX: number = 64 * MIB;
/** BME_MAX_PHYS_SIZE of qemu is 512 MiB of bitmap: at the smallest cluster, a table of this size. */
export const BITMAP_TABLE_BYTES_MAX: number = 8 * MIB;
/** Decompressed clusters that a reader keeps, two of the largest: small reads come back to the same one. */
export const CLUSTER_CACHE_BYTES: number = 4 * MIB;
/** Internal snapshots that `details` lists; the count goes on. */
export const SNAPSHOTS_LISTED_MAX = 1000;
/** deflate makes at most this many bytes of one (zlib, "Technical Details"). */
export const DEFLATE_RATIO_MAX = 1032;
