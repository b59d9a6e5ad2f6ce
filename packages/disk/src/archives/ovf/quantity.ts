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
 * Bytes of a quantity in a unit of OVF: one of DSP0004, annex C, made of bytes (`byte`, `byte * 2^20`, `byte*1024`),
 * or one of the words (`MegaBytes`). Undefined for what is no quantity, or no such unit.
 */
export function ovfQuantityBytes(quantity: string, unit: string): bigint | undefined {
  if (!/^\d{1,19}$/.test(quantity)) return undefined;
  const name = unit.trim().toLowerCase();
  const word = Object.hasOwn(words, name) ? words[name] : undefined;
  const [, base, exponent = '1'] = /^byte\s*\*\s*(\d{1,4})(?:\s*\^\s*(\d{1,2}))?$/.exec(name) ?? [];
  const factor = word ?? (base === undefined ? undefined : BigInt(base) ** BigInt(exponent));
  return factor === undefined ? undefined : BigInt(quantity) * factor;
}
