import { ImageError, type ImageErrorPlace } from '../errors.ts';

export const SECTOR_BYTES = 512;
export const KIB = 1024;
export const MIB: number = 1024 * KIB;
export const GIB: number = 1024 * MIB;
export const TIB: number = 1024 * GIB;

/**
 * A 64-bit field of an image as a number: the one door from bigint to number.
 * Throws IMAGE_LIMIT above 2^53 - 1 and IMAGE_MALFORMED below 0.
 */
export function toSafeInteger(value: bigint, place: ImageErrorPlace): number {
  if (value < 0n) throw new ImageError('IMAGE_MALFORMED', `${place.structure}: ${value} is negative`, place);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new ImageError('IMAGE_LIMIT', `${place.structure}: ${value} is above 2^53 - 1`, place);
  }
  return Number(value);
}

/** ceil(value / divisor) for non-negative safe integers. */
export function ceilDivide(value: number, divisor: number): number {
  return Math.floor(value / divisor) + (value % divisor === 0 ? 0 : 1);
}

/** `value` rounded up to a multiple of `alignment`. */
export function roundUp(value: number, alignment: number): number {
  return ceilDivide(value, alignment) * alignment;
}

/** `value` rounded down to a multiple of `alignment`. */
export function roundDown(value: number, alignment: number): number {
  return value - (value % alignment);
}

export function isPowerOfTwo(value: number): boolean {
  // log2 rounds: of 2^49 + 1 it is 49.
  return Number.isSafeInteger(value) && value > 0 && 2 ** Math.round(Math.log2(value)) === value;
}
