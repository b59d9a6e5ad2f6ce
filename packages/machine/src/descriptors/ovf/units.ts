import { ovfQuantityBytes } from '@gantry/disk';

/** Bytes of a quantity in a unit. Undefined for what is none, or above 2^53 - 1. */
export function bytesOfUnits(quantity: string, unit: string): number | undefined {
  const bytes = ovfQuantityBytes(quantity, unit);
  return bytes === undefined || bytes > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : Number(bytes);
}
