import { KIB, MIB, TIB } from '../../bytes/numbers.ts';

/** VirtualBox makes blocks of 512 KiB to 8 MiB and opens an eighth of 1 MiB to 128 times it (VDI.cpp). */
export const BLOCK_BYTES_MIN: number = 128 * KIB;
export const BLOCK_BYTES_MAX: number = 128 * MIB;
/** Larger than any disk of the field (VHDX and most clouds end at 64 TiB); keeps every count a safe integer. */
export const VIRTUAL_SIZE_BYTES_MAX: number = 64 * TIB;
/** The map of the largest disk in the smallest blocks that VirtualBox makes. */
export const BLOCK_MAP_BYTES_MAX: number = (VIRTUAL_SIZE_BYTES_MAX / (512 * KIB)) * 4;
/** Pages of the map that a reader keeps: 2 MiB, which is the map of half a TiB in blocks of 1 MiB. */
export const MAP_PAGE_COUNT = 32;
