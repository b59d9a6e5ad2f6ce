import { KIB } from '../../bytes/numbers.ts';

/** An OVA or `.oci` has a handful; each one costs a read, which may be a request over a network. */
export const MEMBER_COUNT_MAX = 1024;

/** A record that we act on is a name or a number; extended headers beyond this are bombs. */
export const PAX_BYTES_MAX: number = 64 * KIB;

/** PATH_MAX of Linux, which no name of a member on disk exceeds. */
export const NAME_BYTES_MAX: number = 4 * KIB;

/** The most that eleven octal digits say: 8 GiB - 1. */
export const OCTAL_SIZE_MAX: number = 8 ** 11 - 1;
