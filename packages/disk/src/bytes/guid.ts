import { hexText } from './fields.ts';

/**
 * 128 bits cut from a hash, shaped as a version 4 UUID (RFC 9562, section 5.4) so that strict parsers take
 * them. Bytes are in the order that the text form prints.
 */
export function uuidFromHash(hash: Uint8Array): Uint8Array {
  const uuid = hash.slice(0, 16);
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | 0x40;
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80;
  return uuid;
}

/** The text form, 8-4-4-4-12, of 16 bytes in text order. */
export function uuidText(uuid: Uint8Array): string {
  const hex = hexText(uuid);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/**
 * Swaps between text order and the mixed-endian order that Microsoft and VirtualBox structures use on disk
 * (first three fields little endian). Its own inverse.
 */
export function swapGuidFields(guid: Uint8Array): Uint8Array {
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  return Uint8Array.from(order, (i) => guid[i] ?? 0);
}
