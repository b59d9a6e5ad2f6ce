import { GIB, KIB, MIB, TIB } from '../../bytes/numbers.ts';

/** Larger than any disk of the field (VHDX and most clouds end at 64 TiB); keeps every count a safe integer. */
export const FIXED_SIZE_BYTES_MAX: number = 64 * TIB;
/** The specification's largest disk: what Hyper-V, Virtual PC and qemu take. */
export const DYNAMIC_SIZE_BYTES_MAX: number = 2040 * GIB;
/** Sector numbers of the block allocation table have 32 bits; a reader takes all that they can name. */
export const DYNAMIC_READ_BYTES_MAX: number = 2 * TIB;
/** 2 TiB in blocks of 512 KiB, the smallest that are in use; 2 MiB is the rule. The table is held in memory. */
export const BLOCK_TABLE_BYTES_MAX: number = 16 * MIB;
/** Windows paths end at 32767 UTF-16 units. */
export const LOCATOR_BYTES_MAX: number = 64 * KIB;
/** Sector bitmaps that a reader keeps, of blocks with unused sectors only. */
export const BITMAP_CACHE_COUNT = 64;
