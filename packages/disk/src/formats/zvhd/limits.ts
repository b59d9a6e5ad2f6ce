import { KIB, MIB, TIB } from '../../bytes/numbers.ts';

/** Larger than any disk of the field (VHDX and most clouds end at 64 TiB); keeps every count a safe integer. */
export const VIRTUAL_SIZE_BYTES_MAX: number = 64 * TIB;
/** What the reference driver takes. */
export const BLOCK_BYTES_MIN: number = MIB;
export const BLOCK_BYTES_MAX: number = 32 * MIB;
/** 32 TiB, the vendor's largest disk, in blocks of 2 MiB. A reader keeps 10 bytes of each record. */
export const RECORD_COUNT_MAX: number = 2 ** 24;
/** No codec makes more of a block, by far; what a payload may take beside two blocks. */
export const PAYLOAD_SLACK_BYTES: number = 64 * KIB;
/** Blocks that a reader keeps decompressed, so that reads of parts of them decompress each once. */
export const DECODED_BYTES_MAX: number = 8 * MIB;
/**
 * How often a ZVHD of one continuous stream is decompressed again from its start, for reads that go back: each
 * time costs the whole way.
 */
export const RESTART_COUNT_MAX = 16;
/** A reader keeps the places of records as numbers of pages, in 32 bits. */
export const FILE_BYTES_MAX: number = 16 * TIB;
