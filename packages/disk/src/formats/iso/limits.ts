/** ECMA-119 sets no number; discs have four at most. */
export const DESCRIPTOR_COUNT_MAX = 32;
