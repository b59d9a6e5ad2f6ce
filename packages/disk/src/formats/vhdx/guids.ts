import { swapGuidFields, uuidText } from '../../bytes/guid.ts';

export const NULL_GUID = '00000000-0000-0000-0000-000000000000';

/** The GUID at an offset, as text; the first three fields are little endian in the file. */
export function guidAt(bytes: Uint8Array, offsetBytes: number): string {
  return uuidText(swapGuidFields(bytes.subarray(offsetBytes, offsetBytes + 16)));
}

/** The 16 bytes of a GUID given as text, as they stand in the file. */
export function guidBytes(text: string): Uint8Array {
  const hex = text.replaceAll('-', '');
  return swapGuidFields(
    Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16)),
  );
}
