import { GIB, MIB, TIB } from '../bytes/numbers.ts';

/**
 * Output that a compressed file may unpack to: what no disk is larger than, and `freeOutputBytes` with
 * `outputRatioMax` bytes for each of its own. gzip gives 1032 to 1 at the most, xz some 7000, so only zstd meets
 * the ratio, with a disk above 64 GiB of which all but 1/16384 is zeros and nothing else: an installed system
 * is far from that, and reading 64 GiB of zeros takes half a minute.
 */
export const OUTPUT_BYTES_MAX: number = 64 * TIB;
export const FREE_OUTPUT_BYTES: number = 64 * GIB;
export const OUTPUT_RATIO_MAX = 16_384;

/**
 * Bytes that are unpacked again because a reader went back, beside the first pass: images whose tables stand in
 * front need none, others some passes. What asks for more would take hours.
 */
export const AGAIN_PASSES_MAX = 4;
export const FREE_AGAIN_BYTES: number = 4 * GIB;

/** Kept of what was unpacked: enough for the tables of most images, since a reader that goes back starts again. */
export const HEAD_BYTES: number = 8 * MIB;
export const WINDOW_BYTES: number = 12 * MIB;

/** `xz -9` has 64 MiB and `zstd --ultra -22` 128 MiB; more is only made on request, and would not fit beside the rest. */
export const DICTIONARY_BYTES_MAX: number = 128 * MIB;

/** Blocks of an xz file: `xz -T` makes one for 24 MiB or more, so these are 24 TiB. Each takes 40 bytes of memory. */
export const BLOCK_COUNT_MAX: number = 2 ** 20;

/** Streams of an xz file, one after the other: whoever joins files makes a few. Each costs four reads. */
export const STREAM_COUNT_MAX = 65_536;

/** An index of as many records of the longest form. */
export const INDEX_BYTES_MAX: number = 18 * BLOCK_COUNT_MAX;

/** Frames of a zstd file: `pzstd` makes one for some MiB. */
export const FRAME_COUNT_MAX: number = 2 ** 20;
