import { KIB, MIB, TIB } from '../../bytes/numbers.ts';

/** MS-VHDX 2.6.2.2: the largest virtual disk. */
export const VIRTUAL_SIZE_BYTES_MAX: number = 64 * TIB;
/** MS-VHDX 2.6.2.1: blocks are 1 MiB to 256 MiB. */
export const BLOCK_BYTES_MIN: number = MIB;
export const BLOCK_BYTES_MAX: number = 256 * MIB;
/** The largest disk and its tables, twice: what no block of a file can stand behind. A bit for each MiB is kept. */
export const FILE_BYTES_MAX: number = 128 * TIB;
/** MS-VHDX 2.2.3.1 and 2.6.1.1: entries of the region table and of the metadata table. */
export const TABLE_ENTRIES_MAX = 2047;
/** Windows paths end at 32767 UTF-16 units; a locator holds a few of them. MS-VHDX 2.6.1.2 allows 1 MiB. */
export const LOCATOR_BYTES_MAX: number = 256 * KIB;
/** The format defines five keys; each entry may name a text of 64 KiB. */
export const LOCATOR_ENTRIES_MAX = 64;
/** Logs are 1 MiB by default everywhere. One that is to be replayed is held in memory. */
export const LOG_BYTES_MAX: number = 32 * MIB;
/** A log of 1 MiB has room for half of them; descriptors of data are bounded by the length of the log. */
export const ZERO_DESCRIPTORS_MAX = 65536;
/** Zeros of the log that a repair writes out; what Hyper-V logs as zeros are parts of tables. */
export const REPAIR_ZERO_BYTES_MAX: number = 32 * MIB;
/** Pages of the block allocation table that a reader keeps, 64 KiB each: 2 MiB. */
export const TABLE_PAGE_CACHE_COUNT = 32;
/** Sector bitmaps of blocks that a reader keeps: 256 bytes to 64 KiB each, 4 MiB at most. */
export const BITMAP_CACHE_COUNT = 64;
