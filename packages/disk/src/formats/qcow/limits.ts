import { KIB, MIB, TIB } from '../../bytes/numbers.ts';

/** qemu's ranges of cluster_bits and l2_bits (block/qcow.c, qcow_open). */
export const CLUSTER_BITS_MIN = 9;
export const CLUSTER_BITS_MAX = 16;
export const L2_BITS_MIN = 6;
export const L2_BITS_MAX = 13;
/** The longest backing file name that qemu takes. */
export const BACKING_NAME_BYTES_MAX = 1023;
/** Larger than any disk of the field; keeps every count a safe integer. */
export const VIRTUAL_SIZE_BYTES_MAX: number = 64 * TIB;
/** The L1 table is read in parts of this size: it grows with the disk. */
export const L1_PAGE_BYTES: number = 64 * KIB;
/** Parts of L1 and L2 tables that a reader keeps, each. */
export const TABLE_CACHE_BYTES: number = 2 * MIB;
/** Sectors of a file that `check` takes: a bit each, 4 TiB. */
export const CHECK_SECTOR_COUNT_MAX: number = 2 ** 33;
