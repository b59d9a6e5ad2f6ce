import { ownValue } from '../../own-value.ts';

/** Words of the first version of OVF, and of programs. */
const words: Readonly<Record<string, bigint>> = {
  byte: 1n,
  bytes: 1n,
  kb: 2n ** 10n,
  kilobytes: 2n ** 10n,
  mb: 2n ** 20n,
  megabytes: 2n ** 20n,
  gb: 2n ** 30n,
  gigabytes: 2n ** 30n,
  tb: 2n ** 40n,
  terabytes: 2n ** 40n,
};

/**
 * A quantity of bytes in a unit: one of DSP0004, annex C, made of bytes (`byte`, `byte * 2^20`, `byte*1024`), or one of
 * the words. Undefined for what is none, or above 2^53 - 1.
 */
export function bytesOfUnits(quantity: string, unit: string): number | undefined {
  if (!/^\d{1,19}$/.test(quantity)) return undefined;
  const word = ownValue(words, unit.trim().toLowerCase());
  const [, base, exponent = '1'] = /^byte\s*\*\s*(\d{1,4})(?:\s*\^\s*(\d{1,2}))?$/i.exec(unit.trim()) ?? [];
  const factor = word ?? (base === undefined ? undefined : BigInt(base) ** BigInt(exponent));
  const bytes = factor === undefined ? undefined : BigInt(quantity) * factor;
  return bytes === undefined || bytes > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : Number(bytes);
}
